"""Copies of folders with proof, holes kept; names exchanged in one step."""

from __future__ import annotations

import concurrent.futures
import contextlib
import ctypes
import fcntl
import hashlib
import os
import shutil
import stat
from collections.abc import Iterator
from pathlib import Path

from bastide_host.host import BLOCK, AgentError, fsync_directory

_FICLONE = 0x40049409
_AT_FDCWD = -100
_RENAME_EXCHANGE = 2
_ZEROS = bytes(BLOCK)
_UNIT = 4096  # what file systems hand out


def scan(folder: Path) -> dict[str, os.stat_result]:
    """Return every folder and file below ``folder``: relative path → state, folders first.

    Raises:
        AgentError: There is something else, such as a link.
    """
    found = {}
    for path in sorted(folder.rglob("*")):
        state = path.lstat()
        if not stat.S_ISREG(state.st_mode) and not stat.S_ISDIR(state.st_mode):
            raise AgentError("BAS-6074", f"{path} is neither a file nor a folder: not copied")
        found[str(path.relative_to(folder))] = state
    return found


def allocated_bytes(folder: Path) -> int:
    """Return what a folder's files take on disk, holes not counted."""
    total = 0
    for parent, _, names in os.walk(folder):
        for name in names:
            with contextlib.suppress(FileNotFoundError):
                total += Path(parent, name).lstat().st_blocks * 512
    return total


def _data_ranges(handle: int, size: int) -> Iterator[tuple[int, int]]:
    position = 0
    while position < size:
        try:
            start = os.lseek(handle, position, os.SEEK_DATA)
        except OSError:  # ENXIO: nothing but a hole follows
            return
        position = os.lseek(handle, start, os.SEEK_HOLE)
        yield start, min(position, size)


