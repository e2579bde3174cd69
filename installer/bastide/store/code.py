"""Reed-Solomon over the volumes of a set: parity from data, data from what is left.

The code is systematic and works byte by byte, so any range of positions can be had alone. The
arithmetic is ISA-L's, through pyeclib, whose headers around every fragment are made again when
they are wanted: what is stored is the plain symbols, described in ``schema.volume``.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Any

TYPE = "isa_l_rs_cauchy"  # any loss of as many fragments as there is parity can be made good


class Code:
    """A code with ``data`` data and ``parity`` parity symbols at each position.

    Args:
        data: At least 1.
        parity: At least 1; together at most 255.
    """

    def __init__(self, data: int, parity: int) -> None:
        from pyeclib.ec_iface import ECDriver  # noqa: PLC0415 - its libraries load slowly

        self.data, self.parity = data, parity
        self._driver = ECDriver(k=data, m=parity, ec_type=TYPE)
        self._headers = lru_cache(maxsize=4)(self._make_headers)

    def encode(self, ranges: bytes | bytearray | memoryview, length: int) -> list[memoryview]:
        """Return the parity of equal ranges of all data volumes.

        Args:
            ranges: One range after the other, in the order of the volumes.
            length: Of one range, in bytes.

        Returns:
            One range for each parity volume.
        """
        fragments = self._encode(bytes(ranges))
        skip = len(fragments[0]) - length
        return [memoryview(fragment)[skip:] for fragment in fragments[self.data :]]

    def restore(self, present: Mapping[int, bytes | memoryview], wanted: int) -> bytes:
        """Return a lost range.

        Args:
            present: Ranges of at least as many volumes as there is data, by the volume's index
                (from 0; parity after data); all of one length.
            wanted: Index of the range to make.
        """
        length = len(next(iter(present.values())))
        headers = self._headers(length)
        chosen = sorted(present)[: self.data]
        fragments = [b"".join((headers[index], present[index])) for index in chosen]
        (made,) = self._driver.reconstruct(fragments, [wanted])
        return made[len(headers[wanted]) :]

    def _encode(self, content: bytes) -> list[bytes]:
        return self._driver.encode(content)

    def _make_headers(self, length: int) -> list[bytes]:
        """Return what pyeclib puts before each fragment: it depends on index and length only."""
        fragments: list[Any] = self._encode(bytes(self.data * length))
        return [fragment[: len(fragment) - length] for fragment in fragments]
