"""What hosts do for a backup and a restore, over plain SSH: see docs/adr/0026."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator, Mapping
from typing import Any, BinaryIO

from pydantic import ValidationError

from bastide.backup.codes import NOT_RESTORED, NOT_TAKEN
from bastide.errors import ApplyError
from bastide.host import pipes
from bastide.host.process import ProcessError
from bastide.run.ask import Line, Reply, agent_argv, agent_input, ask
from bastide.schema.backup_archive import DataStamp

SECONDS = 6 * 3600.0  # for a copy, or a proof, of much data on a slow disk


def begin(line: Line, host: str, copy: str) -> DataStamp:
    """Let a host take a consistent copy of its vector data; return the copy's stamp.

    Raises:
        ApplyError: It did not; writes are let in again there.
    """
    answer = _order(line, host, "backup-begin", {"id": copy}, NOT_TAKEN)
    try:
        return DataStamp.model_validate(answer["stamp"])
    except (KeyError, ValidationError) as error:
        raise ApplyError(
            f"{host}: its agent's answer is not as expected: {error}", code=NOT_TAKEN
        ) from error


@contextlib.contextmanager
def sending(line: Line, host: str, copy: str) -> Iterator[BinaryIO]:
    """Yield a host's copy as a stream, a tar archive.

    Raises:
        ApplyError: The host went away, or could not read its copy.
    """
    argv = agent_argv(line, host, "backup-send")
    try:
        with pipes.reading(argv, agent_input({"id": copy}).encode()) as stream:
            yield stream
    except ProcessError as error:
        raise ApplyError(
            f"{host} did not send its data to the end: {_last(str(error))}",
            code=NOT_TAKEN,
            hint="see that the host is up, then make the backup again; nothing is left of this one",
        ) from error


def end(line: Line, host: str, copy: str) -> None:
    """Let a host drop its copy, whatever became of it; one that is away drops it the next time."""
    ask(line, "backup-end", {host: {"id": copy}})


def note(line: Line, unix_time: int, *, good: bool) -> None:
    """Tell all hosts how a backup ended, for monitoring; those that are away are not told."""
    given = {"what": "backup", "unix_time": unix_time, "ok": good}
    ask(line, "note", dict.fromkeys(line.site.hosts, given))


def receive(line: Line, host: str, given: Mapping[str, Any], source: Iterator[bytes]) -> None:
    """Bring data to a host, beside what is live there, and let it prove every file.

    Args:
        line: How hosts are reached.
        host: The host.
        given: What the agent is told.
        source: The tar archive in pieces.

    Raises:
        ApplyError: The host refuses it; nothing that is live was changed.
    """
    argv, answers = agent_argv(line, host, "restore-receive"), list[str]()
    try:
        with pipes.writing(argv, answers) as stream:
            stream.write(agent_input(given).encode())
            for piece in source:
                stream.write(piece)
    except ProcessError as error:
        raise ApplyError(
            f"{host} did not take the data: {_last(str(error))}",
            code=NOT_RESTORED,
            hint="see that the host is up, then restore again; what is live there is as it was",
        ) from error
    _answer(host, answers[-1], NOT_RESTORED)


def activate(line: Line, host: str, given: Mapping[str, Any]) -> Mapping[str, Any]:
    """Let a host exchange live and received data and prove what it serves then.

    Raises:
        ApplyError: It could not be proved; the data before is live again.
    """
    return _order(line, host, "restore-activate", given, NOT_RESTORED)


def _order(
    line: Line, host: str, command: str, given: Mapping[str, Any], code: str
) -> Mapping[str, Any]:
    replies = ask(line, command, {host: given}, seconds=SECONDS)
    reply = replies.get(host, Reply({}, 1, "it was not asked to the end"))
    if not reply.answer:
        raise ApplyError(
            f"{host} gave no answer to {command}: {_last(reply.words)}",
            code=code,
            hint="`bastide status` shows whether the host can be reached",
        )
    return _checked(host, reply.answer, code)


def _answer(host: str, text: str, code: str) -> Mapping[str, Any]:
    try:
        found = json.loads(text.strip().splitlines()[-1])
    except (ValueError, IndexError) as error:
        raise ApplyError(f"{host} gave no answer: {_last(text)}", code=code) from error
    return _checked(host, found, code)


def _checked(host: str, answer: Mapping[str, Any], code: str) -> Mapping[str, Any]:
    error = answer.get("error")
    if isinstance(error, dict):
        raise ApplyError(
            f"{host}: {error.get('message', '')}",
            code=str(error.get("code") or code),
            hint=str(error.get("hint", "")),
        )
    return answer


def _last(words: str) -> str:
    lines = [line for line in words.strip().splitlines() if line.strip()]
    return lines[-1] if lines else "it said nothing"
