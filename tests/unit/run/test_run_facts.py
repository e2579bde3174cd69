"""Why a host gave no facts: the most telling line, and its kind."""

import pytest

from bastide.run.facts import explain_unreachable

CHANGED = """@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@
@    WARNING: REMOTE HOST IDENTIFICATION HAS CHANGED!     @
@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@
IT IS POSSIBLE THAT SOMEONE IS DOING SOMETHING NASTY!
Host key verification failed."""


@pytest.mark.parametrize(
    ("message", "kind", "reason"),
    [
        ("ssh: connect to host 10.0.0.2 port 22: No route to host", "unreachable", "No route"),
        ("ssh: connect to host 10.0.0.2 port 22: Connection refused", "unreachable", "refused"),
        ("root@10.0.0.2: Permission denied (publickey).", "denied", "Permission denied"),
        (CHANGED, "denied", "REMOTE HOST IDENTIFICATION HAS CHANGED"),
        ("Warning: Permanently added\nHost key verification failed.", "denied", "Host key"),
        ("", "unreachable", "no reason given"),
    ],
)
def test_hosts_that_cannot_be_reached(message: str, kind: str, reason: str) -> None:
    found = explain_unreachable(message, "unreachable")
    assert found.kind == kind
    assert reason in found.reason
    assert "\n" not in found.reason


@pytest.mark.parametrize(
    ("message", "reason"),
    [
        ("/bin/sh: 1: /usr/bin/python3: not found", "/usr/bin/python3 is missing"),
        ("something\nelse went wrong", "else went wrong"),
    ],
)
def test_hosts_that_answer_but_fail(message: str, reason: str) -> None:
    found = explain_unreachable(message, "failed")
    assert found.kind == "failed"
    assert reason in found.reason
