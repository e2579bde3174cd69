"""Asks the host agent on all hosts one read-only question, over plain SSH.

Ansible is for what changes hosts. A question needs no playbook, and Ansible's start alone takes
longer than the answer (``docs/adr/0016-questions-over-ssh.md``). The agent goes in by standard
input, so nothing is left on a host.
"""

from __future__ import annotations

import json
import runpy
import shlex
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bastide import resources
from bastide.host import process
from bastide.render.inventory import PYTHON, ssh_options
from bastide.schema.site import Site

SSH_FAILED = 255  # ssh's own exit code, whatever the remote program's are
SECONDS = 120  # for one answer; hosts that are slow to log in to are given 10 s of these
PARALLEL = 32

# Starts the agent with an object `given` of plain JSON, which holds the agent's text as well. One
# line of it: what follows is the agent's to read.
_STARTER = (
    "import json, sys; given = json.loads(sys.stdin.buffer.readline()); "
    "program = given['program']; exec(program)"
)


@dataclass(frozen=True)
class Line:
    """How hosts are reached.

    Args:
        site: The site.
        site_root: The folder of ``site.yaml``, to which its paths are relative.
    """

    site: Site
    site_root: Path


@dataclass(frozen=True)
class Reply:
    """What came back from one host.

    Args:
        answer: The agent's JSON object; empty if there is none.
        returncode: Exit code of ssh or of the agent.
        words: What was said on standard error, or instead of an answer.
    """

    answer: Mapping[str, Any]
    returncode: int
    words: str

    @property
    def reached(self) -> bool:
        """Whether the host let us in."""
        return self.returncode != SSH_FAILED


def agent_program() -> str:
    """Return the host agent as one Python program."""
    joined = runpy.run_path(str(resources.playbooks() / "roles/base/files/join_agent.py"))
    return str(joined["join"]())


def ask(
    line: Line,
    command: str,
    given: Mapping[str, Mapping[str, Any]],
    on_reply: Callable[[str, Reply], None] = lambda host, reply: None,  # noqa: ARG005
    cancelled: threading.Event | None = None,
    seconds: float = SECONDS,
) -> dict[str, Reply]:
    """Ask hosts a question at once and return their replies.

    Args:
        line: How they are reached.
        command: The agent's command; one that only reads.
        given: What each host is told besides, by host name: these hosts are asked.
        on_reply: Called with each host's name and reply as they come in, from several threads.
        cancelled: Once it is set, the asking ends; hosts without an answer are left out.
        seconds: How long one host may take.
    """
    program = agent_program()
    asked_to_end = cancelled or threading.Event()

    def one(host: str) -> tuple[str, Reply | None]:
        text = agent_input(given[host], program)
        reply = _ask_one(agent_argv(line, host, command), text, asked_to_end, seconds)
        if reply is not None:
            on_reply(host, reply)
        return host, reply

    with ThreadPoolExecutor(max(min(PARALLEL, len(given)), 1), "ask") as pool:
        try:
            return {host: reply for host, reply in pool.map(one, given) if reply is not None}
        except BaseException:
            asked_to_end.set()  # else the end of the block would wait for every answer
            raise


def agent_input(given: Mapping[str, Any], program: str = "") -> str:
    """Return what the agent's starter reads first: one line of JSON.

    Args:
        given: What the agent is told.
        program: The agent; read anew if empty.
    """
    return json.dumps({**given, "program": program or agent_program()}) + "\n"


def agent_argv(line: Line, host: str, command: str) -> list[str]:
    """Return the ssh command that starts the agent; the host's shell sees nothing secret."""
    site = line.site
    remote = [PYTHON, "-c", _STARTER, command]
    if site.ssh.user != "root":
        remote = ["sudo", "--non-interactive", "--set-home", "--", *remote]
    # No shared connection: one that stays open keeps our pipes open with it.
    options = (*ssh_options(site, line.site_root), "ControlPath=none")
    return [
        "ssh", "-T", *(part for option in options for part in ("-o", option)),
        "--", str(site.hosts[host].address), shlex.join(remote),
    ]  # fmt: skip


def _ask_one(
    argv: list[str], text: str, cancelled: threading.Event, seconds: float
) -> Reply | None:
    try:
        done = process.converse(argv, text, timeout=seconds, cancelled=cancelled)
    except process.ProcessError as error:
        if cancelled.is_set():
            return None
        return Reply({}, SSH_FAILED, str(error))
    answer = _object(done.stdout)
    return Reply(answer, done.returncode, done.stderr if answer else done.stderr + done.stdout)


def _object(text: str) -> Mapping[str, Any]:
    """Return the JSON object in the last line: a login may have printed others before it."""
    lines = text.strip().splitlines()
    try:
        found = json.loads(lines[-1]) if lines else {}
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}
