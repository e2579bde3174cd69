"""Real runs of ansible-runner against this machine: events, failures, secrets, ends."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from bastide.layout import RunFolder
from bastide.run.events import Event, Finished, PhaseStarted, Status, StepEnded
from bastide.run.runner import ANSIBLE_CONFIG, Job, Outcome, run_playbook, ssh_sockets
from bastide.site.vault import seal

pytestmark = pytest.mark.integration

CANARY = "canary-6f1d0c"

GOOD = """
- name: "(1/2) STAGE: try"
  hosts: all
  gather_facts: false
  tasks:
    - name: Change something
      ansible.builtin.command: echo done
      changed_when: true
    - name: Change nothing
      ansible.builtin.command: "true"
      changed_when: false
- name: "(2/2) SWITCH: try"
  hosts: all
  gather_facts: false
  tasks:
    - name: Not today
      ansible.builtin.command: "true"
      when: false
"""

BAD = """
- name: "(1/1) STAGE: try"
  hosts: all
  gather_facts: false
  tasks:
    - name: Pull artifacts
      ansible.builtin.command:
        argv:
          - echo
          - '{"error": {"code": "BAS-6051", "message": "no room", "hint": "make room"}}'
      register: pulled
      failed_when: true
"""

SECRET = """
- name: "(1/1) STAGE: secrets"
  hosts: all
  gather_facts: false
  tasks:
    - name: Secrets
      ansible.builtin.command:
        argv: [cat]
        stdin: "{{ bastide_secrets.api_key }}"
      no_log: true
      register: answer
      changed_when: false
    - name: They arrived
      ansible.builtin.assert:
        that: answer.stdout | hash("sha256") == "DIGEST"
        quiet: true
      no_log: true
    - name: No environment of ours
      ansible.builtin.command: env
      changed_when: false
    - name: A secret in a step that fails
      ansible.builtin.command:
        argv: ["false"]
        stdin: "{{ bastide_secrets.api_key }}"
      no_log: true
""".replace("DIGEST", hashlib.sha256(CANARY.encode()).hexdigest())

SLOW = """
- name: "(1/1) STAGE: slow"
  hosts: all
  gather_facts: false
  tasks:
    - name: Sleep
      ansible.builtin.command: sleep 600
"""

KILLS_ITS_RUN = """
- name: "(1/1) STAGE: gone"
  hosts: all
  gather_facts: false
  tasks:
    - name: Fill the disk, so to speak
      ansible.builtin.shell: kill -9 $(ps -o ppid= -p $(ps -o ppid= -p $(ps -o ppid= -p $PPID)))
