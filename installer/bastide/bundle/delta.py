"""Makes a delta of a bundle: what a site lacks, and patches where they pay.

Whole blobs come first: what the site holds costs nothing. For each blob that it lacks, a patch is
tried against the old files that are likest; one that saves less than a tenth is not worth reading
the base for, and the blob travels whole. Every patch is proved here by rebuilding with it.
"""

from __future__ import annotations

import hashlib
import os
import shutil
from dataclasses import dataclass
from pathlib import Path

from bastide.bundle.delta_encode import EncodedPatch, encode_patch
from bastide.bundle.since import Held
from bastide.errors import BundleError
from bastide.host.files import fsync_directory
from bastide.layout import DELTA, blob_path, patch_path
from bastide.progress import Progress
from bastide.schema.artifact import Artifact
from bastide.schema.delta import Delta, Rebuilt, Sized
from bastide.sources.scratch import scratch
from bastide.store.opening import OpenBundle
from bastide.store.patched import PatchedSource

WORTH = 0.9  # a patch must be smaller than this part of the file
SMALLEST = 16 * 2**10  # bytes; what is smaller travels whole
BLOCK = 2**20
OUT_TAKEN, NOT_WRITABLE, SOURCE_DAMAGED = "BAS-3036", "BAS-3038", "BAS-3062"


@dataclass(frozen=True)
class PlannedPatch:
    """A patch that was made and proved.

    Args:
        rebuilt: What ``delta.json`` says of it.
        path: Where it lies.
        label: What it makes, for people.
    """

    rebuilt: Rebuilt
    path: Path
    label: str


@dataclass(frozen=True)
class DeltaPlan:
    """A delta before it is written: its size is known to the byte.

    Args:
        bundle: The full bundle.
        delta: What ``delta.json`` will say.
        patches: Of the blobs that are rebuilt.
        others: Paths of documents and metadata, with their sizes.
    """

    bundle: OpenBundle
    delta: Delta
    patches: tuple[PlannedPatch, ...]
    others: dict[str, int]

    @property
    def full_size(self) -> int:
        """Bytes of the full bundle."""
        return sum(blob.size for blob in self.bundle.blobs) + sum(self.others.values())

    @property
    def carried_size(self) -> int:
        """Bytes of the blobs that travel whole."""
        carried = set(self.delta.carried)
        return sum(blob.size for blob in self.bundle.blobs if blob.sha256 in carried)

    @property
    def patch_size(self) -> int:
        """Bytes of all patches."""
        return sum(each.rebuilt.patch.size for each in self.patches)

    @property
    def rebuilt_size(self) -> int:
        """Bytes of the blobs that the patches make."""
        return sum(each.rebuilt.blob.size for each in self.patches)

    @property
    def size(self) -> int:
        """Bytes of the delta."""
        documents = sum(self.others.values()) + len(self.delta.canonical())
        return self.carried_size + self.patch_size + documents


def plan_delta(bundle: OpenBundle, held: Held, work: Path, progress: Progress) -> DeltaPlan:
    """Return the delta of ``bundle`` for a site; its patches are in ``work`` afterwards.

    Args:
        bundle: The full bundle, opened.
        held: What the site holds.
        work: An empty folder; it must live as long as the plan.
        progress: Told of the files that are compared.

    Raises:
        BundleError: A file of the bundle is damaged or cannot be read.
    """
    artifacts = {artifact.sha256: artifact for artifact in bundle.manifest.artifacts}
    missing = [b for b in bundle.blobs if held.blobs.get(b.sha256) != b.size]
    patches: list[PlannedPatch] = []
    with progress.task("compare", total=sum(blob.size for blob in missing)) as task:
        for blob in missing:
            task.describe(blob.label[:60])
            if blob.size >= SMALLEST:
                path = bundle.folder / blob.path
                patch = _best_patch(artifacts[blob.sha256], path, held, work)
                patches += [patch] if patch else []
            task.advance(blob.size)
    rebuilt = {patch.rebuilt.blob.sha256 for patch in patches}
    delta = Delta(
        bundle=bundle.verified.digest,
        since=held.since,
        carried=tuple(blob.sha256 for blob in missing if blob.sha256 not in rebuilt),
        rebuilt=tuple(patch.rebuilt for patch in patches),
    )
    return DeltaPlan(bundle, delta, tuple(patches), _others(bundle))


