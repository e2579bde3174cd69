"""Locks between processes that name their holder and cannot be left behind by a dead one."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import socket
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

from bastide.errors import BastideError, LockedError

HELD = "BAS-9001"
UNUSABLE = "BAS-1002"


@dataclass(frozen=True)
class LockHolder:
    """Who holds a lock: written into the lock file, for the message of those who come second.

    Args:
        pid: Process id on ``host``.
        host: The machine's name.
        since: When the lock was taken, ISO 8601 in UTC.
        purpose: What it is held for, such as ``import of /media/bundle``.
    """

    pid: int
    host: str
    since: str
    purpose: str

    def __str__(self) -> str:
        return f"process {self.pid} on {self.host} since {self.since} ({self.purpose})"


@dataclass(frozen=True)
class LockTaken:
    """A lock that this process holds.

    Args:
        holder: This process.
        abandoned_by: The earlier holder, if it died without giving the lock back.
    """

    holder: LockHolder
    abandoned_by: LockHolder | None


def read_holder(path: Path) -> LockHolder | None:
    """Return who is written in the lock file; None if nobody is, or it cannot be read."""
    try:
        return LockHolder(**json.loads(path.read_bytes()))
    except (OSError, ValueError, TypeError):
        return None


def _write_holder(descriptor: int, holder: LockHolder | None) -> None:
    # The name only serves a message: a full disk must not keep anyone from the lock.
    with contextlib.suppress(OSError):
        os.ftruncate(descriptor, 0)
        if holder is not None:
            os.pwrite(descriptor, json.dumps(asdict(holder)).encode() + b"\n", 0)


def _locked(path: Path) -> LockedError:
    holder = read_holder(path)
    who = str(holder) if holder else "another process that has not written its name yet"
    return LockedError(
        f"{path} is locked by {who}",
        code=HELD,
        hint="wait until it has ended; the lock frees itself when that process ends or dies",
    )


@contextlib.contextmanager
def exclusive_lock(path: Path, purpose: str) -> Iterator[LockTaken]:
    """Hold ``path`` as a lock while the block runs; never waits.

    The kernel owns the lock (``flock``), so it ends with the process, however that dies: a lock
    file that is left behind locks nothing. The file itself stays, because removing it would let
    two processes hold two different files of the same name.

    Args:
        path: The lock file; it and its folder are created if need be.
        purpose: What the lock is held for, shown to those who find it taken.

    Raises:
        LockedError: Another process (or another block of this one) holds it.
        BastideError: The lock file cannot be created or written.
    """
    holder = LockHolder(
        os.getpid(), socket.gethostname(), datetime.now(UTC).isoformat(timespec="seconds"), purpose
    )
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    except OSError as error:
        raise BastideError(
            f"the lock file {path} cannot be opened: {error.strerror}",
            code=UNUSABLE,
            hint=f"make {path.parent} writable for this user",
        ) from error
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise _locked(path) from None
        abandoned_by = read_holder(path)
        _write_holder(descriptor, holder)
        try:
            yield LockTaken(holder, abandoned_by)
        finally:
            _write_holder(descriptor, None)
    finally:
        os.close(descriptor)
