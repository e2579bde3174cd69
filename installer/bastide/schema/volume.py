"""``volume.json``: which piece of which split bundle a volume is.

The blobs of a bundle, in the order of their digests, are one long stream of bytes. Data volumes
carry it cut at boundaries of chunks; a parity volume carries, at each position, the Reed-Solomon
symbols of all data volumes at that position. Nothing here is trusted: data is compared with the
digests that the bundle's root pins, and so is whatever parity yields.
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from bastide.schema.base import Sha256, Size, Value

VOLUMES_LIMIT = 9999
CODE_LIMIT = 255  # data and parity volumes together, if there is parity: symbols are bytes


class VolumeSet(Value):
    """What the volumes of one set have in common."""

    format: Literal["bastide.volume-set/1"] = "bastide.volume-set/1"
    bundle: Sha256 = Field(description="Digest of the bundle that was split.")
    payloads: tuple[Size, ...] = Field(
        description="Bytes of the stream that each data volume carries, in order.",
        min_length=1,
        max_length=VOLUMES_LIMIT,
    )
    parity: int = Field(description="Number of parity volumes.", ge=0, lt=CODE_LIMIT)
    code: Literal["cauchy-gf256"] = Field(
        "cauchy-gf256",
        description="Systematic Reed-Solomon over GF(2^8), polynomial 0x11d; row i, column j of "
        "the parity matrix is the inverse of (data + i) xor j.",
    )

    @property
    def data(self) -> int:
        """The number of data volumes."""
        return len(self.payloads)

    @property
    def total(self) -> int:
        """The number of all volumes."""
        return self.data + self.parity

    def payload(self, number: int) -> int:
        """Return how many bytes volume ``number`` carries; parity is as long as the longest."""
        return self.payloads[number - 1] if number <= self.data else max(self.payloads)


class Volume(Value):
    """One volume of a set."""

    format: Literal["bastide.volume/1"] = "bastide.volume/1"
    set: VolumeSet
    number: int = Field(description="From 1; data volumes first, then parity.", ge=1)
    cells: tuple[Sha256, ...] = Field(
        default=(),
        description="Of a parity volume: SHA-256 of every 4 MiB, against accidental damage.",
    )

    @property
    def is_parity(self) -> bool:
        """Whether it carries parity."""
        return self.number > self.set.data
