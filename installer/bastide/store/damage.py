"""Which bytes of a damaged file are the wrong ones."""

from __future__ import annotations

import hashlib
from pathlib import Path

from bastide.schema.chunks import CHUNK, BlobChunks
from bastide.store.source import FileSource

SHOWN = 20  # ranges in one message

Ranges = tuple[tuple[int, int], ...]


def bad_ranges(path: Path, blob: BlobChunks) -> Ranges:
    """Return the ranges of ``path`` that do not have the digests of ``blob``'s chunks.

    Args:
        path: The damaged file; read once more.
        blob: What it should be.

    Returns:
        First byte and byte after the last of each range, neighbours joined. A range that cannot be
        read is a bad one.
    """
    bad = []
    view = memoryview(bytearray(CHUNK))
    for number, expected in enumerate(blob.chunks):
        start = number * CHUNK
        end = min(start + CHUNK, blob.size)
        if _digest(path, start, view[: end - start]) != expected:
            bad.append((start, end))
    return join_ranges(bad)


def join_ranges(ranges: list[tuple[int, int]]) -> Ranges:
    """Return ``ranges`` in order, those that touch or overlap joined."""
    joined: list[tuple[int, int]] = []
    for start, end in sorted(ranges):
        if joined and joined[-1][1] >= start:
            joined[-1] = (joined[-1][0], max(end, joined[-1][1]))
        else:
            joined.append((start, end))
    return tuple(joined)


def describe_ranges(ranges: Ranges) -> str:
    """Return ``0 to 4194303, 8388608 to 9000000``: first and last byte of each range."""
    words = [f"{start} to {end - 1}" for start, end in ranges[:SHOWN]]
    if len(ranges) > SHOWN:
        words.append(f"and {len(ranges) - SHOWN} ranges more")
    return ", ".join(words)


def _digest(path: Path, start: int, view: memoryview) -> str:
    done = 0
    try:
        with FileSource(path).open() as reader:
            while done < len(view) and (read := reader.read_into(start + done, view[done:])):
                done += read
    except OSError:
        return ""
    return hashlib.sha256(view[:done]).hexdigest()
