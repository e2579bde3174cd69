"""The units run, locked in: what is broken into stays where it is."""

from __future__ import annotations

import pytest

from bastide.verify.observe import exposure, properties
from bastide.verify.suite import Key, Machine, Saw

pytestmark = pytest.mark.area("Services")

SHOWN = ("Id", "ActiveState", "SubState", "NRestarts", "User", "MainPID", "Environment")
EVERY_ADDRESS = {"0.0.0.0/0", "::/0"}


def _shown(machine: Machine, *names: str) -> dict[str, dict[str, str]]:
    units = [unit.name for unit in machine.expected.units]
    command = "systemctl show" + " -p %s" * len(names) + " %s" * len(units)
    return properties(machine.host.check_output(command, *names, *units))


def test_units_are_active(machine: Machine, saw: Saw) -> None:
    """Every unit of the host is active and starts at boot"""
    shown = _shown(machine, "Id", "ActiveState", "SubState", "NRestarts", "UnitFileState")
    wrong = []
    for unit in machine.expected.units:
        state = shown.get(unit.name, {})
        text = f"{state.get('ActiveState')} ({state.get('SubState')})"
        saw(f"{unit.name}: {text}, {state.get('NRestarts')} restarts")
        if state.get("ActiveState") != "active":
            wrong.append(f"{unit.name} is {text}")
        if state.get("UnitFileState") not in {"enabled", "linked", "enabled-runtime"}:
            wrong.append(f"{unit.name} is '{state.get('UnitFileState')}': it won't start at boot")
    assert not wrong, f"expected active and enabled: {'; '.join(wrong)}"


def test_units_are_sandboxed(machine: Machine, saw: Saw) -> None:
    """systemd-analyze gives every unit an exposure within its limit"""
    names = [unit.name for unit in machine.expected.units]
    command = "systemd-analyze security --no-pager" + " %s"
    levels: dict[str, float] = {}
    for name in names:
        levels |= exposure(machine.host.check_output(command, name))
    wrong = []
    for unit in machine.expected.units:
        level = levels[unit.name]
        limit = f"limit {unit.exposure_limit}" + (f", because {unit.reason}" if unit.reason else "")
        saw(f"{unit.name}: {level} of 10 ({limit})")
        if level > unit.exposure_limit:
            wrong.append(f"{unit.name} has {level}, {limit}")
    assert not wrong, f"too exposed: {'; '.join(wrong)}"


def test_units_run_as_their_own_users(machine: Machine, saw: Saw) -> None:
    """No unit runs as root, and no two share a user"""
    users = {name: each.get("User", "") for name, each in _shown(machine, "Id", "User").items()}
    saw(", ".join(f"{name}: {user or 'root'}" for name, user in users.items()))
    assert all(user not in {"", "root", "0"} for user in users.values()), f"root among {users}"
    assert len(set(users.values())) == len(users), f"a user is shared: {users}"


def test_units_cannot_reach_out(machine: Machine) -> None:
    """systemd drops every packet of the units to or from addresses that are not allowed"""
    shown = _shown(machine, "Id", "IPAddressDeny")
    open_to = [n for n, each in shown.items() if set(each["IPAddressDeny"].split()) < EVERY_ADDRESS]
    assert not open_to, f"IPAddressDeny=any is missing in {', '.join(open_to)}"


def test_units_show_no_secret(machine: Machine, api_key: Key, read_only_key: Key) -> None:
    """No API key stands in a unit's environment or command line"""
    shown = _shown(machine, "Id", "MainPID", "Environment", "ExecStart")
    seen = "".join(str(each) for each in shown.values())
    for each in shown.values():
        if each["MainPID"] == "0":  # the packet filter: rules, and no process
            continue
        seen += machine.host.check_output("tr '\\0' ' ' < %s", f"/proc/{each['MainPID']}/cmdline")
    # Compared outside the assert: pytest would print both sides.
    leaked = any(key.value in seen for key in (api_key, read_only_key))
    assert not leaked, "an API key can be read by every user of the host"
