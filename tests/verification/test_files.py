"""Secrets are root's to read, code is root's to change."""

from __future__ import annotations

import pytest

from bastide.verify.suite import Machine, Saw

pytestmark = pytest.mark.area("Files")

SECRETS = "/etc/bastide/secrets"


def test_secrets_are_private(machine: Machine, saw: Saw) -> None:
    """The secrets' folder has mode 0700 and its files 0600, all owned by root"""
    folder = machine.host.file(SECRETS)
    if not folder.exists:
        pytest.skip("this host has no secrets")
    output = machine.host.check_output("find %s -printf '%%y %%m %%U %%p\\n'", SECRETS)
    entries = [line.split(maxsplit=3) for line in output.splitlines()]
    saw(f"{len(entries) - 1} secrets")
    wrong = [
        f"{path}: mode {mode}, uid {uid}"
        for kind, mode, uid, path in entries
        if (mode, uid) != ("700" if kind == "d" else "600", "0")
    ]
    assert not wrong, f"expected 0700 and 0600 of root: {'; '.join(wrong)}"


def test_code_is_fixed(machine: Machine) -> None:
    """Nothing in the current generation can be changed by anyone but root"""
    output = machine.host.check_output(
        "find /opt/bastide/current/ ! -type l '(' -perm /022 -o ! -uid 0 ')' -print | head -20"
    )
    assert not output, f"writable by others, or not root's: {', '.join(output.splitlines())}"
