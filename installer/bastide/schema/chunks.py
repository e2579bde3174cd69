"""``chunks.json``: digests of the fixed-size chunks of every large blob of a bundle.

The bundle's root pins it. So a part of a blob can be checked without the rest: a bad range is named
and repaired alone, and one medium of several is checked by itself.
"""

from __future__ import annotations

from typing import Final, Literal

from pydantic import Field

from bastide.schema.base import Sha256, Size, Value

CHUNK: Final = 4194304  # bytes: 4 MiB


class BlobChunks(Value):
    """The chunks of one blob, in order; the last may be shorter."""

    sha256: Sha256 = Field(description="The blob.")
    size: Size
    chunks: tuple[Sha256, ...] = Field(description="SHA-256 of each chunk.")


class Chunks(Value):
    """The chunks of every blob that is larger than one chunk, sorted by the blobs' digests."""

    format: Literal["bastide.chunks/1"] = "bastide.chunks/1"
    chunk: Literal[4194304] = Field(CHUNK, description="Size of a chunk in bytes.")
    blobs: tuple[BlobChunks, ...]

    def mistakes(self, sizes: dict[str, int]) -> list[str]:
        """Return where this does not fit blobs of these ``sizes``, by digest, in words."""
        found = []
        large = sorted(sha256 for sha256, size in sizes.items() if size > CHUNK)
        if [blob.sha256 for blob in self.blobs] != large:
            found.append("does not list the blobs that are larger than a chunk, each once")
        for blob in self.blobs:
            right = len(blob.chunks) == -(-blob.size // CHUNK)
            if sizes.get(blob.sha256) != blob.size or not right:
                found.append(f"has the wrong size or number of chunks for {blob.sha256}")
        return found
