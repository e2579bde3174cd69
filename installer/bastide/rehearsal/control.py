"""The lab's control node: runs the real commands there, and the client of the gateway."""

from __future__ import annotations

import json
import shlex
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bastide.errors import VerifyError
from bastide.host.process import ProcessError, converse, stream
from bastide.lab.remote import control_argv
from bastide.lab.state import LabState
from bastide.layout import Home, SiteFolder
from bastide.rehearsal.codes import NOT_MEASURED
from bastide.schema.rehearsal import Failure
from bastide.site.vault import PASSWORD_FILE_VARIABLE

_BASTIDE = (sys.executable, "-c", "from bastide.cli.main import main; main()")
_CLIENT = (sys.executable, "-m", "bastide.rehearsal.client")
_FOR_EVER = 7 * 24 * 3600.0
_TASK_SECONDS = 300.0


@dataclass(frozen=True)
class Answer:
    """What a command of Bastide came to.

    Args:
        command: The command, as an operator would write it.
        result: Its result, as ``--json`` prints it.
        failure: Why it failed; None if it did not.
    """

    command: str
    result: Mapping[str, Any]
    failure: Failure | None


@dataclass(frozen=True)
class Control:
    """The lab's control node.

    Args:
        lab: The lab.
        home: The rehearsal's own home.
        site: The rehearsal's own site folder.
        password: The file with the vault's password.
    """

    lab: LabState
    home: Home
    site: SiteFolder
    password: Path

    def bastide(self, *words: str, tell: Callable[[str], None]) -> Answer:
        """Run a command on the lab's site, with its output as a machine reads it.

        Args:
            words: The command and its options.
            tell: Called with each line of its timeline.
        """
        lines: list[str] = []

        def take(line: str) -> None:
            if lines or line == "{":  # the envelope, which comes last
                lines.append(line)
            else:
                tell(line)

        argv = [*_BASTIDE, *words, "--site", str(self.site.root), "--json"]
        command = " ".join(("bastide", *words))
        try:
            stream(control_argv(self.lab, argv), take, env=self._environment)
        except ProcessError as error:
            if not lines:
                last = str(error).splitlines()[-1]
                lost = f"`{command}` broke down with exit code {error.returncode}: {last}"
                return Answer(command, {}, Failure(code=error.code, message=lost))
        return read_answer(command, "\n".join(lines))

    def ask(self, task: str, order: Mapping[str, Any]) -> dict[str, Any]:
        """Let the client do a task, and return its answer.

        Raises:
            VerifyError: The gateway did not answer as it should.
        """
        text = json.dumps({"task": task, **order})
        argv = control_argv(self.lab, _CLIENT)
        done = converse(argv, text, timeout=_TASK_SECONDS, cancelled=threading.Event())
        if done.returncode:
            last = done.stderr.strip().splitlines()[-1:] or ["it said nothing"]
            raise VerifyError(
                f"the lab's gateway did not let a client {task} the vector DB: {last[0]}",
                code=NOT_MEASURED,
                hint="look at the hosts: rehearse again with --keep",
            )
        answer: dict[str, Any] = json.loads(done.stdout)
        return answer

    @contextmanager
    def asking(self, order: Mapping[str, Any]) -> Iterator[None]:
        """Keep asking every service while the block lasts."""
        done = threading.Event()
        text = json.dumps({"task": "ask", **order})

        def work() -> None:
            try:
                converse(control_argv(self.lab, _CLIENT), text, timeout=_FOR_EVER, cancelled=done)
            except ProcessError:
                return  # stopped, as was wanted

        worker = threading.Thread(target=work, daemon=True)
        worker.start()
        try:
            yield
        finally:
            done.set()
            worker.join()

    def entrance(self) -> str:
        """Return what a person types before a command of Bastide's on a lab that was kept."""
        own = (f"{name}={shlex.quote(value)}" for name, value in self._environment.items())
        return f"bastide lab exec --name {self.lab.name} -- env {' '.join(own)} bastide"

    @property
    def _environment(self) -> dict[str, str]:
        return {
            "BASTIDE_HOME": str(self.home.root),
            PASSWORD_FILE_VARIABLE: str(self.password),
            "NO_COLOR": "1",
        }


def read_answer(command: str, text: str) -> Answer:
    """Return the answer in a command's JSON envelope; pure."""
    try:
        envelope = json.loads(text)
        result, error = envelope["result"] or {}, envelope["error"]
    except (ValueError, KeyError, TypeError):
        lost = Failure(
            code="BAS-1000", message=f"`{command}` ended without an answer: {text[:500]}"
        )
        return Answer(command, {}, lost)
    if error is None:
        return Answer(command, result, None)
    problems = tuple(f"{each['where']}: {each['what']}" for each in error["problems"])
    failure = Failure(
        code=error["code"], message=error["message"], hint=error["hint"], problems=problems
    )
    return Answer(command, result, failure)
