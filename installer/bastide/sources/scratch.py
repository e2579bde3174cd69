"""Temporary folders that do not pile up: what a killed process has left, the next one removes."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

YOUNG = 60.0  # seconds in which a folder's owner may not have locked it yet


@contextlib.contextmanager
def scratch(parent: Path, prefix: str = "work-") -> Iterator[Path]:
    """Lend a new folder in ``parent``, removed at the end unless it was renamed.

    Folders of the same prefix whose process has ended without removing them are removed first.

    Args:
        parent: Where to make it; it is made if it is not there.
        prefix: How its name begins.
    """
    parent.mkdir(parents=True, exist_ok=True)
    _sweep(parent, prefix)
    folder = Path(tempfile.mkdtemp(prefix=prefix, dir=parent))
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield folder
    finally:
        os.close(descriptor)
        shutil.rmtree(folder, ignore_errors=True)


def _sweep(parent: Path, prefix: str) -> None:
    for left in parent.iterdir():
        if not (left.name.startswith(prefix) and left.is_dir() and not left.is_symlink()):
            continue
        try:
            descriptor = os.open(left, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
        except OSError:
            continue
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if time.time() - os.fstat(descriptor).st_ctime > YOUNG:
                shutil.rmtree(left, ignore_errors=True)
        except OSError:  # somebody works in it
            continue
        finally:
            os.close(descriptor)
