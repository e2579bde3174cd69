"""HTTP byte ranges (RFC 9110, section 14): one range is honoured, anything odd is ignored. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass

_SINGLE = re.compile(r"bytes=(?P<first>[0-9]{0,19})-(?P<last>[0-9]{0,19})", re.ASCII)


class UnsatisfiableRangeError(ValueError):
    """The range is well formed, but no byte of the file is in it: answer 416."""


@dataclass(frozen=True)
class ByteRange:
    """Part of a file: bytes ``first`` up to but not including ``end``."""

    first: int
    end: int

    @property
    def length(self) -> int:
        """How many bytes that is."""
        return self.end - self.first


def parse_range(header: str | None, size: int) -> ByteRange | None:
    """Return the range that a ``Range`` header asks for, or None to send the whole file.

    Args:
        header: The header's value; None if there is none.
        size: The file's size in bytes.

    Raises:
        UnsatisfiableRangeError: The range starts at or after the end of the file.
    """
    found = _SINGLE.fullmatch((header or "").strip())
    if found is None or not (found["first"] or found["last"]):
        return None
    if not found["first"]:  # the last N bytes
        length = min(int(found["last"]), size)
        if length == 0:
            raise UnsatisfiableRangeError(header)
        return ByteRange(size - length, size)
    first = int(found["first"])
    last = int(found["last"]) if found["last"] else size - 1
    if found["last"] and last < first:
        return None  # malformed by the RFC: ignored
    if first >= size:
        raise UnsatisfiableRangeError(header)
    return ByteRange(first, min(last + 1, size))
