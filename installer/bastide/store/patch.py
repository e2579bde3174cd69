"""The patch format: how a blob is made of pieces of another one, and of what the patch brings.

A patch is untrusted input. Everything that it says is bounded and checked before a byte of it is
used: the pieces add up to the size that the *signed* documents give the blob, no copy reaches
beyond the base, and no piece expands to more than ``SEGMENT`` bytes. What it yields is believed
only once its digest is the signed one, so a wrong patch can waste time and nothing else.

Layout: ``HEAD`` (magic, size of the base, size of the blob, length of the table), what the
operations bring, in order, then the table of operations as LEB128 numbers up to the file's end.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable
from dataclasses import dataclass
from enum import IntEnum

MAGIC = b"BASTPAT1"
HEAD = struct.Struct("<8sQQI")
SEGMENT = 4 * 2**20  # bytes that one operation other than a copy yields, at most
WINDOW_LOG = 23  # zstd looks back over a prefix and its own output: twice a SEGMENT
OPERATIONS = 2**17  # at most; bounds the memory of a table to tens of megabytes
TABLE_LIMIT = 24 * OPERATIONS  # bytes
LEAST_PREFIX = 8  # bytes; zstd takes no shorter one
PREFIX_FACTOR, PREFIX_FREE = 64, 2**26  # bounds what prefixes make a reader read, and so its time
NUMBER_BYTES = 9  # of a LEB128 number: 63 bits


class PatchError(ValueError):
    """The patch is damaged, or was made to do harm; says where it stops making sense."""


class Method(IntEnum):
    """How an operation yields its bytes."""

    COPY = 0  # the base's own
    RAW = 1  # the patch's own
    ZSTD = 2  # expanded
    PREFIX = 3  # expanded with a piece of the base as what came before
    XOR = 4  # expanded, then combined with a piece of the base


USES_BASE = {Method.COPY, Method.PREFIX, Method.XOR}
STORED = {Method.ZSTD, Method.PREFIX, Method.XOR}  # their stored length differs from the yield


@dataclass(frozen=True, slots=True)
class Operation:
    """One step of making the blob.

    Args:
        method: How.
        length: Bytes that it yields.
        stored: Bytes that the patch holds for it.
        base: Where its piece of the base begins.
        base_length: How long that piece is.
    """

    method: Method
    length: int
    stored: int = 0
    base: int = 0
    base_length: int = 0


@dataclass(frozen=True)
class Patch:
    """A checked table of operations.

    Args:
        base_size: Size of the base, in bytes.
        size: Size of the blob.
        operations: In the order of the blob's bytes.
    """

    base_size: int
    size: int
    operations: tuple[Operation, ...]


def encode_table(operations: Iterable[Operation]) -> bytes:
    """Return the table that ends a patch file."""
    table = bytearray()
    expected = 0
    for operation in operations:
        table.append(operation.method)
        _put(table, operation.length)
        if operation.method in STORED:
            _put(table, operation.stored)
        if operation.method in USES_BASE:
            jump = operation.base - expected
            _put(table, jump << 1 if jump >= 0 else (-jump << 1) - 1)
            expected = operation.base + operation.base_length
        if operation.method is Method.PREFIX:
            _put(table, operation.base_length)
    return bytes(table)


def parse_head(content: bytes, *, base_size: int, size: int, patch_size: int) -> int:
    """Return the length of the table; ``content`` begins with the patch file's head.

    Args:
        content: The first bytes of the file.
        base_size: What the base has.
        size: What the blob must have, as the signed documents say.
        patch_size: Size of the whole file.

    Raises:
        PatchError: It is no patch from this base to this blob.
    """
    if len(content) < HEAD.size:
        raise PatchError("the patch ends inside its head")
    magic, from_size, to_size, table = HEAD.unpack_from(content)
    if magic != MAGIC:
        raise PatchError(f"the patch does not begin with {MAGIC.decode()}")
    if from_size != base_size:
        raise PatchError(f"the patch is for a base of {from_size} bytes, this one has {base_size}")
    if to_size != size:
        raise PatchError(f"the patch makes {to_size} bytes, the blob has {size}")
    if table > TABLE_LIMIT or HEAD.size + table > patch_size:
        raise PatchError(f"the patch's table of {table} bytes is not credible")
    return int(table)


def parse_table(table: bytes, *, base_size: int, size: int, patch_size: int) -> Patch:
    """Return the checked patch whose table this is.

    Args:
        table: As long as `parse_head` said.
        base_size: What the base has.
        size: What the blob must have.
        patch_size: Size of the whole patch file.

    Raises:
        PatchError: The table contradicts itself, the base, the blob or the file.
    """
    cursor = _Cursor(table)
    operations: list[Operation] = []
    expected = made = stored = prefixes = 0
    while cursor.position < len(table):
        if len(operations) == OPERATIONS:
            raise PatchError(f"the patch has more than {OPERATIONS} operations")
        operation = _operation(cursor, expected)
        _check(operation, base_size)
        operations.append(operation)
        made += operation.length
        stored += operation.stored
        prefixes += operation.base_length if operation.method is Method.PREFIX else 0
        if made > size:
            raise PatchError(f"the patch makes more than the blob's {size} bytes")
        if prefixes > prefix_limit(size):
            raise PatchError("the patch reads the base far too often")
        if operation.method in USES_BASE:
            expected = operation.base + operation.base_length
    if made != size:
        raise PatchError(f"the patch makes {made} bytes, the blob has {size}")
    if HEAD.size + stored + len(table) != patch_size:
        raise PatchError(f"the patch holds {stored} bytes by its table, but the file has others")
    return Patch(base_size, size, tuple(operations))


def prefix_limit(size: int) -> int:
    """Return how many bytes all prefixes of a patch may have, for a blob of ``size`` bytes."""
    return PREFIX_FACTOR * size + PREFIX_FREE


def _operation(cursor: _Cursor, expected: int) -> Operation:
    code = cursor.byte()
    if code >= len(Method):
        raise PatchError(f"operation {code} is not known")
    method = Method(code)
    length = cursor.number()
    stored = cursor.number() if method in STORED else length if method is Method.RAW else 0
    base = base_length = 0
    if method in USES_BASE:
        jump = cursor.number()
        base = expected + (-((jump + 1) >> 1) if jump & 1 else jump >> 1)
        base_length = cursor.number() if method is Method.PREFIX else length
    return Operation(method, length, stored, base, base_length)


def _check(operation: Operation, base_size: int) -> None:
    if operation.length == 0:
        raise PatchError("an operation makes nothing")
    if operation.method is not Method.COPY and operation.length > SEGMENT:
        raise PatchError(f"an operation makes {operation.length} bytes, at most {SEGMENT} may be")
    if operation.stored > operation.length:
        raise PatchError("an operation stores more than it makes")
    if operation.method is Method.PREFIX and not LEAST_PREFIX <= operation.base_length <= SEGMENT:
        raise PatchError(f"a prefix of {operation.base_length} bytes is too short or too long")
    if operation.base < 0 or operation.base + operation.base_length > base_size:
        raise PatchError(
            f"the patch wants bytes {operation.base} to "
            f"{operation.base + operation.base_length} of a base of {base_size}"
        )


def _put(table: bytearray, number: int) -> None:
    while number > 0x7F:
        table.append(number & 0x7F | 0x80)
        number >>= 7
    table.append(number)


@dataclass
class _Cursor:
    table: bytes
    position: int = 0

    def byte(self) -> int:
        if self.position >= len(self.table):
            raise PatchError("the patch's table ends inside an operation")
        self.position += 1
        return self.table[self.position - 1]

    def number(self) -> int:
        value = 0
        for place in range(NUMBER_BYTES):
            byte = self.byte()
            value |= (byte & 0x7F) << (7 * place)
            if byte < 0x80:
                return value
        raise PatchError("a number in the patch's table is too long")
