"""A bundle's blobs as one stream of bytes, and the pieces in which it is checked.

Volumes carry ranges of this stream. Every piece has a digest that the bundle's root reaches: a
small blob its own, a chunk of a large blob the one in ``chunks.json``.
"""

from __future__ import annotations

import bisect
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

from bastide.schema.chunks import CHUNK, BlobChunks
from bastide.schema.volume import VolumeSet
from bastide.store.opening import Blob


@dataclass(frozen=True, slots=True)
class Piece:
    """What one digest covers.

    Args:
        blob: Digest of the blob that it belongs to.
        offset: Where in the blob it begins, in bytes.
        start: Where in the stream it begins.
        size: At most one chunk; never 0.
        sha256: Its digest.
    """

    blob: str
    offset: int
    start: int
    size: int
    sha256: str

    @property
    def end(self) -> int:
        """The byte after its last in the stream."""
        return self.start + self.size


@dataclass(frozen=True)
class Stream:
    """All pieces of a bundle, in order and without gaps; empty blobs have none.

    Args:
        pieces: In the order of the stream.
    """

    pieces: tuple[Piece, ...]

    @property
    def size(self) -> int:
        """Its length in bytes."""
        return self.pieces[-1].end if self.pieces else 0

    @cached_property
    def starts(self) -> list[int]:
        """Where the pieces begin."""
        return [piece.start for piece in self.pieces]

    def within(self, start: int, end: int) -> tuple[Piece, ...]:
        """Return the pieces that have bytes between ``start`` and ``end``."""
        if start >= end:
            return ()
        first = max(bisect.bisect_right(self.starts, start) - 1, 0)
        last = bisect.bisect_left(self.starts, end)
        return tuple(p for p in self.pieces[first:last] if p.end > start)


def make_stream(blobs: tuple[Blob, ...], chunks: dict[str, BlobChunks]) -> Stream:
    """Return the stream of a bundle's blobs.

    Args:
        blobs: Sorted by digest.
        chunks: Of every blob larger than one chunk, by digest.
    """
    found: list[Piece] = []
    start = 0
    for blob in blobs:
        for offset, size, sha256 in _parts(blob, chunks):
            found.append(Piece(blob.sha256, offset, start, size, sha256))
            start += size
    return Stream(tuple(found))


def _parts(blob: Blob, chunks: dict[str, BlobChunks]) -> Iterator[tuple[int, int, str]]:
    if 0 < blob.size <= CHUNK:
        yield 0, blob.size, blob.sha256
    elif blob.size:
        for number, sha256 in enumerate(chunks[blob.sha256].chunks):
            offset = number * CHUNK
            yield offset, min(CHUNK, blob.size - offset), sha256


@dataclass(frozen=True)
class Layout:
    """Which bytes of the stream each volume of a set carries.

    Args:
        set: The set.
        stream: The bundle's.
    """

    set: VolumeSet
    stream: Stream

    @cached_property
    def bases(self) -> tuple[int, ...]:
        """Where in the stream each data volume begins, and at the end the stream's length."""
        found = [0]
        for payload in self.set.payloads:
            found.append(found[-1] + payload)
        return tuple(found)

    def pieces(self, number: int) -> tuple[Piece, ...]:
        """Return the pieces that data volume ``number`` carries."""
        return self.stream.within(self.bases[number - 1], self.bases[number])

    def volume_of(self, piece: Piece) -> int:
        """Return the number of the data volume that carries ``piece``."""
        return bisect.bisect_right(self.bases, piece.start, hi=len(self.bases) - 1)

    def mistakes(self) -> list[str]:
        """Return where the set does not fit the stream, in words."""
        found = []
        if self.bases[-1] != self.stream.size:
            found.append(f"carries {self.bases[-1]} bytes, the bundle has {self.stream.size}")
        ends = {0, *(piece.end for piece in self.stream.pieces)}
        if not set(self.bases) <= ends:
            found.append("is cut inside a chunk")
        return found
