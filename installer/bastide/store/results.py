"""What a check or an import of a bundle found and did."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

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
class ImportResult:
    """A bundle that is in the store.

    Args:
        bundle: Its digest.
        release: The release that it carries.
        target: What it was built for.
        trust: What is known about its origin.
        kinds: Its artifacts by kind.
        bytes_copied: Read from the bundle and written to the store.
        bytes_continued: Found in the store, left by an import that was interrupted half-way
            through a blob.
        bytes_present: Of blobs that the store had whole.
        seconds: How long it took.
        store: The store's folder.
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


def kind_totals(manifest: Manifest) -> tuple[KindTotal, ...]:
    """Return number and size of a manifest's artifacts by kind, leaving out kinds it has not."""
    found = ((kind, manifest.of_kind(kind)) for kind in ArtifactKind)
    return tuple(KindTotal(k, len(a), sum(one.size for one in a)) for k, a in found if a)
