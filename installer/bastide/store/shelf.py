"""Parity that may be wanted later, kept in ``incoming`` for machines with one drive.

With two volumes lost, two parity volumes are wanted at once, and one drive holds one. So the cells
of a parity volume that could mend what is lacking are copied while it is there.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from bastide.errors import BundleError
from bastide.host.files import write_atomic
from bastide.progress import Progress
from bastide.schema.chunks import CHUNK
from bastide.schema.volume import Volume, VolumeSet
from bastide.store.local import Store
from bastide.store.payload import Extent, ExtentReader
from bastide.store.pieces import Layout, Piece
from bastide.store.space import free_space
from bastide.store.volume import OpenVolume, parse_volume


@dataclass(frozen=True)
class ParitySource:
    """Where the cells of a parity volume are.

    Args:
        volume: What it says of itself.
        extents: The files that hold its payload, maybe with gaps.
    """

    volume: Volume
    extents: Sequence[Extent]


def wanted_cells(layout: Layout, lacking: Iterable[Piece]) -> tuple[int, ...]:
    """Return the numbers of the cells of parity that could mend ``lacking``."""
    found: set[int] = set()
    for piece in lacking:
        low = piece.start - layout.bases[layout.volume_of(piece) - 1]
        found.update(range(low // CHUNK, (low + piece.size - 1) // CHUNK + 1))
    return tuple(sorted(found))


class Shelf:
    """The parity of one set that the store keeps.

    Args:
        store: Locked by the caller.
        wanted: The set; parity of other sets is dropped with other leftovers.
    """

    def __init__(self, store: Store, wanted: VolumeSet) -> None:
        self._store = store
        self._set = wanted
        self._prefix = f"parity-{wanted.digest()[:16]}-"

    def owns(self, name: str) -> bool:
        """Return whether a file in ``incoming`` is this shelf's."""
        return name.startswith(self._prefix)

    def sources(self) -> list[ParitySource]:
        """Return the parity that is kept; what of it is there and right shows in reading it."""
        found = []
        for number in range(self._set.data + 1, self._set.total + 1):
            path = self._path(number)
            try:
                volume = parse_volume(path, path.with_suffix(".json").read_bytes())
            except (OSError, BundleError):
                continue
            if volume.set == self._set and volume.number == number and path.is_file():
                extent = Extent(0, self._set.payload(number), path)
                found.append(ParitySource(volume, (extent,)))
        return found

    def keep(self, opened: OpenVolume, cells: Sequence[int], progress: Progress) -> None:
        """Copy ``cells`` of a parity volume, as far as it yields them and there is room."""
        path = self._path(opened.number)
        if free_space(self._store.root).free < 2 * len(cells) * CHUNK:
            return
        write_atomic(path.with_suffix(".json"), opened.volume.canonical())
        own = Extent(0, opened.volume.set.payload(opened.number), path)
        flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
        descriptor = os.open(path, flags, 0o600)
        try:
            with (
                progress.task(f"keep parity of {opened.name}", total=len(cells) * CHUNK) as task,
                ExtentReader([own]) as kept,
                ExtentReader(opened.extents) as medium,
            ):
                for cell in cells:
                    if read_cell(kept, opened.volume, cell) is None:
                        content = read_cell(medium, opened.volume, cell)
                        if content is not None:
                            os.pwrite(descriptor, content, cell * CHUNK)
                    task.advance(CHUNK)
        finally:
            os.close(descriptor)

    def clear(self) -> None:
        """Forget everything: the bundle is in the store."""
        for path in self._store.incoming.iterdir():
            if self.owns(path.name):
                with contextlib.suppress(FileNotFoundError):
                    path.unlink()

    def _path(self, number: int) -> Path:
        return self._store.incoming / f"{self._prefix}{number:04}"


def read_cell(reader: ExtentReader, volume: Volume, index: int) -> memoryview | None:
    """Return a cell of a parity volume; None if it is not there, damaged, or its medium is gone."""
    start = index * CHUNK
    view = memoryview(bytearray(min(CHUNK, volume.set.payload(volume.number) - start)))
    try:
        reader.read_into(start, view)
    except OSError:
        return None
    right = hashlib.sha256(view).hexdigest() == volume.cells[index]
    return view if right else None
