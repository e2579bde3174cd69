"""State on disk: atomic writes, sparse copies, flushed renames."""

from __future__ import annotations

import ctypes
import os
import shutil
import uuid
from collections.abc import Iterator
from pathlib import Path

_CHUNK = 64 << 20
_AT_FDCWD = -100
_RENAME_EXCHANGE = 2


def sync_dir(path: Path) -> None:
    """Make a folder's entries survive a power cut."""
    handle = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def write_atomic(path: Path, data: bytes) -> None:
    """Replace a file's content whole or not at all, durably."""
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
    handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o640)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    sync_dir(path.parent)


def move(source: Path, target: Path) -> None:
    """Rename durably; both on one file system."""
    source.rename(target)
    sync_dir(target.parent)
    if source.parent != target.parent:
        sync_dir(source.parent)


def exchange(one: Path, other: Path) -> None:
    """Exchange two folders' names in one step, durably.

    Raises:
        OSError: the file system cannot.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    names = [os.fsencode(path) for path in (one, other)]
    if libc.renameat2(_AT_FDCWD, names[0], _AT_FDCWD, names[1], _RENAME_EXCHANGE) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), str(one), None, str(other))
    for parent in {one.parent, other.parent}:
        sync_dir(parent)


def data_ranges(handle: int, size: int) -> Iterator[tuple[int, int]]:
    """Start and end of each stretch of a file that is not a hole."""
    position = 0
    while position < size:
        try:
            start = os.lseek(handle, position, os.SEEK_DATA)
        except OSError:  # ENXIO: nothing but a hole follows
            return
        position = os.lseek(handle, start, os.SEEK_HOLE)
        yield start, position


def _copy_range(source: int, target: int, start: int, end: int) -> None:
    while start < end:
        try:
            done = os.copy_file_range(source, target, min(_CHUNK, end - start), start, start)
        except OSError:  # across file systems, or a kernel without it
            done = os.pwrite(target, os.pread(source, min(1 << 20, end - start), start), start)
        if done == 0:
            return
        start += done


def copy_file(source: Path, target: Path) -> None:
    """Copy a file, holes kept, and flush it; a shared extent where the file system can."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL
    reading = os.open(source, os.O_RDONLY)
    try:
        writing = os.open(target, flags, 0o640)
        try:
            size = os.fstat(reading).st_size
            os.ftruncate(writing, size)
            for start, end in data_ranges(reading, size):
                _copy_range(reading, writing, start, end)
            os.fdatasync(writing)
        finally:
            os.close(writing)
    finally:
        os.close(reading)


def copy_tree(source: Path, target: Path) -> None:
    """Copy a folder of plain files, durably; ``target`` must not exist."""
    target.mkdir(mode=0o750)
    with os.scandir(source) as entries:
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                copy_tree(Path(entry.path), target / entry.name)
            elif entry.is_file(follow_symlinks=False):
                copy_file(Path(entry.path), target / entry.name)
    sync_dir(target)


def remove_tree(path: Path) -> None:
    """Remove a folder, if it is there."""
    shutil.rmtree(path, ignore_errors=True)


def free_bytes(path: Path) -> int:
    """Bytes that an unprivileged process may still write below ``path``."""
    stat = os.statvfs(path)
    return stat.f_bavail * stat.f_frsize


def used_bytes(path: Path) -> int:
    """Bytes that a folder takes on disk, holes not counted."""
    total = 0
    for folder, _, names in os.walk(path):
        for name in names:
            try:
                total += os.lstat(os.path.join(folder, name)).st_blocks * 512  # noqa: PTH118
            except FileNotFoundError:
                continue
    return total