"""


def make_run(root: Path, playbook: str) -> RunFolder:
    folder = RunFolder(root / "run")
    folder.root.mkdir(mode=0o700)
    folder.inventory.parent.mkdir()
    folder.project.mkdir()
    host = {"ansible_connection": "local", "ansible_python_interpreter": sys.executable}
    folder.inventory.write_text(json.dumps({"all": {"hosts": {"host1": host}}}))
    folder.ansible_config.write_text(ANSIBLE_CONFIG)
    (folder.project / "try.yml").write_text(playbook)
    return folder


def play(
    folder: RunFolder, *, vault: Path | None = None, asked: threading.Event | None = None
) -> tuple[Outcome, list[Event]]:
    events: list[Event] = []
    with ssh_sockets() as sockets:
        outcome = run_playbook(Job(folder, "try.yml", 1, sockets, vault), events.append, asked)
    assert not sockets.exists()
    return outcome, events


def ends(events: list[Event]) -> dict[str, StepEnded]:
    return {event.step: event for event in events if isinstance(event, StepEnded)}


def test_a_good_run_gives_typed_events_and_a_final_count(tmp_path: Path) -> None:
    outcome, events = play(make_run(tmp_path, GOOD))
    assert outcome.succeeded
    phases = [event.name for event in events if isinstance(event, PhaseStarted)]
    assert phases == ["(1/2) STAGE: try", "(2/2) SWITCH: try"]
    steps = {name: step.status for name, step in ends(events).items()}
    assert steps == {
        "Change something": Status.CHANGED,
        "Change nothing": Status.OK,
        "Not today": Status.SKIPPED,
    }
    assert events[-1] == Finished({"host1": 1}, {}, {}, ("host1",))


def test_a_failure_carries_the_host_agents_words(tmp_path: Path) -> None:
    outcome, events = play(make_run(tmp_path, BAD))
    assert not outcome.succeeded
    failed = ends(events)["Pull artifacts"]
    assert failed.status is Status.FAILED
    assert (failed.message, failed.code, failed.hint) == ("no room", "BAS-6051", "make room")


def test_a_phase_that_no_host_reaches_has_not_begun(tmp_path: Path) -> None:
    after = BAD.replace("(1/1) STAGE", "(2/2) SWITCH")
    _, events = play(make_run(tmp_path, BAD + after))
    phases = [event.name for event in events if isinstance(event, PhaseStarted)]
    assert phases == ["(1/1) STAGE: try"]


def test_a_playbook_that_does_not_parse_is_no_success(tmp_path: Path) -> None:
    outcome, _ = play(make_run(tmp_path, "- hosts: [\n"))
    assert not outcome.succeeded
    assert outcome.finished is None
    assert "try.yml" in outcome.last_words


def test_a_run_whose_end_is_missing_is_no_success(tmp_path: Path) -> None:
    outcome, _ = play(make_run(tmp_path, KILLS_ITS_RUN))
    assert outcome.finished is None
    assert not outcome.succeeded


def test_secrets_reach_the_host_and_stay_nowhere_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SOME_TOKEN", CANARY)
    monkeypatch.setenv("ANSIBLE_VAULT_IDENTITY", CANARY)
    folder = make_run(tmp_path, SECRET)
    password = tmp_path / "password"
    password.write_text(f"{CANARY}-password\n")
    folder.secrets.parent.mkdir()
    plain = json.dumps({"bastide_secrets": {"api_key": CANARY}}).encode()
    folder.secrets.write_bytes(seal(plain, f"{CANARY}-password", "try"))

    outcome, events = play(folder, vault=password)

    assert ends(events)["Secrets"].status is Status.OK
    assert ends(events)["They arrived"].status is Status.OK
    assert ends(events)["A secret in a step that fails"].status is Status.FAILED
    assert not outcome.succeeded
    files = [path for path in folder.root.rglob("*") if path.is_file()]
    assert len(files) > 10  # events and output are kept …
    assert not [path for path in files if CANARY.encode() in path.read_bytes()]
    assert CANARY not in repr(events)
    assert not list(folder.artifacts.rglob("command"))
    assert not (folder.root / "env").exists()


def test_what_is_kept_has_no_inputs_twice(tmp_path: Path) -> None:
    folder = make_run(tmp_path, GOOD)
    play(folder)
    kept = b"".join(path.read_bytes() for path in folder.artifacts.rglob("*.json"))
    assert b"invocation" not in kept
    assert b"stdout_lines" not in kept


def test_a_run_that_is_asked_to_end_ends_soon(tmp_path: Path) -> None:
    folder = make_run(tmp_path, SLOW)
    asked = threading.Event()
    timer = threading.Timer(3.0, asked.set)
    timer.start()
    started = time.monotonic()
    outcome, _ = play(folder, asked=asked)
    assert outcome.cancelled
    assert not outcome.succeeded
    assert time.monotonic() - started < 60  # the step would take ten minutes
    _wait_for(lambda: not _processes(str(folder.root)), "ansible-playbook to be gone")


DRIVER = """
import sys
from pathlib import Path
from bastide.layout import RunFolder
from bastide.run.runner import Job, run_playbook
folder = RunFolder(Path(sys.argv[1]))
run_playbook(Job(folder, "try.yml", 1, Path(sys.argv[1])), lambda event: print(event, flush=True))
"""


def test_a_killed_run_takes_ansible_with_it(tmp_path: Path) -> None:
    folder = make_run(tmp_path, SLOW.replace("sleep 600", f"sleep 600.{os.getpid()}"))
    with subprocess.Popen(
        [sys.executable, "-c", DRIVER, str(folder.root)], stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if "StepStarted" in line:
                break
        _wait_for(lambda: bool(_processes(f"sleep 600.{os.getpid()}")), "the step to begin")
        process.send_signal(signal.SIGKILL)
    _wait_for(lambda: not _processes(str(folder.root)), "ansible-playbook to be gone")
    _wait_for(lambda: not _processes(f"sleep 600.{os.getpid()}"), "its step to be gone")


def _processes(words: str) -> list[str]:
    found = []
    for entry in Path("/proc").iterdir():
        try:
            command = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode()
        except (OSError, NotADirectoryError):
            continue
        if words in command and entry.name != str(os.getpid()):
            found.append(command)
    return found


def _wait_for(condition: object, what: str) -> None:
    assert callable(condition)
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline, f"waited in vain for {what}"
        time.sleep(0.05)
