"""A blob made of another blob in the store and a patch, as a source like any other.

Any byte of it can be asked for without making those before it, so an interrupted import goes on
where it stopped. At most one expanded operation is held in memory (``patch.SEGMENT``).
"""

from __future__ import annotations

import bisect
import contextlib
import errno
import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from typing import TYPE_CHECKING

from bastide.store.patch import (
    HEAD,
    WINDOW_LOG,
    Method,
    Operation,
    Patch,
    PatchError,
    parse_head,
    parse_table,
)
from bastide.store.source import SOURCE_FLAGS, Reader

if TYPE_CHECKING or sys.version_info < (3, 14):
    from backports import zstd
else:
    from compression import zstd


@dataclass(frozen=True)
class PatchedSource:
    """The bytes of a blob that a patch makes of a base.

    Args:
        base: The base's file.
        patch: The patch's file.
        size: The blob's size as the signed documents say.
    """

    base: Path
    patch: Path
    size: int

    @contextlib.contextmanager
    def open(self) -> Iterator[Reader]:
        """Open base and patch, and check the patch's table.

        Raises:
            OSError: One of them cannot be read, or the patch is damaged.
        """
        with contextlib.ExitStack() as files:
            base = _open(files, self.base)
            patch = _open(files, self.patch)
            try:
                table = read_patch(patch, base_size=os.fstat(base).st_size, size=self.size)
            except PatchError as error:
                raise OSError(errno.EBADMSG, str(error)) from error
            yield PatchedReader(base, patch, table)


def _open(files: contextlib.ExitStack, path: Path) -> int:
    descriptor = os.open(path, SOURCE_FLAGS)
    files.callback(os.close, descriptor)
    return descriptor


def read_patch(descriptor: int, *, base_size: int, size: int) -> Patch:
    """Return the checked table of an open patch file.

    Args:
        descriptor: The patch file.
        base_size: Size of the base in bytes.
        size: Size that the blob must have.

    Raises:
        PatchError: It is not a patch that makes ``size`` bytes of such a base.
        OSError: It cannot be read.
    """
    patch_size = os.fstat(descriptor).st_size
    head = os.pread(descriptor, HEAD.size, 0)
    length = parse_head(head, base_size=base_size, size=size, patch_size=patch_size)
    table = read_exactly(descriptor, length, patch_size - length, "patch")
    return parse_table(table, base_size=base_size, size=size, patch_size=patch_size)


def read_exactly(descriptor: int, length: int, offset: int, what: str) -> bytes:
    """Return ``length`` bytes of a file.

    Raises:
        OSError: It ends before that.
    """
    parts = []
    while length:
        part = os.pread(descriptor, length, offset)
        if not part:
            raise OSError(errno.EIO, f"the {what} ends at byte {offset}")
        parts.append(part)
        offset += len(part)
        length -= len(part)
    return b"".join(parts)


class PatchedReader:
    """Makes a blob's bytes from anywhere in it.

    Args:
        base: Descriptor of the base.
        patch: Descriptor of the patch file.
        table: Its checked table.
    """

    def __init__(self, base: int, patch: int, table: Patch) -> None:
        self._base = base
        self._patch = patch
        self._table = table
        self._starts = list(accumulate((o.length for o in table.operations), initial=0))
        self._stored = list(accumulate((o.stored for o in table.operations), initial=HEAD.size))
        self._made = -1  # the operation whose bytes are in `_content`
        self._content = b""

    def read_into(self, offset: int, view: memoryview) -> int:
        """Fill ``view``, or its beginning, with the blob's bytes from ``offset`` on.

        Raises:
            OSError: Base or patch cannot be read, or the patch is damaged.
        """
        if offset >= self._table.size:
            return 0
        number = bisect.bisect_right(self._starts, offset) - 1
        operation = self._table.operations[number]
        inside = offset - self._starts[number]
        length = min(operation.length - inside, len(view))
        if operation.method is Method.COPY:
            return self._copy(operation.base + inside, view[:length])
        if self._made != number:
            self._content = self._make(operation, self._stored[number])
            self._made = number
        view[:length] = self._content[inside : inside + length]
        return length

    def _copy(self, offset: int, view: memoryview) -> int:
        count = os.preadv(self._base, [view], offset)
        if count == 0:
            raise OSError(errno.EIO, f"the base ends at byte {offset}")
        return count

    def _make(self, operation: Operation, where: int) -> bytes:
        stored = read_exactly(self._patch, operation.stored, where, "patch")
        if operation.method is Method.RAW:
            return stored
        base = b""
        if operation.method in {Method.PREFIX, Method.XOR}:
            base = read_exactly(self._base, operation.base_length, operation.base, "base")
        prefix = base if operation.method is Method.PREFIX else b""
        content = expand(stored, operation.length, prefix)
        return xor(content, base) if operation.method is Method.XOR else content


def expand(stored: bytes, length: int, prefix: bytes) -> bytes:
    """Return the ``length`` bytes that one zstd frame holds; never makes more than one beyond.

    Args:
        stored: The frame.
        length: How long its content must be.
        prefix: What zstd is to take as having come before; may be empty.

    Raises:
        OSError: It is no such frame.
    """
    options = {int(zstd.DecompressionParameter.window_log_max): WINDOW_LOG}
    before = zstd.ZstdDict(prefix, is_raw=True).as_prefix if prefix else None
    try:
        decompressor = zstd.ZstdDecompressor(before, options)
        content = decompressor.decompress(stored, max_length=length + 1)
    except zstd.ZstdError as error:
        raise OSError(errno.EBADMSG, f"the patch is damaged: {error}") from error
    if len(content) != length or not decompressor.eof or decompressor.unused_data:
        raise OSError(
            errno.EBADMSG, "the patch is damaged: a piece has another length than it says"
        )
    return content


def xor(one: bytes, other: bytes) -> bytes:
    """Return two equally long pieces combined bit by bit; doing it twice gives the first again."""
    number = int.from_bytes(one, "little") ^ int.from_bytes(other, "little")
    return number.to_bytes(len(one), "little")