def write_delta(plan: DeltaPlan, out: Path, progress: Progress) -> None:
    """Write the delta to ``out``, which appears as a whole or not at all.

    Raises:
        BundleError: ``out`` is taken, cannot be written, or a file of the bundle is damaged.
    """
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise BundleError(
            f"{out} is there already", code=OUT_TAKEN, hint="choose another folder for the delta"
        )
    try:
        with scratch(out.parent, f".{out.name}.partial-") as temporary:
            _write(plan, temporary, progress)
            temporary.chmod(0o755)
            if out.exists():
                out.rmdir()
            temporary.rename(out)
        fsync_directory(out.parent)
    except OSError as error:
        raise BundleError(
            f"the delta cannot be written to {out}: {error.strerror} (it has {plan.size} bytes)",
            code=NOT_WRITABLE,
            hint="make room or choose another folder, and run the command again",
        ) from error


def _best_patch(artifact: Artifact, path: Path, held: Held, work: Path) -> PlannedPatch | None:
    best: PlannedPatch | None = None
    for number, (sha256, base) in enumerate(held.bases(artifact)):
        limit = best.rebuilt.patch.size - 1 if best else int(WORTH * artifact.size)
        made = work / f"{artifact.sha256}.{number}"
        try:
            with made.open("wb+") as out:
                encoded = encode_patch(base, path, out, limit=limit)
        except OSError as error:
            raise _damaged(path, str(error)) from error
        if encoded is None or encoded.base_sha256 != sha256:
            continue  # it does not pay, or the old file went bad: another one, or the whole
        if encoded.sha256 != artifact.sha256:
            raise _damaged(path, f"its SHA-256 is {encoded.sha256}")
        best = _planned(artifact, Sized(sha256=sha256, size=base.stat().st_size), made, encoded)
        _prove(best, base)
    return best


def _planned(artifact: Artifact, base: Sized, made: Path, encoded: EncodedPatch) -> PlannedPatch:
    rebuilt = Rebuilt(
        blob=Sized(sha256=artifact.sha256, size=artifact.size),
        base=base,
        patch=Sized(sha256=_digest(made), size=encoded.size),
    )
    return PlannedPatch(rebuilt, made, f"{artifact.kind} {artifact.name}")


def _prove(patch: PlannedPatch, base: Path) -> None:
    """Rebuild with a patch, and stop here if it does not make what it must."""
    digest, offset, view = hashlib.sha256(), 0, memoryview(bytearray(BLOCK))
    with PatchedSource(base, patch.path, patch.rebuilt.blob.size).open() as reader:
        while count := reader.read_into(offset, view):
            digest.update(view[:count])
            offset += count
    if digest.hexdigest() != patch.rebuilt.blob.sha256:
        raise AssertionError(f"the patch for {patch.label} does not make it")  # a defect of ours


def _others(bundle: OpenBundle) -> dict[str, int]:
    names = {*bundle.documents, *bundle.verified.files}
    return {name: (bundle.folder / name).stat().st_size for name in sorted(names)}


def _write(plan: DeltaPlan, folder: Path, progress: Progress) -> None:
    source = plan.bundle.folder
    with progress.task("write the delta", total=plan.size) as task:
        for name in plan.others:
            _copy(source / name, folder / name)
        for sha256 in plan.delta.carried:
            path = source / blob_path(sha256)
            digest, size = _digest(path), path.stat().st_size
            if digest != sha256:
                raise _damaged(path, f"its SHA-256 is {digest}")
            _copy(path, folder / blob_path(sha256))
            task.advance(size)
        for patch in plan.patches:
            _copy(patch.path, folder / patch_path(patch.rebuilt.blob.sha256))
        (folder / DELTA).write_bytes(plan.delta.canonical())
    for inner, _, names in os.walk(folder):
        for name in names:
            _sync(Path(inner) / name)
        fsync_directory(Path(inner))


def _copy(source: Path, destination: Path) -> None:
    destination.parent.mkdir(parents=True, exist_ok=True)
    try:
        destination.hardlink_to(source)
    except OSError:  # another file system, or one without hard links
        shutil.copyfile(source, destination)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _digest(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _damaged(path: Path, what: str) -> BundleError:
    return BundleError(
        f"{path} of the bundle is damaged or cannot be read: {what}",
        code=SOURCE_DAMAGED,
        hint="`bastide bundle verify` it, build it again, and then make the delta",
    )