def needed_bytes(source: Path, beside: Path) -> int:
    """Return what a copy of ``source`` below ``beside`` will take; less if extents are shared."""
    clones = can_clone(beside)
    total = 0
    for name, state in scan(source).items():
        total += _UNIT
        if not clones and stat.S_ISREG(state.st_mode):
            with (source / name).open("rb") as stream:
                for start, end in _data_ranges(stream.fileno(), state.st_size):
                    total += -(-(end - start) // _UNIT) * _UNIT
    return total


def can_clone(folder: Path) -> bool:
    """Return whether files in ``folder`` can share extents; tries it out."""
    one, other = folder / ".clone-one", folder / ".clone-other"
    try:
        one.write_bytes(_ZEROS[:_UNIT])
        with one.open("rb") as source, other.open("wb") as target:
            return _clone(source.fileno(), target.fileno())
    finally:
        one.unlink(missing_ok=True)
        other.unlink(missing_ok=True)


def _clone(source: int, target: int) -> bool:
    try:
        fcntl.ioctl(target, _FICLONE, source)
    except OSError:
        return False
    return True


def _pieces(handle: int, size: int) -> dict[int, list[tuple[int, int]]]:
    """Return what of a file is no hole: start of each ``BLOCK`` → the stretches in it."""
    found: dict[int, list[tuple[int, int]]] = {}
    for first, end in _data_ranges(handle, size):
        start = first
        while start < end:
            block = start - start % BLOCK
            stop = min(block + BLOCK, end)
            found.setdefault(block, []).append((start, stop))
            start = stop
    return found


def _read(handle: int, target: int | None) -> str:
    """Return the digest of an open file; write what is no hole to ``target`` as well.

    The digest is the SHA-256 of the blocks that are not zeros, each after its offset, and of the
    size: the same however much of the zeros is a hole. A log that is preallocated costs nothing.
    """
    digest = hashlib.sha256()
    size = os.fstat(handle).st_size
    for offset, pieces in _pieces(handle, size).items():
        block = os.pread(handle, BLOCK, offset)
        if block != _ZEROS[: len(block)]:
            digest.update(offset.to_bytes(8, "big"))
            digest.update(block)
        for start, stop in pieces:
            if target is None:
                break
            os.pwrite(target, block[start - offset : stop - offset], start)
    digest.update(size.to_bytes(8, "big"))
    return digest.hexdigest()


def digest_of(path: Path, *, from_disk: bool = False) -> str:
    """Return a file's digest, in hex: see ``_read``.

    Args:
        path: The file.
        from_disk: Forget what is cached of it first.
    """
    with path.open("rb", buffering=0) as stream:
        if from_disk:
            os.posix_fadvise(stream.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
        return _read(stream.fileno(), None)


def _keep_state(path: Path, state: os.stat_result) -> None:
    os.chown(path, state.st_uid, state.st_gid)
    path.chmod(stat.S_IMODE(state.st_mode))
    os.utime(path, ns=(state.st_atime_ns, state.st_mtime_ns))


def _copy_file(source: Path, target: Path, state: os.stat_result) -> str:
    with source.open("rb", buffering=0) as reading, target.open("xb", buffering=0) as writing:
        cloned = _clone(reading.fileno(), writing.fileno())
        if not cloned:
            os.ftruncate(writing.fileno(), state.st_size)
        digest = _read(reading.fileno(), None if cloned else writing.fileno())
    _keep_state(target, state)
    return digest


def copy_tree(source: Path, target: Path) -> dict[str, str]:
    """Copy a folder with owners, modes and times; return the digests of what was read.

    The copy is not flushed to the disk yet.
    """
    entries = scan(source)
    target.mkdir(mode=0o700)
    folders = {name: state for name, state in entries.items() if stat.S_ISDIR(state.st_mode)}
    for name in folders:
        (target / name).mkdir(mode=0o700)
    names = [name for name in entries if name not in folders]
    with concurrent.futures.ThreadPoolExecutor(min(4, os.cpu_count() or 1)) as pool:
        digests = pool.map(lambda n: _copy_file(source / n, target / n, entries[n]), names)
        files = dict(zip(names, digests))  # noqa: B905 - new in 3.10
    for name in sorted(folders, reverse=True):  # last: their times are of their content
        _keep_state(target / name, folders[name])
    _keep_state(target, source.stat())
    return files


def differences(folder: Path, files: dict[str, str]) -> list[str]:
    """Return how a folder's files on the disk differ from digests: a line for each that does."""
    here = {name for name, state in scan(folder).items() if stat.S_ISREG(state.st_mode)}
    found = [f"{name} is missing" for name in sorted(set(files) - here)]
    found += [f"{name} should not be there" for name in sorted(here - set(files))]
    names = sorted(here & set(files))
    with concurrent.futures.ThreadPoolExecutor(min(4, os.cpu_count() or 1)) as pool:
        digests = pool.map(lambda n: digest_of(folder / n, from_disk=True), names)
        pairs = list(zip(names, digests))  # noqa: B905 - new in 3.10
    return found + [f"{name} has other content" for name, sha in pairs if sha != files[name]]


def sync_file_system(folder: Path) -> None:
    """Force everything on the file system of ``folder`` to the disk."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        if ctypes.CDLL(None, use_errno=True).syncfs(handle) != 0:
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number), str(folder))
    finally:
        os.close(handle)


def exchange_names(one: Path, other: Path) -> None:
    """Exchange two folders in one step, durably: neither name is ever missing.

    Raises:
        AgentError: The file system cannot, or they lie on two.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    names = [os.fsencode(path) for path in (one, other)]
    if libc.renameat2(_AT_FDCWD, names[0], _AT_FDCWD, names[1], _RENAME_EXCHANGE) != 0:
        raise AgentError(
            "BAS-6076",
            f"{one} and {other} cannot be exchanged: {os.strerror(ctypes.get_errno())}",
            "both must lie on one file system that can exchange names: ext4, XFS, Btrfs, tmpfs",
        )
    for parent in (one.parent, other.parent):
        fsync_directory(parent)


def remove_tree(folder: Path) -> None:
    """Remove a folder, if it is there, durably."""
    if folder.is_dir():
        shutil.rmtree(folder)
        fsync_directory(folder.parent)
