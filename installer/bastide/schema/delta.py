"""``delta.json``: how a bundle travels to a site that has some of it already.

It is not signed and vouches for nothing: the bundle's identity is its own ``bundle.json``, and what
a delta yields must have the digests that this reaches.
"""

from __future__ import annotations

from typing import Literal

from pydantic import AwareDatetime, Field

from bastide.schema.base import Name, Sha256, Size, Value


class Since(Value):
    """For whom the delta was made."""

    site: Name
    receipt: Sha256 = Field(description="SHA-256 of what the receipt's signature covers.")
    issued_at: AwareDatetime = Field(description="By the site's clock.")


class Sized(Value):
    """A file by its digest."""

    sha256: Sha256
    size: Size


class Rebuilt(Value):
    """A blob that the site makes of one that it has, and of a patch."""

    blob: Sized
    base: Sized = Field(description="What the site must have.")
    method: Literal["bastide.patch/1"] = "bastide.patch/1"
    patch: Sized = Field(description="delta/<digest of the blob>.patch")


class Delta(Value):
    """What travels; the bundle's other blobs are assumed to be in the site's store."""

    format: Literal["bastide.delta/1"] = "bastide.delta/1"
    bundle: Sha256 = Field(description="The bundle that it yields.")
    since: Since
    carried: tuple[Sha256, ...] = Field(description="Blobs that travel whole, sorted.")
    rebuilt: tuple[Rebuilt, ...] = Field(description="Sorted by the blob's digest.")
