"""Reads the header of a GGUF file, which is untrusted input, without loading the model.

Everything is bounded before it is read: counts, lengths and nesting. Tensor data is never touched;
their extents are compared with the file's size.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import BinaryIO

MAGIC = b"GGUF"
VERSIONS = (2, 3)
MAX_PAIRS = 10_000
MAX_TENSORS = 1_000_000
MAX_TEXT = 16 << 20
MAX_ITEMS = 16 << 20
MAX_DIMENSIONS = 4
DEFAULT_ALIGNMENT = 32

Scalar = int | float | bool | str

_STRING, _ARRAY = 8, 9
_NUMBERS = {
    0: "<B", 1: "<b", 2: "<H", 3: "<h", 4: "<I", 5: "<i", 6: "<f", 7: "<?",
    10: "<Q", 11: "<q", 12: "<d",
}  # fmt: skip

# ggml type → (elements a block, bytes a block)
_BLOCKS = {
    0: (1, 4), 1: (1, 2), 2: (32, 18), 3: (32, 20), 6: (32, 22), 7: (32, 24), 8: (32, 34),
    9: (32, 40), 10: (256, 84), 11: (256, 110), 12: (256, 144), 13: (256, 176), 14: (256, 210),
    15: (256, 292), 16: (256, 66), 17: (256, 74), 18: (256, 98), 19: (256, 50), 20: (32, 18),
    21: (256, 110), 22: (256, 82), 23: (256, 136), 24: (1, 1), 25: (1, 2), 26: (1, 4), 27: (1, 8),
    28: (1, 8), 29: (256, 56), 30: (1, 2), 34: (256, 54), 35: (256, 66), 39: (32, 17),
}  # fmt: skip


class HeaderError(ValueError):
    """The file is not a GGUF file that can be understood; says where it stops making sense."""


@dataclass(frozen=True)
class Tensor:
    """One tensor's place.

    Args:
        name: Its name.
        kind: ggml's number of its type.
        elements: How many numbers it holds.
        start: Where it begins, in bytes from the start of the file.
        end: Where it ends, in bytes from the start of the file.
    """

    name: str
    kind: int
    elements: int
    start: int
    end: int


@dataclass(frozen=True)
class Header:
    """What a GGUF file says of itself.

    Args:
        values: Metadata; of arrays only the length is kept, as ``<key>.length``.
        tensors: All tensors, in the file's order.
    """

    values: Mapping[str, Scalar]
    tensors: tuple[Tensor, ...]


def read_header(path: Path) -> Header:
    """Return the header of the GGUF file at ``path``.

    Raises:
        HeaderError: It is none, is damaged, or tensors overlap, have the same name, are not
            aligned or reach beyond the end of the file.
        OSError: It cannot be read.
    """
    size = path.stat().st_size
    with path.open("rb") as stream:
        header = _Reader(stream, size).header()
    beyond = [tensor for tensor in header.tensors if tensor.end > size]
    if beyond:
        worst = max(beyond, key=lambda tensor: tensor.end)
        raise HeaderError(
            f"{len(beyond)} tensors reach beyond the end of the file: {worst.name!r} ends at "
            f"byte {worst.end} of {size}"
        )
    _require_apart(header.tensors)
    return header


def _require_apart(tensors: tuple[Tensor, ...]) -> None:
    """Refuse tensors that share a name or bytes: an engine would read one as the other."""
    names: set[str] = set()
    for tensor in tensors:
        if tensor.name in names:
            raise HeaderError(f"tensor {tensor.name!r} is listed twice")
        names.add(tensor.name)
    placed = sorted(tensors, key=lambda tensor: tensor.start)
    for before, after in pairwise(placed):
        if after.start < before.end:
            raise HeaderError(
                f"tensor {after.name!r} at byte {after.start} overlaps {before.name!r}, which "
                f"ends at {before.end}"
            )


@dataclass
class _Reader:
    stream: BinaryIO
    size: int
    position: int = 0

    def header(self) -> Header:
        if self._bytes(4) != MAGIC:
            raise HeaderError("it does not begin with 'GGUF'")
        version = self._number(4)
        if version not in VERSIONS:
            raise HeaderError(f"its format is version {version}, not one of {VERSIONS}")
        tensors, pairs = self._count(MAX_TENSORS), self._count(MAX_PAIRS)
        values: dict[str, Scalar] = {}
        for _ in range(pairs):
            key = self._text()
            if key in values:
                raise HeaderError(f"key {key!r} is given twice")
            self._value(values, key)
        infos = [self._tensor() for _ in range(tensors)]
        alignment = values.get("general.alignment", DEFAULT_ALIGNMENT)
        if not isinstance(alignment, int) or not 8 <= alignment <= 1 << 16:
            raise HeaderError(f"general.alignment is {alignment!r}")
        start = math.ceil(self.position / alignment) * alignment
        for name, _, _, offset, _ in infos:
            if offset % alignment:
                raise HeaderError(f"tensor {name!r} is not aligned to {alignment} bytes")
        placed = (Tensor(n, k, e, start + o, start + o + b) for n, k, e, o, b in infos)
        return Header(values, tuple(placed))

    def _bytes(self, count: int) -> bytes:
        content = self.stream.read(count) if self.position + count <= self.size else b""
        if len(content) != count:
            raise HeaderError(f"the file ends inside its header, at byte {self.position}")
        self.position += count
        return content

    def _number(self, kind: int) -> int:
        code = _NUMBERS[kind]
        return int(struct.unpack(code, self._bytes(struct.calcsize(code)))[0])

    def _count(self, most: int) -> int:
        count = self._number(10)
        if count > most:
            raise HeaderError(f"a count of {count} at byte {self.position - 8} is not credible")
        return count

    def _text(self) -> str:
        return self._bytes(self._count(MAX_TEXT)).decode(errors="replace")

    def _value(self, values: dict[str, Scalar], key: str) -> None:
        kind = self._number(4)
        if kind == _ARRAY:
            values[f"{key}.length"] = self._skip_array()
        elif kind == _STRING:
            values[key] = self._text()
        elif kind in _NUMBERS:
            code = _NUMBERS[kind]
            values[key] = struct.unpack(code, self._bytes(struct.calcsize(code)))[0]
        else:
            raise HeaderError(f"key {key!r} has a value of unknown type {kind}")

    def _skip_array(self) -> int:
        kind, count = self._number(4), self._count(MAX_ITEMS)
        if kind == _STRING:
            self._skip_strings(count)
        elif kind in _NUMBERS:
            self._skip(count * struct.calcsize(_NUMBERS[kind]))
        else:
            raise HeaderError(f"an array holds values of unknown type {kind}")
        return count

    def _skip_strings(self, count: int) -> None:
        """Pass over strings, which vocabularies have by the hundred thousand."""
        position, read = self.position, self.stream.read
        for _ in range(count):
            length = int.from_bytes(read(8), "little")
            position += 8 + length
            if position > self.size or length > MAX_TEXT:
                raise HeaderError(f"the file ends inside its header, at byte {position - length}")
            read(length)
        self.position = position

    def _skip(self, count: int) -> None:
        if self.position + count > self.size:
            raise HeaderError(f"the file ends inside its header, at byte {self.position}")
        self.position += count
        self.stream.seek(self.position)

    def _tensor(self) -> tuple[str, int, int, int, int]:
        name, dimensions = self._text(), self._number(4)
        if dimensions > MAX_DIMENSIONS:
            raise HeaderError(f"tensor {name!r} has {dimensions} dimensions")
        elements = math.prod(self._number(10) for _ in range(dimensions))
        kind, offset = self._number(4), self._number(10)
        if kind not in _BLOCKS:
            raise HeaderError(f"tensor {name!r} is of unknown type {kind}")
        per_block, block_bytes = _BLOCKS[kind]
        if elements % per_block:
            raise HeaderError(f"tensor {name!r} has {elements} elements, no whole blocks")
        return name, kind, elements, offset, elements // per_block * block_bytes
