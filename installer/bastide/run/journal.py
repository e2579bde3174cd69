"""Intent and outcome of every phase, one JSON object a line, on disk before the work goes on.

A run that was killed leaves an intent without an outcome; the next apply finds it, says so, and
simply runs again, because every step is safe to repeat.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bastide.host.files import fsync_directory
from bastide.layout import RunFolder, SiteFolder

RUN = "run"  # the name of the entry that spans the whole run
UNDO = "undo"  # in it: the run goes back to where the one before had begun

DONE = "done"
FAILED = "failed"
CANCELLED = "cancelled"


@dataclass(frozen=True)
class Unfinished:
    """A run that began and whose end was never written: it was killed, or the power failed.

    Args:
        run: The run's id.
        phase: The phase it was in.
        at: When that began, ISO 8601 in UTC.
    """

    run: str
    phase: str
    at: str


class Journal:
    """The journal of one run, open for writing.

    Args:
        path: The file; it must not exist yet.
        now: Returns the present time as ISO 8601 text.
    """

    def __init__(self, path: Path, now: Callable[[], str]) -> None:
        self._now = now
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_CLOEXEC
        self._descriptor = os.open(path, flags, 0o600)
        fsync_directory(path.parent)

    def intend(self, phase: str, **details: Any) -> None:  # noqa: ANN401 - any JSON value
        """Write that ``phase`` is about to begin; return when it is on disk."""
        self._write({"entry": "intent", "phase": phase, **details})

    def settle(self, approved: str, plan: str) -> None:
        """Write which plan is carried out, and which one the operator approved, by digest."""
        self._write({"entry": "plan", "approved": approved, "plan": plan})

    def conclude(self, phase: str, outcome: str, **details: Any) -> None:  # noqa: ANN401 - any JSON
        """Write how ``phase`` ended: ``done``, ``failed`` or ``cancelled``."""
        self._write({"entry": "outcome", "phase": phase, "outcome": outcome, **details})

    def close(self) -> None:
        """Close the file."""
        os.close(self._descriptor)

    def _write(self, entry: dict[str, Any]) -> None:
        line = json.dumps({"at": self._now(), **entry}, ensure_ascii=False) + "\n"
        os.write(self._descriptor, line.encode())
        os.fsync(self._descriptor)


@contextlib.contextmanager
def open_journal(path: Path, now: Callable[[], str]) -> Iterator[Journal]:
    """Open a new journal and close it when the block ends, without concluding anything."""
    journal = Journal(path, now)
    try:
        yield journal
    finally:
        journal.close()


def read_journal(path: Path) -> tuple[dict[str, Any], ...]:
    """Return a journal's entries; a last line that a crash cut off is left out."""
    try:
        lines = path.read_bytes().split(b"\n")
    except OSError:
        return ()
    entries = []
    for line in lines:
        try:
            entry = json.loads(line)
        except ValueError:
            continue
        if isinstance(entry, dict):
            entries.append(entry)
    return tuple(entries)


def unfinished(entries: tuple[dict[str, Any], ...], run: str) -> Unfinished | None:
    """Return the phase that a journal's run was killed in; None if the run came to an end."""
    under_way: dict[str, str] = {}
    for entry in entries:
        phase = str(entry.get("phase", ""))
        if entry.get("entry") == "intent":
            under_way[phase] = str(entry.get("at", ""))
        elif entry.get("entry") == "outcome":
            under_way.pop(phase, None)
    if RUN not in under_way:
        return None
    phase = list(under_way)[-1]
    return Unfinished(run, phase, under_way[phase])


def last_unfinished(folder: SiteFolder) -> Unfinished | None:
    """Return the site's newest run if that was killed; None if it came to an end or none is."""
    for run in _newest_first(folder):
        return unfinished(read_journal(run.journal), run.id)
    return None


def begun_rollback(folder: SiteFolder, runs: Iterable[str]) -> str:
    """Return where a rollback was going that did not come to its end; empty if there is none.

    Args:
        folder: The site's folder.
        runs: Runs whose transitions are open on hosts.

    Returns:
        An earlier run's id, or ``UNDO``.
    """
    killed = last_unfinished(folder)
    for run in sorted({*runs, *([killed.run] if killed else [])}, reverse=True):
        for entry in read_journal(RunFolder(folder.runs / run).journal):
            if entry.get("phase") == RUN and entry.get("back_to"):
                return str(entry["back_to"])
    return ""


def _newest_first(folder: SiteFolder) -> Iterator[RunFolder]:
    if not folder.runs.is_dir():
        return
    for root in sorted(folder.runs.iterdir(), reverse=True):
        run = RunFolder(root)
        if run.journal.is_file():
            yield run
