"""One file on its way: what to do with it, how far it is, and how it ends on the disk."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass, field
from pathlib import Path

from bastide.store.source import ByteSource


@dataclass(frozen=True)
class Keep:
    """Where a blob is written: first ``partial``, then renamed to ``final``."""

    partial: Path
    final: Path


@dataclass(frozen=True)
class Job:
    """One file to hash, and to copy if ``keep`` says where to."""

    sha256: str
    size: int
    source: ByteSource
    keep: Keep | None = None


@dataclass
class Transfer:
    """A job under way. Each stage touches its own fields; ``stages`` is guarded by a lock.

    Args:
        job: What to do.
        output: Descriptor of the partial file, if there is one.
        resumed: Bytes that the partial file held at the start.
        source_problem: What is wrong with the bytes, in words.
        store_error: What went wrong on the store's side.
        partial_unreadable: The bytes that an earlier import left cannot be read back.
        digest: Of all bytes; set at the end.
        stages: How many threads still work on it.
        synced: Up to where writing to disk was started.
        hash: Of the bytes so far.
    """

    job: Job
    output: int | None = None
    resumed: int = 0
    source_problem: str = ""
    store_error: OSError | None = None
    partial_unreadable: bool = False
    digest: str = ""
    stages: int = 1
    synced: int = 0
    hash: hashlib._Hash = field(default_factory=hashlib.sha256)

    @property
    def stopped(self) -> bool:
        """Whether there is no point in going on."""
        return bool(self.source_problem) or self.store_error is not None

    @property
    def must_restart(self) -> bool:
        """Whether what an earlier import left is to blame, so that a full copy may succeed."""
        wrong = not self.stopped and self.digest != self.job.sha256
        return self.resumed > 0 and (self.partial_unreadable or wrong)

    @property
    def matches(self) -> bool:
        """Whether all bytes were read and are the right ones."""
        return not self.stopped and self.digest == self.job.sha256


def open_partial(transfer: Transfer, keep: Keep) -> None:
    """Open the partial file for going on where an earlier import stopped."""
    flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
    transfer.output = os.open(keep.partial, flags, 0o600)
    transfer.resumed = os.fstat(transfer.output).st_size
    if transfer.resumed > transfer.job.size:
        os.ftruncate(transfer.output, 0)
        transfer.resumed = 0
    transfer.synced = transfer.resumed


def settle(transfer: Transfer) -> None:
    """Make a right file durable and then visible; drop a wrong one; leave an unfinished one."""
    transfer.digest = transfer.hash.hexdigest()
    output, keep = transfer.output, transfer.job.keep
    if output is None or keep is None:
        return
    try:
        if transfer.matches:
            os.fchmod(output, 0o444)
            os.fsync(output)
            keep.partial.replace(keep.final)
        elif transfer.must_restart or not transfer.stopped:
            keep.partial.unlink()
    finally:
        os.close(output)
