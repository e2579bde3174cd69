"""What a check or an import of a bundle found and did."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from bastide.errors import Problem
from bastide.schema.artifact import ArtifactKind, Manifest
from bastide.trust.verifier import Trust


@dataclass(frozen=True)
class KindTotal:
    """How many artifacts of one kind a bundle has, and their bytes."""

    kind: ArtifactKind
    artifacts: int
    size: int


@dataclass(frozen=True)
class CheckResult:
    """A bundle that is whole: every file is there, none is extra, every digest is right."""

    bundle: str
    release: str
    target: str
    trust: Trust
    kinds: tuple[KindTotal, ...]
    bytes_read: int
    seconds: float


@dataclass(frozen=True)
class Repair:
    """Something that a volume did not yield, and that came from elsewhere.

    Args:
        volume: The volume's name.
        where: The file and its bytes, or "all of it".
        what: What was wrong with it.
        how: Where the right bytes came from.
    """

    volume: str
    where: str
    what: str
    how: str


@dataclass(frozen=True)
class ImportResult:
    """A bundle that is in the store.

    Args:
        bundle: Its digest.
        release: The release that it carries.
        target: What it was built for.
        trust: What is known about its origin.
        kinds: Its artifacts by kind.
        bytes_copied: Read from the bundle and written to the store.
        bytes_rebuilt: Of blobs made in the store of others and of a delta's patches.
        bytes_continued: Found in the store, left by an import that was interrupted half-way
            through a blob.
        bytes_present: Of blobs that the store had whole.
        seconds: How long it took.
        store: The store's folder.
        repairs: What was wrong with volumes, and how it was made good; renew those volumes.
    """

    bundle: str
    release: str
    target: str
    trust: Trust
    kinds: tuple[KindTotal, ...]
    bytes_copied: int
    bytes_continued: int
    bytes_present: int
    seconds: float
    store: Path
    bytes_rebuilt: int = 0
    repairs: tuple[Repair, ...] = ()


@dataclass(frozen=True)
class Wanted:
    """What an import still needs.

    Args:
        set: Digest of the set, as ``volume.json`` spells it.
        volumes: Names of the data volumes of which bytes are lacking.
        parity: Names of parity volumes that were not seen; each can stand in for one of those.
        size: How many bytes are lacking.
        problems: What was wrong with the volumes that were read.
    """

    set: str
    volumes: tuple[str, ...]
    parity: tuple[str, ...]
    size: int
    problems: tuple[Problem, ...]


Ask = Callable[[Wanted], Sequence[Path]]


def nobody(_: Wanted) -> Sequence[Path]:
    """Answer that there are no further volumes."""
    return ()


def kind_totals(manifest: Manifest) -> tuple[KindTotal, ...]:
    """Return number and size of a manifest's artifacts by kind, leaving out kinds it has not."""
    found = ((kind, manifest.of_kind(kind)) for kind in ArtifactKind)
    return tuple(KindTotal(k, len(a), sum(one.size for one in a)) for k, a in found if a)
