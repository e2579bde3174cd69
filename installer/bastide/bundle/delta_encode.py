"""Makes a patch: copies of what the old file has, and for the rest what is cheapest by trial.

A range that the old file lacks is cut into segments. For each one, zstd is tried alone, with the
old bytes of that place as what came before, and on the bytewise difference to them; the smallest
wins, or the bytes themselves if nothing shrinks them. Nothing larger than a segment and its piece
of the old file is in memory.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from bastide.bundle.delta_match import FileBytes, Run, find_matches
from bastide.store.patch import (
    HEAD,
    LEAST_PREFIX,
    MAGIC,
    OPERATIONS,
    SEGMENT,
    WINDOW_LOG,
    Method,
    Operation,
    encode_table,
    prefix_limit,
)
from bastide.store.patched import xor

if TYPE_CHECKING or sys.version_info < (3, 14):
    from backports import zstd
else:
    from compression import zstd

TRIAL_LEVEL, LEVEL, SMALL_LEVEL = 1, 9, 19
SMALL = 2**16  # bytes; what is or becomes so small is worth the slowest level
MARGIN = 2**16  # bytes of the old file around a gap that serve as what came before
LEAST_GAIN = 0.98  # a segment that shrinks less is kept as it is: reading it is then free
PROBES = 8  # segments looked at first; if they do not pay, the rest is not tried


@dataclass(frozen=True)
class Gap:
    """A range of the new file that no run covers.

    Args:
        start: Where it begins in the new file.
        end: Where it ends.
        before: Where the old file goes on after the run before it.
        after: Where the run behind it begins in the old file; None at the end.
    """

    start: int
    end: int
    before: int
    after: int | None


@dataclass(frozen=True)
class EncodedPatch:
    """A patch that was written.

    Args:
        size: Of the patch, in bytes.
        copied: Bytes of the blob that are the base's own.
        base_sha256: Digest of the base that it was made from.
        sha256: Digest of what it makes.
    """

    size: int
    copied: int
    base_sha256: str
    sha256: str


def encode_patch(
    base_path: Path, new_path: Path, out: BinaryIO, *, limit: int
) -> EncodedPatch | None:
    """Write the patch that makes ``new_path`` of ``base_path``; None if it would not pay.

    Args:
        base_path: The old file.
        new_path: The new file.
        out: An empty file, open for reading and writing; its content is of no use after None.
        limit: The largest patch that is worth having, in bytes.

    Raises:
        OSError: A file cannot be read or written.
    """
    with FileBytes(base_path) as base, FileBytes(new_path) as new:
        matches = find_matches(base, new)
        gaps = tuple(find_gaps(matches.runs, new.size))
        encoder = _Encoder(base, new)
        if encoder.hopeless(gaps, limit):
            return None
        out.write(HEAD.pack(MAGIC, base.size, new.size, 0))
        operations: list[Operation] = []
        for piece in _in_order(matches.runs, gaps):
            operations += encoder.operations(piece, out)
            if len(operations) > OPERATIONS or out.tell() > limit:
                return None
        prefixes = sum(o.base_length for o in operations if o.method is Method.PREFIX)
        if prefixes > prefix_limit(new.size):
            return None
        table = encode_table(operations)
        out.write(table)
        size = out.tell()
        out.seek(0)
        out.write(HEAD.pack(MAGIC, base.size, new.size, len(table)))
    copied = sum(run.length for run in matches.runs)
    return (
        EncodedPatch(size, copied, matches.base_sha256, matches.sha256) if size <= limit else None
    )


def find_gaps(runs: tuple[Run, ...], size: int) -> Iterator[Gap]:
    """Return what ``runs`` do not cover of a new file of ``size`` bytes."""
    start = before = 0
    for run in runs:
        if run.start > start:
            yield Gap(start, run.start, before, run.base)
        start, before = run.end, run.base_end
    if start < size:
        yield Gap(start, size, before, None)


def _in_order(runs: tuple[Run, ...], gaps: tuple[Gap, ...]) -> list[Run | Gap]:
    return sorted((*runs, *gaps), key=lambda piece: piece.start)


class _Encoder:
    def __init__(self, base: FileBytes, new: FileBytes) -> None:
        self._base = base
        self._new = new

    def hopeless(self, gaps: tuple[Gap, ...], limit: int) -> bool:
        """Tell from a few segments, spread over all gaps, whether the patch would be too large."""
        segments = [(gap, start) for gap in gaps for start in range(gap.start, gap.end, SEGMENT)]
        missing = sum(gap.end - gap.start for gap in gaps)
        if len(segments) <= 2 * PROBES or missing <= limit:
            return False
        probes = segments[:: len(segments) // PROBES]
        tried = [self._best(gap, start) for gap, start in probes]
        made = sum(operation.length for operation, _ in tried)
        stored = sum(operation.stored for operation, _ in tried)
        return missing * stored / made > 1.1 * limit  # a margin: it is a sample

    def operations(self, piece: Run | Gap, out: BinaryIO) -> list[Operation]:
        """Return what makes one piece of the new file, after writing what it needs."""
        if isinstance(piece, Run):
            return [Operation(Method.COPY, piece.length, 0, piece.base, piece.length)]
        found = []
        for start in range(piece.start, piece.end, SEGMENT):
            operation, stored = self._best(piece, start)
            out.write(stored)
            found.append(operation)
        return found

    def _best(self, gap: Gap, start: int) -> tuple[Operation, bytes]:
        """Return the operation for one segment of a gap, and the bytes that it stores."""
        content = self._new.read(start, min(start + SEGMENT, gap.end))
        trial = SMALL_LEVEL if len(content) <= SMALL else TRIAL_LEVEL
        tries = [_Try(Method.ZSTD, content), *self._against_base(gap, start, content)]
        sizes = [len(each.stored(trial)) for each in tries]
        size = min(sizes)
        best = tries[sizes.index(size)]
        if size <= LEAST_GAIN * len(content):
            stored = best.stored(SMALL_LEVEL if size <= SMALL else LEVEL)
            if len(stored) < len(content):
                span = len(best.base)
                return Operation(best.method, len(content), len(stored), best.where, span), stored
        return Operation(Method.RAW, len(content), len(content)), content

    def _against_base(self, gap: Gap, start: int, content: bytes) -> Iterator[_Try]:
        """Yield the ways that use the old bytes of the same place, counted from either side."""
        ahead = gap.before + start - gap.start
        places = {ahead}
        if gap.after is not None:
            places.add(gap.after - (gap.end - start))
        for place in sorted(places):
            if 0 <= place <= self._base.size - len(content):
                yield _Try(Method.XOR, content, place, self._base.read(place, place + len(content)))
        first = max(min(ahead, self._base.size) - MARGIN, 0)
        last = min(ahead + len(content) + MARGIN, self._base.size)
        if gap.after is not None and gap.after > ahead:
            last = max(last, min(gap.after + MARGIN, self._base.size))
        last = min(last, first + SEGMENT)
        if last - first >= LEAST_PREFIX:
            yield _Try(Method.PREFIX, content, first, self._base.read(first, last))


@dataclass(frozen=True)
class _Try:
    method: Method
    content: bytes
    where: int = 0
    base: bytes = b""

    def stored(self, level: int) -> bytes:
        options = {
            int(zstd.CompressionParameter.compression_level): level,
            int(zstd.CompressionParameter.window_log): WINDOW_LOG,
        }
        if self.method is Method.PREFIX:
            prefix = zstd.ZstdDict(self.base, is_raw=True).as_prefix
            return zstd.compress(self.content, options=options, zstd_dict=prefix)
        plain = xor(self.content, self.base) if self.method is Method.XOR else self.content
        return zstd.compress(plain, options=options)
