"""A file that comes in pieces, in any order: nothing is written before it was verified.

What has arrived lies in the partial file at its place. After a cut, what is right there is found by
its digests: there is no other record that could be wrong.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import threading
from dataclasses import dataclass

from bastide_host.depot import Blob, keep
from bastide_host.host import BLOCK, AgentError, JsonObject


@dataclass(frozen=True)
class Piece:
    """Part of a file.

    Args:
        number: Its number; every piece of a run has its own.
        blob: The file's digest.
        offset: Where in the file it begins.
        size: In bytes.
        chunk: Size of the parts that have digests of their own, in bytes.
        chunks: Their SHA-256, in order.
    """

    number: int
    blob: str
    offset: int
    size: int
    chunk: int
    chunks: tuple[str, ...]

    def is_right(self, content: bytes | bytearray | memoryview) -> bool:
        """Return whether ``content`` is this piece."""
        if len(content) != self.size:
            return False
        view = memoryview(content)
        starts = range(0, self.size, self.chunk)
        return all(
            hashlib.sha256(view[start : start + self.chunk]).hexdigest() == wanted
            for start, wanted in zip(starts, self.chunks, strict=True)
        )


class PieceFile:
    """One blob and its pieces; usable from several threads.

    Args:
        blob: The blob.
        table: Its ``pieces`` in the stage description.

    Raises:
        AgentError: The table does not fit the blob.
    """

    def __init__(self, blob: Blob, table: JsonObject) -> None:
        self.blob = blob
        size, chunk, digests = int(table["size"]), int(table["chunk"]), tuple(table["sha256"])
        if chunk < 1 or size % chunk or size < chunk or len(digests) != -(-blob.size // chunk):
            raise AgentError("BAS-6050", f"stage description: {blob.name} has odd pieces")
        self.pieces = {}
        for index, offset in enumerate(range(0, blob.size, size)):
            number, end = int(table["first"]) + index, min(offset + size, blob.size)
            chunks = digests[offset // chunk : -(-end // chunk)]
            self.pieces[number] = Piece(number, blob.sha256, offset, end - offset, chunk, chunks)
        self.finished = False  # it has its name
        self._right: set[int] = set()
        self._digest = hashlib.sha256()  # of the first bytes, as far as they are all there
        self._digested = 0
        self._lock = threading.Lock()
        self._digesting = threading.Lock()

    @property
    def right(self) -> set[int]:
        """Numbers of the pieces that are here, verified."""
        with self._lock:
            return set(self._right)

    @property
    def missing(self) -> list[Piece]:
        """The pieces that still have to come, in order."""
        right = self.right
        return [piece for number, piece in self.pieces.items() if number not in right]

    def survey(self) -> None:
        """Find out which pieces are here: all of a whole file, of a partial one what is right."""
        if self.blob.is_here():
            self._right, self.finished = set(self.pieces), True
            return
        with contextlib.suppress(FileNotFoundError), self.blob.partial.open("rb") as stream:
            for piece in self.pieces.values():
                stream.seek(piece.offset)
                if piece.is_right(stream.read(piece.size)):
                    self._right.add(piece.number)

    def has(self, number: int) -> bool:
        """Return whether a piece is here."""
        with self._lock:
            return number in self._right

    def write(self, piece: Piece, content: bytearray) -> bool:
        """Put a verified piece into its place; return whether it was not there yet.

        The last one gives the file its name.

        Raises:
            AgentError: It cannot be written, such as on a full file system.
        """
        try:
            self.blob.destination.parent.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(self.blob.partial, os.O_RDWR | os.O_CREAT, 0o644)
            try:
                _write_all(descriptor, memoryview(content), piece.offset)
            finally:
                os.close(descriptor)
        except OSError as error:
            raise _cannot_write(self.blob, error) from error
        with self._lock:
            new = piece.number not in self._right
            self._right.add(piece.number)
            whole = new and len(self._right) == len(self.pieces)
        if whole:
            self.finish()
        else:
            self._go_on_digesting()
        return new

    def finish(self) -> None:
        """Give the file its name once all pieces are here and its whole digest is right.

        Raises:
            AgentError: The digest is another one; the file is removed.
        """
        with self._digesting:
            with self.blob.partial.open("r+b") as stream:
                stream.truncate(self.blob.size)
                self._read_on(stream.fileno(), self.blob.size)
                os.fsync(stream.fileno())
            keep(self.blob, self._digest.hexdigest())
        self.finished = True

    def read(self, number: int) -> tuple[int, Piece] | None:
        """Return an open file and the piece in it, for a peer; None if it is not here."""
        piece = self.pieces.get(number)
        if piece is None or not self.has(number):
            return None
        for path in (self.blob.destination, self.blob.partial, self.blob.destination):
            with contextlib.suppress(FileNotFoundError):
                return os.open(path, os.O_RDONLY), piece
        return None

    def _go_on_digesting(self) -> None:
        """Digest what follows the first bytes, unless another thread does that just now."""
        if not self._digesting.acquire(blocking=False):
            return
        try:
            with self.blob.partial.open("rb") as stream:
                for number, piece in self.pieces.items():
                    end = piece.offset + piece.size
                    if end > self._digested:
                        if not self.has(number):
                            return
                        self._read_on(stream.fileno(), end)
        except FileNotFoundError:  # it is complete and has its name
            return
        finally:
            self._digesting.release()

    def _read_on(self, descriptor: int, end: int) -> None:
        while self._digested < end:
            block = os.pread(descriptor, min(BLOCK, end - self._digested), self._digested)
            if not block:
                return
            self._digest.update(block)
            self._digested += len(block)


def _write_all(descriptor: int, view: memoryview, offset: int) -> None:
    done = 0
    while done < len(view):
        done += os.pwrite(descriptor, view[done:], offset + done)


def _cannot_write(blob: Blob, error: OSError) -> AgentError:
    if error.errno in {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}:
        return AgentError(
            "BAS-6150",
            f"{blob.name} does not fit into {blob.destination.parent}: {error.strerror}",
            "free room there, or enlarge it; what has arrived is kept: apply again goes on",
        )
    return AgentError("BAS-6050", f"{blob.partial} cannot be written: {error.strerror}")
