"""A long look at a host ends when the control node is gone, over a pipe and over sshd's socket."""

from __future__ import annotations

import socket
import subprocess
import sys
from pathlib import Path

import pytest

from bastide import resources

pytestmark = pytest.mark.integration

AGENT = resources.playbooks() / "roles/base/files"
PROGRAM = "\n".join([
    "import sys, time", f"sys.path.insert(0, {str(AGENT)!r})",
    "from bastide_host.caller import end_with_caller", "end_with_caller()",
    "sys.stdin.read()", "print('all read', flush=True)", "time.sleep(600)",
])  # fmt: skip


def test_it_ends_when_its_socket_is_closed_and_not_when_its_input_ends() -> None:
    ours, theirs = socket.socketpair()
    end = theirs.fileno()
    looking = subprocess.Popen([sys.executable, "-c", PROGRAM], stdin=end, stdout=end)
    theirs.close()
    ours.shutdown(socket.SHUT_WR)
    with ours.makefile("rb") as said:
        assert said.readline() == b"all read\n"
    assert looking.poll() is None
    ours.close()
    assert looking.wait(60) == 1


def test_it_ends_when_its_pipe_is_closed() -> None:
    looking = subprocess.Popen(
        [sys.executable, "-c", PROGRAM], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE
    )
    assert looking.stdout is not None
    assert looking.stdout.readline() == b"all read\n"
    assert looking.poll() is None
    looking.stdout.close()
    assert looking.wait(60) == 1


def test_it_goes_on_while_its_answer_goes_into_a_file(tmp_path: Path) -> None:
    said = tmp_path / "said"
    program = PROGRAM.replace("time.sleep(600)", "time.sleep(0.2); print('done')")
    with said.open("wb") as stream:
        subprocess.run([sys.executable, "-c", program], check=True, stdin=subprocess.DEVNULL,
                       stdout=stream, timeout=60)  # fmt: skip
    assert said.read_text().endswith("done\n")
