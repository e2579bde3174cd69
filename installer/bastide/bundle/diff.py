"""What changes from one bundle to another: versions, models, licences, sizes; pure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum

from bastide.schema.artifact import Artifact, ArtifactKind, Manifest


class Change(StrEnum):
    """What happened to an artifact."""

    ADDED = "added"
    REMOVED = "removed"
    CHANGED = "changed"  # another version
    REBUILT = "rebuilt"  # the same version with other bytes
    RELICENSED = "relicensed"  # the same bytes, said to be under another licence


@dataclass(frozen=True)
class Difference:
    """One artifact that is not the same in both bundles.

    Args:
        kind: Its kind.
        name: Its name.
        change: What happened to it.
        before: As the first bundle has it, None if it has not.
        after: As the second bundle has it, None if it has not.
    """

    kind: ArtifactKind
    name: str
    change: Change
    before: Artifact | None
    after: Artifact | None

    @property
    def licence_changed(self) -> bool:
        """Whether both have it, under licences that are declared differently."""
        both = self.before is not None and self.after is not None
        return both and self.before.licence != self.after.licence  # type: ignore[union-attr]


@dataclass(frozen=True)
class BundleDiff:
    """What changes from bundle ``before`` to bundle ``after``.

    Args:
        before: Digest of the first bundle, and its release and target.
        after: The same of the second.
        differences: By kind and name.
        unchanged: How many artifacts are the same in both.
        size_before: Bytes of the first bundle's blobs.
        size_after: Bytes of the second's.
        to_carry: Bytes of the blobs that only the second has: what a site that has the first lacks,
            before any delta inside files.
        new_licences: Licences that no artifact of the first has.
    """

    before: tuple[str, str, str]
    after: tuple[str, str, str]
    differences: tuple[Difference, ...]
    unchanged: int
    size_before: int
    size_after: int
    to_carry: int
    new_licences: tuple[str, ...]


def compare(before: tuple[str, Manifest], after: tuple[str, Manifest]) -> BundleDiff:
    """Return what changes from one bundle to another.

    Args:
        before: The first bundle's digest and manifest.
        after: The second's.
    """
    (old_digest, old), (new_digest, new) = before, after
    differences = tuple(_differences(old, new))
    old_sizes = {a.sha256: a.size for a in old.artifacts}
    new_sizes = {a.sha256: a.size for a in new.artifacts}
    kept = sum(1 for each in differences if each.before is not None and each.after is not None)
    both = len(_by_key(old).keys() & _by_key(new).keys())
    licences = {a.licence for a in new.artifacts} - {a.licence for a in old.artifacts}
    return BundleDiff(
        before=(old_digest, old.release, old.target),
        after=(new_digest, new.release, new.target),
        differences=differences,
        unchanged=both - kept,
        size_before=sum(old_sizes.values()),
        size_after=sum(new_sizes.values()),
        to_carry=sum(size for sha256, size in new_sizes.items() if sha256 not in old_sizes),
        new_licences=tuple(sorted(licences)),
    )


def _by_key(manifest: Manifest) -> dict[tuple[ArtifactKind, str], Artifact]:
    return {(a.kind, a.name): a for a in manifest.artifacts}


def _differences(old: Manifest, new: Manifest) -> Iterator[Difference]:
    before, after = _by_key(old), _by_key(new)
    order = list(ArtifactKind)
    for key in sorted(before.keys() | after.keys(), key=lambda k: (order.index(k[0]), k[1])):
        one, other = before.get(key), after.get(key)
        change = _change(one, other)
        if change is not None:
            yield Difference(key[0], key[1], change, one, other)


def _change(one: Artifact | None, other: Artifact | None) -> Change | None:
    if one is None:
        return Change.ADDED
    if other is None:
        return Change.REMOVED
    if one.version != other.version:
        return Change.CHANGED
    if one.sha256 != other.sha256:
        return Change.REBUILT
    return Change.RELICENSED if one.licence != other.licence else None
