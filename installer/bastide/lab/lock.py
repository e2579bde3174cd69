"""One lab command at a time: a lock that names its holder and dies with it."""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

from bastide.errors import LockedError
from bastide.lab.errors import LOCKED
from bastide.progress import Progress


def _holder(descriptor: int) -> str:
    text = os.pread(descriptor, 500, 0).decode(errors="replace").strip()
    return text or "another command"


def _sign(descriptor: int, work: str) -> None:
    since = datetime.now(UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
    os.ftruncate(descriptor, 0)
    os.pwrite(descriptor, f"`{work}`, process {os.getpid()}, since {since}".encode(), 0)


@contextlib.contextmanager
def hold(path: Path, work: str, *, waiting: Progress | None = None) -> Iterator[None]:
    """Hold the lock ``path`` during the block; a killed holder lets go of it.

    Args:
        path: The lock file; made if missing, never removed.
        work: The command, for whoever finds the lock taken.
        waiting: Wait for the present holder and say so here; None: do not wait.

    Raises:
        LockedError: Another process holds it, and we do not wait.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            if waiting is None:
                raise LockedError(
                    f"{path} is held by {_holder(descriptor)}",
                    code=LOCKED,
                    hint="wait until it has ended, then run the command again",
                ) from error
            waiting.note(f"waiting for {_holder(descriptor)}")
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        _sign(descriptor, work)
        yield
    finally:
        os.close(descriptor)
