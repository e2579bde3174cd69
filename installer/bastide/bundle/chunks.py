"""Digests of a file as a whole and of its chunks, in one reading."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import BinaryIO

from bastide.schema.chunks import CHUNK, BlobChunks, Chunks


@dataclass(frozen=True)
class Digests:
    """What was read.

    Args:
        sha256: Digest of all of it.
        size: In bytes.
        chunks: Digest of each chunk.
    """

    sha256: str
    size: int
    chunks: tuple[str, ...]


def digest_stream(stream: BinaryIO, on_chunk: Callable[[bytes], None]) -> Digests:
    """Read ``stream`` to its end and return its digests.

    Args:
        stream: A file; read in whole chunks.
        on_chunk: Called with each chunk, in order, such as to copy it.
    """
    whole, size, chunks = hashlib.sha256(), 0, []
    with ThreadPoolExecutor(1) as second:  # two digests of the same bytes: two cores
        while chunk := stream.read(CHUNK):
            one = second.submit(_digest, chunk)
            whole.update(chunk)
            size += len(chunk)
            on_chunk(chunk)
            chunks.append(one.result())
    return Digests(whole.hexdigest(), size, tuple(chunks))


def chunks_document(blobs: Iterable[Digests]) -> Chunks:
    """Return the document for a bundle that holds ``blobs``."""
    large = {each.sha256: each for each in blobs if each.size > CHUNK}
    return Chunks(
        blobs=tuple(
            BlobChunks(sha256=sha256, size=each.size, chunks=each.chunks)
            for sha256, each in sorted(large.items())
        )
    )


def _digest(chunk: bytes) -> str:
    return hashlib.sha256(chunk).hexdigest()
