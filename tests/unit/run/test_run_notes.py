"""The monitoring host is told how a verification ended."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import plan_factories as make
import pytest

from bastide.run import notes
from bastide.run.ask import Reply
from bastide.schema.site import SERVING, Group


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """Return what hosts are asked; each takes it, unless a test says otherwise."""
    found: list[dict[str, Any]] = []

    def ask(_line: object, command: str, given: dict[str, Any], **_: object) -> dict[str, Reply]:
        found.append({"command": command, **given})
        return {host: Reply({"changed": True}, 0, "") for host in given}

    monkeypatch.setattr(notes, "ask", ask)
    return found


MONITORED = {"a": SERVING, "b": (Group.LLM, Group.MONITORING)}


def test_only_the_monitoring_host_is_told(asked: list[dict[str, Any]]) -> None:
    assert notes.note(make.make_site(MONITORED), Path("/site"), "verify", ok=False)
    assert asked[0]["command"] == "note"
    assert set(asked[0]) == {"command", "b"}
    assert asked[0]["b"]["what"] == "verify"
    assert asked[0]["b"]["ok"] is False


def test_a_host_that_cannot_be_told_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(notes, "ask", lambda *_, **__: {"b": Reply({}, 255, "no route")})
    assert not notes.note(make.make_site(MONITORED), Path("/site"), "verify", ok=True)


def test_a_site_without_monitoring_tells_nobody(asked: list[dict[str, Any]]) -> None:
    assert notes.note(make.make_site(), Path("/site"), "verify", ok=True)
    assert asked == [{"command": "note"}]
