"""Services log where retention holds, and the site's syslog server has what they log."""

from __future__ import annotations

import json
import time

import pytest

from bastide.verify.suite import Machine, Saw

pytestmark = pytest.mark.area("Logs")

SETTINGS = "/opt/bastide/current/etc/journald.conf"
SYSLOG = "bastide-syslog.service"
STATE = "/var/lib/bastide/syslog/state.json"
PATIENCE = 60.0  # s until a sender that has just started must have got through
ELSEWHERE = {"bastide-firewall.service"}  # starts before there is a journal but the host's own


def _needs_journal(machine: Machine) -> None:
    if not machine.host.file(SETTINGS).exists:
        pytest.skip("a generation of an earlier Bastide: services log into the host's journal")


def test_services_log_into_a_journal_of_their_own(machine: Machine, saw: Saw) -> None:
    """Services log into the journal whose retention site.yaml says, not into the host's"""
    _needs_journal(machine)
    host = machine.host
    place = host.file("/etc/systemd/journald@bastide.conf")
    assert place.is_symlink
    assert place.linked_to.endswith("/etc/journald.conf")
    for unit in machine.expected.units:
        if unit.name not in ELSEWHERE:
            found = host.check_output("systemctl show -P LogNamespace %s", unit.name)
            assert found == "bastide", f"{unit.name}: logs into '{found or 'the host'}'"
    lines = host.check_output("journalctl --namespace=bastide --quiet --no-pager --lines=1")
    assert lines, "nothing was logged there yet"
    limits = host.file(SETTINGS).content_string.splitlines()
    saw(", ".join(line for line in limits if "Max" in line))


def test_the_syslog_server_takes_the_logs(machine: Machine, saw: Saw) -> None:
    """The site's syslog server takes this host's lines"""
    if SYSLOG not in {unit.name for unit in machine.expected.units}:
        pytest.skip("site.yaml names no syslog server")
    deadline = time.monotonic() + PATIENCE
    while True:
        state = json.loads(machine.host.file(STATE).content_string)
        if state["connected"] and state["sent"]:
            break
        if time.monotonic() > deadline:
            words = machine.host.run(
                "journalctl --namespace=+bastide -u %s -n 3 -o cat --no-pager", SYSLOG
            )
            pytest.fail(f"connected: {state['connected']}, sent: {state['sent']}\n{words.stdout}")
        time.sleep(2)
    saw(f"{state['sent']} lines so far")
