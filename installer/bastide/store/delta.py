"""Where the blobs of a bundle come from when it travels as a delta, and what went wrong if so."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from pathlib import Path

from bastide.errors import BundleError, Problem
from bastide.layout import patch_path
from bastide.schema.delta import Rebuilt, Sized
from bastide.store.local import Store
from bastide.store.opening import Blob, OpenBundle, damage
from bastide.store.source import ByteSource, FileSource
from bastide.store.transfer import Transfer

BASE_MISSING = "BAS-3151"
REBUILD_FAILED = "BAS-3152"
NEEDS_FULL = "BAS-3153"
LARGEST_HASHED = 2**20  # bytes read at a time


def blob_sources(
    bundle: OpenBundle, store: Store, missing: Sequence[Blob]
) -> dict[Blob, ByteSource]:
    """Return where each missing blob comes from.

    Args:
        bundle: A full bundle or a delta.
        store: Holds the bases.
        missing: Blobs that the store lacks.

    Raises:
        BundleError: A delta assumes files that the store lacks; all are named.
    """
    from bastide.store.patched import PatchedSource  # noqa: PLC0415 - only a delta needs zstd

    rebuilt = _rebuilt(bundle)
    carried = set(bundle.carried)
    sources: dict[Blob, ByteSource] = {}
    problems: list[Problem] = []
    for blob in missing:
        each = rebuilt.get(blob.sha256)
        if blob in carried:
            sources[blob] = FileSource(bundle.folder / blob.path)
        elif each is None:
            problems.append(Problem(blob.path, f"is not in the store: {blob.label}"))
        elif not store.has(each.base.sha256, each.base.size):
            what = f"is made of {each.base.sha256}, which is not in the store: {blob.label}"
            problems.append(Problem(blob.path, what))
        else:
            patch = bundle.folder / patch_path(blob.sha256)
            base = store.blob(each.base.sha256)
            sources[blob] = PatchedSource(base, patch, blob.size)
    if problems:
        raise _lacking(bundle, problems)
    return sources


def refuse_failed_rebuilds(bundle: OpenBundle, store: Store, transfers: list[Transfer]) -> None:
    """Return if every rebuilt blob came out right; else say which file is to blame.

    Raises:
        BundleError: One did not.
    """
    rebuilt = _rebuilt(bundle)
    problems = []
    for transfer in transfers:
        each = rebuilt.get(transfer.job.sha256)
        if each is not None and not transfer.matches:
            why = transfer.source_problem or damage(transfer.digest, transfer.job.sha256)
            culprit = _culprit(each, store, bundle.folder / patch_path(each.blob.sha256))
            problems.append(Problem(str(patch_path(each.blob.sha256)), f"{culprit} ({why})"))
    if problems:
        raise BundleError(
            f"{len(problems)} files of the delta at {bundle.folder} could not be rebuilt; nothing "
            "of it can be used",
            code=REBUILD_FAILED,
            hint="do what stands beside each file, then run the same command; or have the bundle "
            "brought in full (`bastide bundle build` without --since)",
            problems=tuple(problems),
        )


def rebuilt_blobs(bundle: OpenBundle) -> frozenset[str]:
    """Return the digests of the blobs that a delta makes of others; none for a full bundle."""
    return frozenset(_rebuilt(bundle))


def require_full(bundle: OpenBundle, purpose: str) -> None:
    """Return if the bundle holds all of its blobs.

    Raises:
        BundleError: It is a delta, which ``purpose`` cannot work on.
    """
    if bundle.delta is not None:
        raise BundleError(
            f"{bundle.folder} is a delta, which {purpose} cannot take: it needs the full bundle",
            code=NEEDS_FULL,
            hint="name the folder of the full bundle that the delta was made of",
        )


def _rebuilt(bundle: OpenBundle) -> dict[str, Rebuilt]:
    return {each.blob.sha256: each for each in bundle.delta.rebuilt} if bundle.delta else {}


def _culprit(each: Rebuilt, store: Store, patch: Path) -> str:
    """Return which of the two files is not what it was, in words, by reading both."""
    if not _is(patch, each.patch):
        return "the patch is damaged: copy it again from the builder"
    if not _is(store.blob(each.base.sha256), each.base):
        return (
            f"the store's copy of {each.base.sha256} is damaged: import the bundle that brought it "
            "again with --recheck"
        )
    return "the patch is whole, but was made wrong: have the bundle brought in full"


def _is(path: Path, expected: Sized) -> bool:
    digest = hashlib.sha256()
    try:
        with path.open("rb") as stream:
            while block := stream.read(LARGEST_HASHED):
                digest.update(block)
    except OSError:
        return False
    return digest.hexdigest() == expected.sha256


def _lacking(bundle: OpenBundle, problems: Iterable[Problem]) -> BundleError:
    found = tuple(problems)
    site = bundle.delta.since.site if bundle.delta else ""
    return BundleError(
        f"the delta at {bundle.folder} was made for a store that holds more than this one: "
        f"{len(found)} files are lacking; nothing was changed",
        code=BASE_MISSING,
        hint=f"it was made by the receipt of site {site!r}. Give the builder a new receipt "
        "(`bastide receipt export --out FILE`), or have the bundle brought in full (`bastide "
        "bundle build` without --since)",
        problems=found,
    )
