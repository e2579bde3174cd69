"""Which process runs a host, recorded so that a reused process id is never mistaken for it.

A record holds this machine's boot id and the process's own ``/proc/<pid>/stat`` line, written by
the launcher before it becomes systemd-nspawn: the id and the start time stay the same.
"""

from __future__ import annotations

import contextlib
import os
import signal
from dataclasses import dataclass
from pathlib import Path

_PROC = Path("/proc")
_BOOT_ID = _PROC / "sys/kernel/random/boot_id"


@dataclass(frozen=True)
class Process:
    """One process, told apart from all others of this boot.

    Args:
        pid: Its id.
        started: Its start time in clock ticks since boot.
    """

    pid: int
    started: int


@dataclass(frozen=True)
class _Stat:
    process: Process
    state: str
    parent: int


def parse_stat(line: str) -> _Stat:
    """Return what a ``/proc/<pid>/stat`` line says.

    Raises:
        ValueError: It is not such a line.
    """
    head, bracket, tail = line.rpartition(")")  # the name may hold blanks and brackets
    fields = tail.split()
    if not bracket or len(fields) < 20:
        raise ValueError(f"not a /proc stat line: {line!r}")
    return _Stat(Process(int(head.split(None, 1)[0]), int(fields[19])), fields[0], int(fields[1]))


def _stat(pid: int) -> _Stat | None:
    try:
        return parse_stat((_PROC / str(pid) / "stat").read_text(errors="replace"))
    except (OSError, ValueError):
        return None


def read(record: Path) -> Process | None:
    """Return the process of a record; None if there is none or it is of an earlier boot."""
    try:
        boot_id, line = record.read_text(errors="replace").splitlines()[:2]
        if boot_id.strip() != _BOOT_ID.read_text().strip():
            return None
        return parse_stat(line).process
    except (OSError, ValueError):
        return None


def lookup(pid: int) -> Process | None:
    """Return the running process of an id; None for a zombie or none."""
    stat = _stat(pid)
    return stat.process if stat is not None and stat.state not in "ZX" else None


def running(process: Process) -> bool:
    """Return whether this very process still runs (a zombie does not)."""
    stat = _stat(process.pid)
    return stat is not None and stat.process == process and stat.state not in "ZX"


def alive(record: Path) -> bool:
    """Return whether the process of a record still runs."""
    process = read(record)
    return process is not None and running(process)


def descendants(process: Process) -> tuple[Process, ...]:
    """Return all processes below this one, nearest first."""
    stats = [_stat(int(entry.name)) for entry in _PROC.iterdir() if entry.name.isdigit()]
    children: dict[int, list[Process]] = {}
    for stat in stats:
        if stat is not None:
            children.setdefault(stat.parent, []).append(stat.process)
    found: list[Process] = []
    queue = [process]
    while queue:
        below = children.get(queue.pop(0).pid, [])
        found += below
        queue += below
    return tuple(found)


def network(process: Process) -> int | None:
    """Return the inode of the network namespace that a process is in; None if it is gone."""
    try:
        return (_PROC / str(process.pid) / "ns/net").stat().st_ino
    except OSError:
        return None


def send(process: Process, number: signal.Signals) -> None:
    """Signal this very process, if it still runs; the id is held by a file descriptor meanwhile."""
    with contextlib.suppress(ProcessLookupError):
        descriptor = os.pidfd_open(process.pid)
        try:
            if running(process):
                signal.pidfd_send_signal(descriptor, number)
        finally:
            os.close(descriptor)
