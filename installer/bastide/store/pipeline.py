"""Reads in the calling thread, hashes in a second, writes in a third: three resources at once.

Reading, hashing and writing release the interpreter's lock, so they overlap on two cores. A fixed
ring of buffers bounds memory whatever the size of a blob, and each byte is read once: what is
hashed and what is written is the same buffer.
"""

from __future__ import annotations

import contextlib
import mmap
import os
import queue
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

from bastide.store.source import DescriptorReader, Reader
from bastide.store.transfer import Job, Transfer, open_partial, settle

BLOCK = 2**20  # bytes; small enough that a block is still in the cache when it is written
BLOCKS = 32  # slack for the stages: on a busy machine each waits its turn for a processor
WRITE = 128 * 2**10  # bytes in one write; on ext4 (Linux 6.18) 1 MiB was slower and less even
WRITEBACK = 8 * 2**20  # bytes after which the kernel is told to start writing to disk
SETTLERS = 4  # threads that sync finished files; a journal commit serves several at once
UNSETTLED = 64  # finished files that may wait for a sync at once; bounds open descriptors


@dataclass
class Block:
    """One buffer of the ring, with how many stages still use it."""

    view: memoryview
    length: int = 0
    offset: int = 0
    users: int = 0


class Ring:
    """Buffers that go round: taken by the reader, given back by the last stage."""

    def __init__(self) -> None:
        self._free: queue.SimpleQueue[Block] = queue.SimpleQueue()
        self._lock = threading.Lock()
        for _ in range(BLOCKS):
            # Mapped, and so page-aligned: the kernel copies into and out of the odd addresses of a
            # bytearray at half the speed.
            self._free.put(Block(memoryview(mmap.mmap(-1, BLOCK))))

    def take(self) -> Block:
        """Return a free buffer, waiting for one."""
        return self._free.get()

    def release(self, block: Block) -> None:
        """Give up one stage's use of ``block``."""
        with self._lock:
            block.users -= 1
            free = block.users <= 0
        if free:
            self._free.put(block)


Work = Callable[[Transfer, Block], None]


class Stage:
    """A thread that applies ``work`` to blocks in order, and says when a transfer is through."""

    def __init__(
        self, name: str, ring: Ring, work: Work, through: Callable[[Transfer], None]
    ) -> None:
        self._queue: queue.SimpleQueue[tuple[Transfer, Block | None] | None] = queue.SimpleQueue()
        self._ring = ring
        self._work = work
        self._through = through
        self._thread = threading.Thread(target=self._run, name=f"bastide-{name}", daemon=True)
        self._thread.start()

    def put(self, transfer: Transfer, block: Block | None) -> None:
        """Queue a block; None means that the transfer has no more."""
        self._queue.put((transfer, block))

    def close(self) -> None:
        """Finish what is queued and end the thread."""
        self._queue.put(None)
        self._thread.join()

    def _run(self) -> None:
        while (item := self._queue.get()) is not None:
            transfer, block = item
            if block is None:
                self._through(transfer)
                continue
            try:
                if transfer.store_error is None:
                    self._work(transfer, block)
            except OSError as error:
                transfer.store_error = error
            finally:
                self._ring.release(block)


def _hash(transfer: Transfer, block: Block) -> None:
    transfer.hash.update(block.view[: block.length])


def _write(transfer: Transfer, block: Block) -> None:
    if transfer.output is None:
        return
    done = 0
    while done < block.length:
        piece = block.view[done : min(done + WRITE, block.length)]
        done += os.pwrite(transfer.output, piece, block.offset + done)
    end = block.offset + block.length
    if end - transfer.synced >= WRITEBACK:
        # On dirty pages this advice starts writing them out, without waiting: the disk works
        # while the next blocks are read, and the sync at the end finds little left to do.
        with contextlib.suppress(OSError):  # advice only
            os.posix_fadvise(
                transfer.output, transfer.synced, end - transfer.synced, os.POSIX_FADV_DONTNEED
            )
        transfer.synced = end


class Pipeline:
    """Runs jobs one after the other through reading, hashing and writing.

    Use as a context manager; ``results`` is complete after it.

    Args:
        on_read: Called with the number of bytes of every block that was read.
    """

    def __init__(self, on_read: Callable[[int], None]) -> None:
        self._on_read = on_read
        self._ring = Ring()
        self._lock = threading.Lock()
        self._slots = threading.BoundedSemaphore(UNSETTLED)
        self._settlers = ThreadPoolExecutor(SETTLERS, thread_name_prefix="bastide-sync")
        self._futures: list[Future[None]] = []
        self._hasher = Stage("hash", self._ring, _hash, self._through)
        self._writer = Stage("write", self._ring, _write, self._through)
        self.results: list[Transfer] = []

    def __enter__(self) -> Pipeline:
        return self

    def __exit__(self, *_: object) -> None:
        self._hasher.close()
        self._writer.close()
        self._settlers.shutdown(wait=True)
        for future in self._futures:
            future.result()

    @property
    def store_failed(self) -> bool:
        """Whether the store's side broke, so that further jobs are pointless."""
        return any(transfer.store_error for transfer in self.results)

    def run(self, job: Job) -> None:
        """Read one job's bytes and hand them on; returns when all are read, not yet written."""
        self._slots.acquire()
        transfer = Transfer(job, stages=2 if job.keep else 1)
        self.results.append(transfer)
        try:
            if job.keep:
                open_partial(transfer, job.keep)
            self._read(transfer)
        except OSError as error:
            transfer.store_error = error
        finally:
            self._hasher.put(transfer, None)
            if job.keep:
                self._writer.put(transfer, None)

    def _read(self, transfer: Transfer) -> None:
        job = transfer.job
        if transfer.resumed and transfer.output is not None:
            self._pump(transfer, DescriptorReader(transfer.output), 0, transfer.resumed)
            transfer.partial_unreadable = bool(transfer.source_problem)
        if transfer.resumed == job.size:
            return
        with contextlib.ExitStack() as stack:
            try:
                reader = stack.enter_context(job.source.open())
            except OSError as error:
                transfer.source_problem = f"cannot be opened: {error.strerror or error}"
                return
            write = job.keep is not None
            self._pump(transfer, reader, transfer.resumed, job.size, write=write)

    def _pump(
        self, transfer: Transfer, reader: Reader, start: int, end: int, *, write: bool = False
    ) -> None:
        offset = start
        while offset < end and not transfer.stopped:
            block = self._ring.take()
            want = min(BLOCK, end - offset)
            try:
                block.length = reader.read_into(offset, block.view[:want])
            except OSError as error:
                block.length = 0
                why = error.strerror or error
                transfer.source_problem = (
                    f"cannot be read between bytes {offset} and {offset + want}: {why}"
                )
            if block.length == 0:
                block.users = 0
                self._ring.release(block)
                ended = f"ends after {offset} bytes, expected {end}"
                transfer.source_problem = transfer.source_problem or ended
                return
            block.offset, block.users = offset, 2 if write else 1
            offset += block.length
            length = block.length  # the block is another's once it is handed on
            self._hasher.put(transfer, block)
            if write:
                self._writer.put(transfer, block)
            self._on_read(length)

    def _through(self, transfer: Transfer) -> None:
        with self._lock:
            transfer.stages -= 1
            done = transfer.stages == 0
        if done:
            self._futures.append(self._settlers.submit(self._settle, transfer))

    def _settle(self, transfer: Transfer) -> None:
        try:
            settle(transfer)
        except OSError as error:
            transfer.store_error = error
        finally:
            self._slots.release()
