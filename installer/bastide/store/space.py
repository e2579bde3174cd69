"""Whether the store's file system has room, in exact bytes."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from bastide.errors import BundleError
from bastide.store.local import Store

NO_SPACE = "BAS-3105"


@dataclass(frozen=True)
class FreeSpace:
    """What a file system still takes from this user.

    Args:
        free: Bytes.
        block: Bytes that a file's size is rounded up to.
    """

    free: int
    block: int


def free_space(folder: Path) -> FreeSpace:
    """Return the room on the file system of ``folder``."""
    found = os.statvfs(folder)
    return FreeSpace(found.f_bavail * found.f_frsize, max(found.f_frsize, 1))


def needed(store: Store, blobs: Iterable[tuple[str, int]], others: Iterable[int]) -> int:
    """Return the bytes that still have to be allocated on the store's file system.

    Args:
        store: Its half-copied blobs count as allocated.
        blobs: Digest and size of every blob to copy.
        others: Sizes of further small files.
    """
    block = free_space(store.root).block
    total = sum(_rounded(size, block) for size in others)
    for sha256, size in blobs:
        total += max(_rounded(size, block) - _allocated(store.incoming / sha256), 0)
    return total


def require_space(store: Store, blobs: list[tuple[str, int]], others: Iterable[int]) -> None:
    """Refuse an import that would fill the file system.

    Raises:
        BundleError: Less is free than the import needs; says both figures and the difference.
    """
    need, free = needed(store, blobs, others), free_space(store.root).free
    if need > free:
        raise BundleError(
            f"too little space for the store {store.root}: this import needs {need} bytes more, "
            f"{free} are free, {need - free} are missing; nothing was copied",
            code=NO_SPACE,
            hint="free that much, or keep the store elsewhere: BASTIDE_HOME=/larger/disk",
        )


def no_space(store: Store, error: OSError) -> BundleError | None:
    """Return the error for a disk that filled up on the way; None if ``error`` is another."""
    if error.errno not in {errno.ENOSPC, errno.EDQUOT}:
        return None
    return BundleError(
        f"the file system of the store {store.root} filled up while the bundle was copied "
        f"({error.strerror}; {free_space(store.root).free} bytes are free): another program or a "
        "quota took the space",
        code=NO_SPACE,
        hint="free space and run the same command; it goes on where this one stopped",
    )


def _rounded(size: int, block: int) -> int:
    return -(-size // block) * block


def _allocated(partial: Path) -> int:
    try:
        return partial.stat().st_blocks * 512
    except OSError:
        return 0
