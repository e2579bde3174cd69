"""Reading ranges of long byte sequences that lie in several files."""

from __future__ import annotations

import bisect
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from bastide.layout import VOLUME_FILE_SIZE, blob_path, volume_file
from bastide.store.opening import Blob
from bastide.store.source import SOURCE_FLAGS


@dataclass(frozen=True)
class Extent:
    """A file that holds the bytes from ``start`` on."""

    start: int
    size: int
    path: Path


class ExtentReader:
    """Reads ranges out of files that follow one another; keeps the last one open.

    Args:
        extents: In order, without gaps or empty files.
    """

    def __init__(self, extents: Sequence[Extent]) -> None:
        self._extents = [extent for extent in extents if extent.size]
        self._starts = [extent.start for extent in self._extents]
        self._descriptor = -1
        self._open: Extent | None = None

    def __enter__(self) -> ExtentReader:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the file that is open, if any."""
        if self._open is not None:
            os.close(self._descriptor)
            self._open = None

    def read_into(self, start: int, view: memoryview) -> None:
        """Fill ``view`` with the bytes from ``start`` on.

        Raises:
            OSError: They cannot be read, or a file ends before its time.
        """
        done = 0
        while done < len(view):
            extent = self._extents[bisect.bisect_right(self._starts, start + done) - 1]
            inside = start + done - extent.start
            want = min(len(view) - done, extent.size - inside)
            if want <= 0:
                raise OSError(f"{extent.path.name} is not followed by another file")
            read = os.preadv(self._descriptor_of(extent), [view[done : done + want]], inside)
            if read == 0:
                raise OSError(f"{extent.path.name} ends after {inside} bytes")
            done += read

    def _descriptor_of(self, extent: Extent) -> int:
        if self._open is not extent:
            self.close()
            self._descriptor = os.open(extent.path, SOURCE_FLAGS)
            self._open = extent
        return self._descriptor


def volume_extents(folder: Path, payload: int) -> list[Extent]:
    """Return the files of a volume that carries ``payload`` bytes."""
    starts = range(0, payload, VOLUME_FILE_SIZE)
    return [
        Extent(start, min(VOLUME_FILE_SIZE, payload - start), folder / volume_file(index))
        for index, start in enumerate(starts)
    ]


def blob_extents(folder: Path, blobs: Sequence[Blob]) -> list[Extent]:
    """Return the files of a bundle's or a store's blobs as one stream."""
    found, start = [], 0
    for blob in blobs:
        found.append(Extent(start, blob.size, folder / blob_path(blob.sha256)))
        start += blob.size
    return found
