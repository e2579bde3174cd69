"""Finds which ranges of a new file an old one has, in memory that does not grow with the files.

Both are cut by their content (FastCDC), so that an insertion moves the cuts with it. Equal chunks
are compared byte by byte, and every run of them is then grown to the exact byte in both directions:
the chunks' size decides what is found at all, not how exact it is.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

CHUNKS = 2**16  # about how many chunks a file is cut into; bounds the memory of the index
SMALLEST, LARGEST = 512, 2**18  # bytes of an average chunk
BLOCK = 2**16  # bytes compared at a time


@dataclass(frozen=True, slots=True)
class Run:
    """A range of the new file that lies in the old one.

    Args:
        start: Where it begins in the new file.
        base: Where it begins in the old one.
        length: In bytes.
    """

    start: int
    base: int
    length: int

    @property
    def end(self) -> int:
        """Where it ends in the new file."""
        return self.start + self.length

    @property
    def base_end(self) -> int:
        """Where it ends in the old file."""
        return self.base + self.length


@dataclass(frozen=True)
class Matches:
    """What two files have in common.

    Args:
        runs: Ordered by place in the new file, without overlap.
        base_sha256: Digest of the old file's bytes, as they were read.
        sha256: Digest of the new file's.
    """

    runs: tuple[Run, ...]
    base_sha256: str
    sha256: str


class FileBytes:
    """An open file, read by position.

    Args:
        path: The file.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        self.size = os.fstat(self.descriptor).st_size

    def __enter__(self) -> FileBytes:
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self.descriptor)

    def read(self, start: int, end: int) -> bytes:
        """Return the bytes from ``start`` to ``end``; the file must have them."""
        parts = []
        while start < end:
            part = os.pread(self.descriptor, end - start, start)
            if not part:
                raise OSError(0, f"{self.path} became shorter while it was read")
            parts.append(part)
            start += len(part)
        return parts[0] if len(parts) == 1 else b"".join(parts)


def find_matches(base: FileBytes, new: FileBytes) -> Matches:
    """Return what ``new`` has in common with ``base``; reads both once, and matches twice.

    Raises:
        OSError: One of them cannot be read.
    """
    average = chunk_size(max(base.size, new.size))
    index, base_digest = _index(base, average)
    runs: list[Run] = []
    digest = hashlib.sha256()
    for start, data in _chunks(new, average):
        digest.update(data)
        _match(runs, start, data, index, base)
    grown = _grow(runs, base, new)
    return Matches(tuple(grown), base_digest, digest.hexdigest())


def chunk_size(size: int) -> int:
    """Return the average chunk for files of ``size`` bytes: a power of two."""
    wanted = max(size // CHUNKS, 1)
    return min(max(1 << (wanted - 1).bit_length(), SMALLEST), LARGEST)


def _chunks(file: FileBytes, average: int) -> Iterator[tuple[int, bytes]]:
    from pyfastcdc import FastCDC  # noqa: PLC0415 - belongs to the builder's side only

    with open(file.descriptor, "rb", buffering=0, closefd=False) as stream:
        stream.seek(0)
        for chunk in FastCDC(average).cut_stream(stream):
            yield chunk.offset, bytes(chunk.data)


def _index(base: FileBytes, average: int) -> tuple[dict[int, int], str]:
    # Python's own hash of bytes is 64 bits wide and the fastest at hand. Whatever it finds is
    # compared byte by byte, so a collision costs a match and nothing else.
    index: dict[int, int] = {}
    digest = hashlib.sha256()
    for start, data in _chunks(base, average):
        digest.update(data)
        index.setdefault(hash(data), start)
    return index, digest.hexdigest()


def _match(
    runs: list[Run], start: int, data: bytes, index: dict[int, int], base: FileBytes
) -> None:
    """Add the chunk to the last run if it goes on there, else begin a run where it was found."""
    length = len(data)
    last = runs[-1] if runs else None
    if last and last.end == start and _has(base, last.base_end, data):
        runs[-1] = Run(last.start, last.base, last.length + length)
        return
    found = index.get(hash(data))
    if found is not None and _has(base, found, data):
        runs.append(Run(start, found, length))


def _has(base: FileBytes, start: int, data: bytes) -> bool:
    end = start + len(data)
    return end <= base.size and base.read(start, end) == data


def _grow(runs: list[Run], base: FileBytes, new: FileBytes) -> list[Run]:
    grown: list[Run] = []
    for number, run in enumerate(runs):
        floor = grown[-1].end if grown else 0
        ceiling = runs[number + 1].start if number + 1 < len(runs) else new.size
        back = _equal_before(base, new, run, min(run.start - floor, run.base))
        ahead = _equal_after(base, new, run, min(ceiling - run.end, base.size - run.base_end))
        one = Run(run.start - back, run.base - back, run.length + back + ahead)
        if grown and grown[-1].end == one.start and grown[-1].base_end == one.base:
            one = Run(grown[-1].start, grown[-1].base, grown.pop().length + one.length)
        grown.append(one)
    return grown


def _equal_after(base: FileBytes, new: FileBytes, run: Run, limit: int) -> int:
    """Return how many bytes after the run are equal in both, ``limit`` at most."""
    equal = 0
    while equal < limit:
        step = min(BLOCK, limit - equal)
        ours = new.read(run.end + equal, run.end + equal + step)
        theirs = base.read(run.base_end + equal, run.base_end + equal + step)
        if ours != theirs:
            difference = int.from_bytes(ours, "little") ^ int.from_bytes(theirs, "little")
            return equal + ((difference & -difference).bit_length() - 1) // 8
        equal += step
    return limit


def _equal_before(base: FileBytes, new: FileBytes, run: Run, limit: int) -> int:
    """Return how many bytes before the run are equal in both, ``limit`` at most."""
    equal = 0
    while equal < limit:
        step = min(BLOCK, limit - equal)
        ours = new.read(run.start - equal - step, run.start - equal)
        theirs = base.read(run.base - equal - step, run.base - equal)
        if ours != theirs:
            difference = int.from_bytes(ours, "little") ^ int.from_bytes(theirs, "little")
            return equal + step - (difference.bit_length() + 7) // 8
        equal += step
    return limit
