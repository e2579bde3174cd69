"""Real runs of the gateway role: every gateway is told, and one that is gone holds nobody up."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest

from bastide import resources
from bastide.layout import RunFolder
from bastide.run.events import Event, Status, StepEnded
from bastide.run.runner import ANSIBLE_CONFIG, Job, Outcome, run_playbook, ssh_sockets

pytestmark = pytest.mark.integration

# Stands in for the host agent: notes who asked what, and answers as it does.
AGENT = """
import json, sys
with open("{log}", "a") as log:
    log.write(" ".join(sys.argv[1:]) + "\\n")
print(json.dumps({{"changed": True}}))
"""
PLAYBOOK = """
- name: "(4/6) SWITCH: try"
  hosts: worker
  gather_facts: false
  any_errors_fatal: true
  tasks:
    - name: Out
      ansible.builtin.import_role:
        name: gateway
        tasks_from: rotate_out
      vars: &told
        gateway_python: "{{ agent_python }}"
        gateway_agent: "{{ agent_file }}"
        gateway_server: worker
        gateway_hosts: "{{ groups['gateway'] }}"
        gateway_units: [bastide-llm.service, bastide-gateway.service, bastide-keepalived.service]
        gateway_drain_seconds: 300
    - name: In
      ansible.builtin.import_role:
        name: gateway
        tasks_from: rotate_in
      vars:
        <<: *told
        gateway_ports: {llm: 10.0.0.11 8081}
"""
HERE = {"ansible_connection": "local"}
GONE = {
    "ansible_host": "127.0.0.1",
    "ansible_port": 1,  # nobody listens there
    "ansible_ssh_common_args": "-o ConnectTimeout=2",
}


def play(root: Path, gateways: dict[str, dict[str, Any]]) -> tuple[Outcome, list[Event], list[str]]:
    folder = RunFolder(root / "run")
    folder.root.mkdir(mode=0o700)
    folder.inventory.parent.mkdir()
    shutil.copytree(resources.playbooks() / "roles", folder.project / "roles")
    (folder.project / "try.yml").write_text(PLAYBOOK)
    agent, log = root / "agent.py", root / "log"
    agent.write_text(AGENT.format(log=log))
    log.touch()
    everyone = {
        "ansible_python_interpreter": sys.executable,
        "agent_python": sys.executable,
        "agent_file": str(agent),
    }
    inventory = {
        "all": {
            "vars": everyone,
            "hosts": {"worker": HERE, **gateways},
            "children": {"gateway": {"hosts": dict.fromkeys(gateways)}},
        }
    }
    folder.inventory.write_text(json.dumps(inventory))
    folder.ansible_config.write_text(ANSIBLE_CONFIG)
    events: list[Event] = []
    with ssh_sockets() as sockets:
        job = Job(folder, "try.yml", 2, sockets, retries=0)
        outcome = run_playbook(job, events.append)
    return outcome, events, log.read_text().splitlines()


def test_one_gateway_is_told_once_and_waited_for(tmp_path: Path) -> None:
    outcome, _, told = play(tmp_path, {"gate1": HERE})
    assert outcome.succeeded, outcome.last_words
    assert told == [
        "rotate-out --server=worker --backends=llm --seconds=300",
        'rotate-in --server=worker --backends=llm --ports={"llm": "10.0.0.11 8081"}',
    ]


def test_all_gateways_are_told_before_one_is_waited_for(tmp_path: Path) -> None:
    outcome, _, told = play(tmp_path, {"gate1": HERE, "gate2": HERE})
    assert outcome.succeeded, outcome.last_words
    assert [line.rpartition("=")[2] for line in told[:4]] == ["0", "0", "300", "300"]
    assert [line.split()[0] for line in told[4:]] == ["rotate-in", "rotate-in"]


def test_a_gateway_that_is_gone_holds_nobody_up(tmp_path: Path) -> None:
    outcome, events, told = play(tmp_path, {"gate1": GONE, "gate2": HERE})
    assert outcome.succeeded, outcome.last_words
    assert [line.split()[0] for line in told] == ["rotate-out", "rotate-out", "rotate-in"]
    ended = [event for event in events if isinstance(event, StepEnded)]
    assert {event.status for event in ended} <= {Status.OK, Status.CHANGED}
