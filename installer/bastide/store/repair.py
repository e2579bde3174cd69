"""Pieces that no volume yields, made again from the other volumes and parity.

Parity is not trusted: what it yields is compared with the piece's digest like anything else.
"""

from __future__ import annotations

import hashlib
import itertools
import mmap
from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache

from bastide.schema.chunks import CHUNK
from bastide.store.code import Code
from bastide.store.gathering import Gathering
from bastide.store.payload import ExtentReader
from bastide.store.pieces import Layout, Piece
from bastide.store.shelf import ParitySource, read_cell

SLICE = 256 * 2**10  # bytes of each volume that are in memory at once
CELLS = 4  # cells of parity that stay in memory


class Repairer:
    """Makes lacking pieces again; use as a context manager.

    Args:
        gathering: What the store has; repaired pieces go there.
        layout: Of the set.
        parity: The parity volumes at hand.
    """

    def __init__(
        self, gathering: Gathering, layout: Layout, parity: Sequence[ParitySource]
    ) -> None:
        self._gathering = gathering
        self._layout = layout
        self._set = layout.set
        self._copies = [(source.volume, ExtentReader(source.extents)) for source in parity]
        self._numbers = sorted({source.volume.number for source in parity})
        self._store = ExtentReader(gathering.extents())
        self._code = Code(self._set.data, self._set.parity)
        self._cell = lru_cache(maxsize=CELLS + self._set.parity)(self._read_cell)

    def __enter__(self) -> Repairer:
        return self

    def __exit__(self, *_: object) -> None:
        for reader in (self._store, *(reader for _, reader in self._copies)):
            reader.close()

    def run(self, on_done: Callable[[int], None]) -> list[Piece]:
        """Make all pieces that can be made; return them."""
        made: list[Piece] = []
        while True:  # a piece that was made may be what another one needs
            now = [piece for piece in self._gathering.lacking if self._make(piece)]
            for piece in now:
                on_done(piece.size)
            made += now
            if not now or not self._gathering.lacking:
                return made

    def _make(self, piece: Piece) -> bool:
        volume = self._layout.volume_of(piece)
        base = self._layout.bases[volume - 1]
        content = memoryview(mmap.mmap(-1, piece.size))
        for low, high in self._slices(volume, piece):
            restored = self._restore(volume, low, high)
            if restored is None:
                return False
            content[low + base - piece.start : high + base - piece.start] = restored
        if hashlib.sha256(content).hexdigest() != piece.sha256:
            return False
        self._gathering.keep(piece, content)
        self._store.close()
        self._store = ExtentReader(self._gathering.extents())
        return True

    def _slices(self, volume: int, piece: Piece) -> Iterator[tuple[int, int]]:
        """Cut a piece's positions where some other volume begins or ends to have its bytes."""
        start = piece.start - self._layout.bases[volume - 1]
        end = start + piece.size
        cuts = {start, end, *range(start, end, SLICE), *range(-start % CHUNK + start, end, CHUNK)}
        for number in range(1, self._set.data + 1):
            base, payload = self._layout.bases[number - 1], self._set.payload(number)
            cuts.add(payload)
            for other in self._layout.stream.within(base + start, min(base + end, base + payload)):
                cuts |= {other.start - base, other.end - base}
        inside = sorted(cut for cut in cuts if start <= cut <= end)
        yield from itertools.pairwise(inside)

    def _restore(self, volume: int, low: int, high: int) -> bytes | None:
        present: dict[int, bytes | memoryview] = {}
        for number in range(1, self._set.data + 1):
            content = self._data(number, low, high)
            if content is not None:
                present[number - 1] = content
        for number in self._numbers:
            if len(present) >= self._set.data:
                break
            content = self._parity(number, low, high)
            if content is not None:
                present[number - 1] = content
        if len(present) < self._set.data:
            return None
        return self._code.restore(present, volume - 1)

    def _data(self, number: int, low: int, high: int) -> bytes | memoryview | None:
        """Return a range of a data volume from the store; None if it is not all there."""
        if low >= self._set.payload(number):
            return bytes(high - low)
        base = self._layout.bases[number - 1]
        pieces = self._layout.stream.within(base + low, base + high)
        if any(self._gathering.lacks(piece) for piece in pieces):
            return None
        view = memoryview(bytearray(high - low))
        try:
            self._store.read_into(base + low, view)
        except OSError:
            return None
        return view

    def _parity(self, number: int, low: int, high: int) -> memoryview | None:
        cell = self._cell(number, low // CHUNK)
        if cell is None:
            return None
        inside = low % CHUNK
        return cell[inside : inside + high - low]

    def _read_cell(self, number: int, index: int) -> memoryview | None:
        """Return a cell of a parity volume; None if no copy of it yields it."""
        for volume, reader in self._copies:
            if volume.number == number:
                found = read_cell(reader, volume, index)
                if found is not None:
                    return found
        return None
