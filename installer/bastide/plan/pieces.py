"""Which parts of files the hosts of a run may give each other, and by which digests. Pure.

A *piece* is one to four neighbouring chunks of a file. The chunks' digests are those that the
bundle's signed ``chunks.json`` lists; a file that is no longer than a chunk is one piece, with its
own digest. So nothing has to be read to tell them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from bastide.schema.chunks import CHUNK
from bastide.schema.plan import HostPlan, Pull

SHARED_FROM = 256 * 1024  # bytes; a smaller file is not worth asking a peer for
_LONGEST = 4  # chunks of a piece: more would be much to hold in memory, and to fetch in vain
_PIECES = 128  # about so many pieces of one file are enough to keep all hosts busy


@dataclass(frozen=True)
class PieceTable:
    """A file's pieces.

    Args:
        first: Number of its first piece; every piece of a run has a number of its own.
        size: The file's size in bytes.
        chunks: SHA-256 of each of its chunks.
    """

    first: int
    size: int
    chunks: tuple[str, ...]

    @property
    def piece(self) -> int:
        """Size of a piece in bytes; the last one may be shorter."""
        wanted = -(-len(self.chunks) // _PIECES)
        return CHUNK * min(max(wanted, 1), _LONGEST)

    @property
    def sizes(self) -> tuple[int, ...]:
        """Each piece's size in bytes."""
        starts = range(0, self.size, self.piece)
        return tuple(min(self.piece, self.size - start) for start in starts)

    def told(self) -> dict[str, Any]:
        """Return the table as a host reads it."""
        return {
            "first": self.first,
            "size": self.piece,
            "chunk": CHUNK,
            "sha256": list(self.chunks),
        }


@dataclass(frozen=True)
class FanOut:
    """What hosts of one run fetch in pieces, and which of them give each other some.

    Args:
        tables: The pieces of each file, by the file's digest.
        hosts: Hosts that lack something that another one lacks, too; none if they are not to share.
    """

    tables: Mapping[str, PieceTable]
    hosts: frozenset[str] = frozenset()

    @property
    def sizes(self) -> tuple[int, ...]:
        """Every piece's size in bytes, by its number."""
        return tuple(size for table in self.tables.values() for size in table.sizes)


def fan_out(
    plans: Iterable[HostPlan], chunks: Mapping[str, tuple[str, ...]], *, share: bool
) -> FanOut:
    """Return what is fetched in pieces when ``plans`` are carried out together.

    Args:
        plans: Each host's part of the plan.
        chunks: SHA-256 of each chunk of the bundle's large files, by the file's digest; a file that
            is not among them, as in bundles of earlier versions, is fetched whole.
        share: Whether hosts may give each other pieces.
    """
    lacking = {plan.host: {p.sha256: p for p in plan.pulls if p.size >= SHARED_FROM}
               for plan in plans}  # fmt: skip
    every = {sha256: pull for pulls in lacking.values() for sha256, pull in pulls.items()}
    count = Counter(sha256 for pulls in lacking.values() for sha256 in pulls)
    tables: dict[str, PieceTable] = {}
    first = 0
    for sha256, pull in every.items():
        known = _chunks(pull, chunks)
        if known and (pull.size > CHUNK or count[sha256] > 1):
            tables[sha256] = PieceTable(first, pull.size, known)
            first += len(tables[sha256].sizes)
    shared = {sha256 for sha256 in tables if count[sha256] > 1}
    hosts = (host for host, pulls in lacking.items() if shared & set(pulls))
    return FanOut(tables, frozenset(hosts) if share else frozenset())


def _chunks(pull: Pull, known: Mapping[str, tuple[str, ...]]) -> tuple[str, ...]:
    return (pull.sha256,) if pull.size <= CHUNK else known.get(pull.sha256, ())
