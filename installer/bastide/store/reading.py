"""Reads pieces and checks each one's digest, on all processors.

The calling thread reads in the order of the medium; others hash, and hand on what is right. A
fixed number of buffers bounds memory.
"""

from __future__ import annotations

import errno
import hashlib
import mmap
import os
import queue
from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Generic, TypeVar

from bastide.schema.chunks import CHUNK
from bastide.store.payload import ExtentReader

BUFFERS = 4  # for each hashing thread
GONE = {errno.ENOENT, errno.ENODEV, errno.ENXIO, errno.ESTALE, errno.ENOTCONN, errno.ENOMEDIUM}
PATIENCE = 8  # failed reads in a row after which a medium is given up: each may take seconds

T = TypeVar("T")


@dataclass(frozen=True)
class Part(Generic[T]):
    """A range to read.

    Args:
        what: What it is, for the caller.
        start: Where it begins in the bytes that are read.
        size: At most one chunk.
        sha256: What its digest must be.
    """

    what: T
    start: int
    size: int
    sha256: str

    @property
    def range(self) -> tuple[int, int]:
        """First byte, and byte after the last."""
        return self.start, self.start + self.size


@dataclass(frozen=True)
class Bad(Generic[T]):
    """A part that could not be read, or has another digest."""

    part: Part[T]
    why: str
    unreadable: bool = False


class GivenUpError(Exception):
    """A medium disappeared, or fails all the time.

    Args:
        error: What the last read said.
    """

    def __init__(self, error: OSError) -> None:
        super().__init__(str(error))
        self.error = error


Sink = Callable[[T, memoryview], None]


class Checker(Generic[T]):
    """Checks parts; use as a context manager, ``bad`` is complete after it.

    Args:
        sink: Called in another thread with every part whose digest is right, and its bytes.
        on_read: Called with the number of bytes of every part that is done with.
    """

    def __init__(self, sink: Sink[T] | None, on_read: Callable[[int], None]) -> None:
        self._sink = sink
        self._on_read = on_read
        threads = os.cpu_count() or 1
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="bastide-check")
        self._free: queue.SimpleQueue[memoryview] = queue.SimpleQueue()
        self._futures: list[Future[None]] = []
        self.bad: list[Bad[T]] = []
        for _ in range(threads * BUFFERS):
            self._free.put(memoryview(mmap.mmap(-1, CHUNK)))  # page-aligned

    def __enter__(self) -> Checker[T]:
        return self

    def __exit__(self, *_: object) -> None:
        self._pool.shutdown(wait=True)
        for future in self._futures:
            future.result()

    def run(self, parts: Iterable[Part[T]], reader: ExtentReader) -> None:
        """Read and check ``parts``, in their order.

        Raises:
            GivenUpError: The medium is gone; parts before that are handled.
            OSError: What ``sink`` raised.
        """
        failures = 0
        for part in parts:
            view = self._free.get()
            try:
                reader.read_into(part.start, view[: part.size])
            except OSError as error:
                self._free.put(view)
                self.bad.append(
                    Bad(part, f"cannot be read: {error.strerror or error}", unreadable=True)
                )
                failures += 1
                if error.errno in GONE or failures >= PATIENCE:
                    raise GivenUpError(error) from error
                continue
            failures = 0
            self._reap()
            self._futures.append(self._pool.submit(self._check, part, view))

    def _reap(self) -> None:
        """Forget what is done; raise what it raised."""
        for future in [each for each in self._futures if each.done()]:
            self._futures.remove(future)
            future.result()

    def _check(self, part: Part[T], view: memoryview) -> None:
        try:
            content = view[: part.size]
            if hashlib.sha256(content).hexdigest() != part.sha256:
                self.bad.append(Bad(part, "its digest is another"))
            elif self._sink:
                self._sink(part.what, content)
            self._on_read(part.size)
        finally:
            self._free.put(view)
