"""Writes the payloads of all volumes at once, slice by slice, so that parity needs one reading."""

from __future__ import annotations

import contextlib
import hashlib
import mmap
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from bastide.errors import BundleError, Problem
from bastide.layout import VOLUME_FILE_SIZE, volume_file
from bastide.progress import Progress
from bastide.schema.chunks import CHUNK
from bastide.store.code import Code
from bastide.store.opening import OpenBundle
from bastide.store.payload import ExtentReader, blob_extents
from bastide.store.pieces import Layout, Piece

CHANGED = "BAS-3054"
SLICES = 12 * 2**20  # bytes of all data volumes that are in memory at once
SLICE_LIMITS = (16 * 2**10, 2**20)
ZEROS = bytes(SLICE_LIMITS[1])


class PayloadFile:
    """Writes a volume's payload files, one after the other; leaves holes for zeros.

    Args:
        folder: The volume's.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._position = 0
        self._descriptor = -1

    def write(self, view: memoryview) -> None:
        """Append ``view``."""
        while len(view):
            inside = self._position % VOLUME_FILE_SIZE
            if inside == 0:
                self._next()
            piece = view[: min(len(view), VOLUME_FILE_SIZE - inside)]
            if _is_zero(piece):
                os.ftruncate(self._descriptor, inside + len(piece))
            else:
                _write_all(self._descriptor, piece, inside)
            self._position += len(piece)
            view = view[len(piece) :]

    def close(self) -> None:
        """Make it durable."""
        if self._descriptor >= 0:
            os.fsync(self._descriptor)
            os.close(self._descriptor)
            self._descriptor = -1

    def _next(self) -> None:
        self.close()
        path = self._folder / volume_file(self._position // VOLUME_FILE_SIZE)
        self._descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644)


def _is_zero(view: memoryview) -> bool:
    # A memoryview compares byte by byte, many times slower than bytes do.
    return view[0] == view[-1] == 0 and bytes(view) == ZEROS[: len(view)]


def _write_all(descriptor: int, view: memoryview, offset: int) -> None:
    done = 0
    while done < len(view):
        done += os.pwrite(descriptor, view[done:], offset + done)


class Lane:
    """One data volume on its way: reads its part of the stream, checks it and writes it."""

    def __init__(self, bundle: OpenBundle, layout: Layout, number: int, folder: Path) -> None:
        self.payload = layout.set.payload(number)
        self._base = layout.bases[number - 1]
        self._reader = ExtentReader(blob_extents(bundle.folder, bundle.blobs))
        self._file = PayloadFile(folder)
        self._pieces = iter(layout.pieces(number))
        self._piece: Piece | None = next(self._pieces, None)
        self._digest = hashlib.sha256()
        self.wrong: list[Piece] = []

    def step(self, position: int, view: memoryview) -> int:
        """Bring the bytes at ``position`` into ``view`` and the volume; pad ``view`` with zeros.

        Returns:
            How many bytes of the volume they were.
        """
        length = max(min(len(view), self.payload - position), 0)
        if length:
            self._reader.read_into(self._base + position, view[:length])
            self._check(self._base + position, view[:length])
            self._file.write(view[:length])
        view[length:] = ZEROS[: len(view) - length]
        return length

    def close(self) -> None:
        """Make the volume's payload durable."""
        self._reader.close()
        self._file.close()

    def _check(self, start: int, view: memoryview) -> None:
        end = start + len(view)
        while self._piece is not None and start < end:
            take = min(end, self._piece.end)
            self._digest.update(view[: take - start])
            view, start = view[take - start :], take
            if start == self._piece.end:
                if self._digest.hexdigest() != self._piece.sha256:
                    self.wrong.append(self._piece)
                self._piece, self._digest = next(self._pieces, None), hashlib.sha256()


class ParityLane:
    """One parity volume on its way, and the digests of its cells."""

    def __init__(self, folder: Path) -> None:
        self._file = PayloadFile(folder)
        self._digest = hashlib.sha256()
        self._filled = 0
        self._cells: list[str] = []

    def write(self, view: memoryview) -> None:
        """Append ``view``."""
        self._file.write(view)
        while len(view):
            piece = view[: CHUNK - self._filled]
            self._digest.update(piece)
            self._filled += len(piece)
            view = view[len(piece) :]
            if self._filled == CHUNK:
                self._cell()

    def close(self) -> tuple[str, ...]:
        """Make the volume's payload durable, and return the digests of its cells."""
        if self._filled:
            self._cell()
        self._file.close()
        return tuple(self._cells)

    def _cell(self) -> None:
        self._cells.append(self._digest.hexdigest())
        self._digest, self._filled = hashlib.sha256(), 0


def write_payloads(
    bundle: OpenBundle, layout: Layout, folders: list[Path], progress: Progress
) -> dict[int, tuple[str, ...]]:
    """Write the payload files of all volumes.

    Args:
        bundle: Where the bytes are.
        layout: Which volume gets which.
        folders: The volumes', in order.
        progress: Told of every byte that is read.

    Returns:
        Parity volume's number → digests of its cells.

    Raises:
        BundleError: The bundle does not hold what its documents say.
        OSError: Something cannot be read or written.
    """
    data = layout.set.data
    parity = {number: ParityLane(folders[number - 1])
              for number in range(data + 1, layout.set.total + 1)}  # fmt: skip
    groups = [list(range(1, data + 1))] if parity else [[n] for n in range(1, data + 1)]
    with progress.task("split", total=layout.stream.size) as task:
        for group in groups:
            lanes = [Lane(bundle, layout, number, folders[number - 1]) for number in group]
            with contextlib.ExitStack() as stack:
                for lane in lanes:
                    stack.callback(lane.close)
                for length in _run(lanes, parity):
                    task.advance(length)
            _refuse(bundle, [piece for lane in lanes for piece in lane.wrong])
    return {number: lane.close() for number, lane in parity.items()}


def _run(lanes: list[Lane], parity: dict[int, ParityLane]) -> Iterator[int]:
    """Move all ``lanes`` forward together, and make parity of each slice."""
    code = Code(len(lanes), len(parity)) if parity else None
    low, high = SLICE_LIMITS
    length = min(max(SLICES // len(lanes), low), high) // low * low
    whole = memoryview(mmap.mmap(-1, length * len(lanes)))  # page-aligned
    longest = max(lane.payload for lane in lanes)
    with ThreadPoolExecutor(min(os.cpu_count() or 1, len(lanes))) as pool:
        for position in range(0, longest, length):
            size = min(length, longest - position)
            views = [whole[n * size : (n + 1) * size] for n in range(len(lanes))]
            steps = pool.map(Lane.step, lanes, [position] * len(lanes), views)
            yield sum(steps)
            if code:
                made = code.encode(whole[: size * len(lanes)], size)
                list(pool.map(ParityLane.write, parity.values(), made))


def _refuse(bundle: OpenBundle, wrong: list[Piece]) -> None:
    if not wrong:
        return
    blobs = {blob.sha256: blob for blob in bundle.blobs}
    problems = tuple(
        Problem(
            blobs[piece.blob].path,
            f"the bytes {piece.offset} to {piece.offset + piece.size - 1} are wrong: "
            f"{blobs[piece.blob].label}",
        )
        for piece in wrong
    )
    raise BundleError(
        f"the bundle at {bundle.folder} is damaged, so it was not split",
        code=CHANGED,
        hint="build it again, or copy the named files again",
        problems=problems,
    )
