"""The blobs of a bundle as they come together in the store, piece by piece, in any order.

No journal says which pieces are there: what an earlier run left in ``incoming`` is read back and
compared with the pieces' digests (``docs/adr/0005-import-resume.md`` says why).
"""

from __future__ import annotations

import contextlib
import errno
import os
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

from bastide.layout import blob_path
from bastide.store.local import Store
from bastide.store.opening import Blob, OpenBundle
from bastide.store.payload import Extent, ExtentReader
from bastide.store.pieces import Piece, Stream
from bastide.store.reading import Checker, GivenUpError, Part


class Gathering:
    """Which pieces the store has, and how the others get into it.

    Args:
        store: Locked by the caller.
        bundle: What is wanted.
        stream: Of its blobs.
        present: Digests of the blobs that the store has whole.
    """

    def __init__(
        self, store: Store, bundle: OpenBundle, stream: Stream, present: frozenset[str]
    ) -> None:
        self._store = store
        self._bundle = bundle
        self._lock = threading.Lock()
        self._sizes = {blob.sha256: blob.size for blob in bundle.blobs}
        self._lacking = {piece.start: piece for piece in stream.pieces}
        self._left: Counter[str] = Counter(piece.blob for piece in stream.pieces)
        self._starts = {piece.blob: piece.start for piece in reversed(stream.pieces)}
        self.stream = stream
        self.present = present
        self._forget(lambda piece: piece.blob in self.present)

    @property
    def missing_blobs(self) -> list[Blob]:
        """The blobs that were not in the store at the start."""
        return [blob for blob in self._bundle.blobs if blob.sha256 not in self.present]

    @property
    def lacking(self) -> tuple[Piece, ...]:
        """The pieces that are still needed, in the order of the stream."""
        return tuple(self._lacking[start] for start in sorted(self._lacking))

    def lacks(self, piece: Piece) -> bool:
        """Return whether ``piece`` is still needed."""
        return piece.start in self._lacking

    def prepare(self, keep: Callable[[str], bool]) -> None:
        """Make folders, drop partial files that nobody wants, and make the empty blobs.

        Args:
            keep: Returns whether a file in ``incoming`` is wanted by another part of the import.
        """
        wanted = {blob.sha256: blob for blob in self.missing_blobs}
        self._store.incoming.mkdir(parents=True, exist_ok=True)
        for partial in self._store.incoming.iterdir():
            if partial.name not in wanted and not keep(partial.name):
                partial.unlink()
        for blob in wanted.values():
            self._store.blob(blob.sha256).parent.mkdir(parents=True, exist_ok=True)
            if blob.size == 0:
                self._settle(blob.sha256)

    def left_over(self) -> int:
        """Return how many bytes of partial files an earlier run left."""
        paths = (self._store.incoming / blob.sha256 for blob in self.missing_blobs)
        return sum(path.lstat().st_size for path in paths if path.exists())

    def resume(self, on_read: Callable[[int], None]) -> int:
        """Find out which pieces an earlier run left; return their bytes."""
        before = sum(piece.size for piece in self._lacking.values())
        checker: Checker[Piece] = Checker(self._found, on_read)
        with checker:
            for blob in self.missing_blobs:
                path = self._store.incoming / blob.sha256
                left = path.lstat().st_size if path.exists() else 0
                if left:
                    with contextlib.suppress(GivenUpError), _reader(path, left) as reader:
                        checker.run(self._resumable(blob, path, left), reader)
        return before - sum(piece.size for piece in self._lacking.values())

    def keep(self, piece: Piece, content: memoryview) -> None:
        """Write a piece whose digest is right; with the last one its blob is durable and whole."""
        with self._lock:
            if piece.start not in self._lacking:
                return
        flags = os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
        descriptor = os.open(self._store.incoming / piece.blob, flags, 0o600)
        try:
            done = 0
            while done < piece.size:
                done += os.pwrite(descriptor, content[done:], piece.offset + done)
            with contextlib.suppress(OSError):  # advice: starts writing to disk, does not wait
                os.posix_fadvise(descriptor, piece.offset, piece.size, os.POSIX_FADV_DONTNEED)
        finally:
            os.close(descriptor)
        self._found(piece, content)

    def extents(self) -> list[Extent]:
        """Return the files that hold the stream now, whole or in part."""
        found, start = [], 0
        for blob in self._bundle.blobs:
            with self._lock:
                whole = blob.sha256 in self.present or not self._left[blob.sha256]
            folder = self._store.root / blob_path(blob.sha256).parent
            path = (folder if whole else self._store.incoming) / blob.sha256
            found.append(Extent(start, blob.size, path))
            start += blob.size
        return found

    def _found(self, piece: Piece, _: memoryview) -> None:
        with self._lock:
            if self._lacking.pop(piece.start, None) is None:
                return
            self._left[piece.blob] -= 1
            last = self._left[piece.blob] == 0
        if last:
            self._settle(piece.blob)

    def _settle(self, sha256: str) -> None:
        partial = self._store.incoming / sha256
        flags = os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
        descriptor = os.open(partial, flags, 0o600)
        try:
            os.ftruncate(descriptor, self._sizes[sha256])
            os.fchmod(descriptor, 0o444)
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        partial.replace(self._store.blob(sha256))

    def _resumable(self, blob: Blob, path: Path, left: int) -> Iterator[Part[Piece]]:
        """Return the pieces of which the partial file has bytes, but for those in its holes."""
        start = self._starts[blob.sha256]
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            for piece in self.stream.within(start, start + blob.size):
                end = piece.offset + piece.size
                if end <= left and _next_data(descriptor, piece.offset) < end:
                    yield Part(piece, piece.offset, piece.size, piece.sha256)
        finally:
            os.close(descriptor)

    def _forget(self, is_there: Callable[[Piece], bool]) -> None:
        for piece in [each for each in self._lacking.values() if is_there(each)]:
            del self._lacking[piece.start]
            self._left[piece.blob] -= 1


def _reader(path: Path, size: int) -> ExtentReader:
    return ExtentReader([Extent(0, size, path)])


def _next_data(descriptor: int, offset: int) -> int:
    """Return where from ``offset`` on the file has bytes that were written."""
    try:
        return os.lseek(descriptor, offset, os.SEEK_DATA)
    except OSError as error:
        return sys.maxsize if error.errno == errno.ENXIO else offset
