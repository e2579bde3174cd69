"""Builds a bundle: a content-addressed folder whose root document reaches every byte."""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from bastide import layout
from bastide.bundle.chunks import Digests, chunks_document, digest_stream
from bastide.bundle.notices import make_notices
from bastide.bundle.origins import cards_in, obtain_all
from bastide.bundle.workshop import Workshop
from bastide.errors import BundleError
from bastide.host.files import fsync_directory
from bastide.progress import Task
from bastide.schema.artifact import BundleRoot, Manifest, RootEntry
from bastide.schema.chunks import Chunks
from bastide.schema.lock import Lock
from bastide.schema.model_card import ModelCard
from bastide.sources.scratch import scratch
from bastide.store.inspection import inspect_artifacts
from bastide.trust.licences import subjects_of


@dataclass(frozen=True)
class BundleSummary:
    """What a bundle holds.

    Args:
        path: Its folder.
        release: Release name and version.
        target: Target name.
        digest: SHA-256 of its root document: the bundle's identity.
        lock: Digest of the lock it was built from.
        artifacts: How many artifacts it has.
        blobs: How many distinct blobs.
        size: Their bytes together.
    """

    path: str
    release: str
    target: str
    digest: str
    lock: str
    artifacts: int
    blobs: int
    size: int


def build(lock: Lock, out: Path, workshop: Workshop, *, force: bool = False) -> BundleSummary:
    """Build the bundle of ``lock`` in the folder ``out``, which appears as a whole or not at all.

    Args:
        lock: What to put in; equal locks give equal bundles.
        out: The folder to make. If it is this very bundle already, it is left as it is.
        workshop: Cache, network, progress.
        force: Replace another bundle, or a damaged one, that is at ``out``.

    Raises:
        BundleError: ``out`` holds something else, or an artifact cannot be had or is not what
            it claims.
        TrustError: The licence policy does not let an artifact in.
    """
    manifest = make_manifest(lock)
    if workshop.licences is not None:
        workshop.licences.require(subjects_of(manifest))
    documents = _documents(lock, manifest)
    root = None if force else _is_there(out, manifest, documents)
    if root is not None:
        workshop.progress.note(f"{out} is this bundle already")
        return summarise(out, root, manifest)
    _require_free(out, force=force)
    obtain_all(lock, workshop)
    try:
        root = _publish(out, manifest, documents, workshop, cards_in(lock))
    except OSError as error:
        size = _root(manifest, documents).blob_bytes
        raise BundleError(
            f"the bundle cannot be written to {out}: {error.strerror} "
            f"(it has {size} bytes of blobs)",
            code="BAS-3038",
            hint="make room or choose another folder, and run the command again",
        ) from error
    return summarise(out, root, manifest)


def _publish(
    out: Path,
    manifest: Manifest,
    documents: dict[str, bytes],
    workshop: Workshop,
    cards: Mapping[str, ModelCard],
) -> BundleRoot:
    with scratch(out.parent, f".{out.name}.partial-") as temporary:
        chunks = _write_blobs(temporary, manifest, workshop)
        _require_honest(manifest, workshop)  # now that every digest is known to be right
        notices = make_notices(manifest, cards, workshop.cache.path)
        pinned = {
            **documents,
            layout.BUNDLE_CHUNKS: chunks.canonical(),
            layout.BUNDLE_NOTICES: notices,
        }
        root = _root(manifest, pinned)
        _write_documents(temporary, {**pinned, layout.BUNDLE_ROOT: root.canonical()})
        temporary.chmod(0o755)
        if out.exists():
            shutil.rmtree(out)
        temporary.rename(out)
    fsync_directory(out.parent)
    return root


def _require_honest(manifest: Manifest, workshop: Workshop) -> None:
    workshop.progress.note("look into wheels, models and OS packages")
    problems = inspect_artifacts(manifest, workshop.cache.path)
    if problems:
        raise BundleError(
            f"{len(problems)} findings: artifacts of {manifest.release} are not what they claim",
            code="BAS-3070",
            hint="mend what is listed, then run the command again; no bundle was written",
            problems=tuple(problems),
        )


def make_manifest(lock: Lock) -> Manifest:
    """Return the manifest of a lock: its artifacts, sorted by kind and name."""
    artifacts = sorted((e.artifact for e in lock.entries), key=lambda a: (a.kind, a.name))
    return Manifest(
        release=lock.release, target=lock.target, lock=lock.digest(), artifacts=tuple(artifacts)
    )


def summarise(path: Path, root: BundleRoot, manifest: Manifest) -> BundleSummary:
    """Return the summary of a bundle at ``path``."""
    return BundleSummary(
        path=str(path),
        release=root.release,
        target=root.target,
        digest=root.digest(),
        lock=manifest.lock,
        artifacts=len(manifest.artifacts),
        blobs=root.blobs,
        size=root.blob_bytes,
    )


def _documents(lock: Lock, manifest: Manifest) -> dict[str, bytes]:
    return {
        layout.BUNDLE_MANIFEST: manifest.canonical(),
        layout.BUNDLE_LOCK: lock.canonical(),
        layout.BUNDLE_BOOTSTRAP: Path(__file__).with_name("bootstrap.py").read_bytes(),
        layout.BUNDLE_SBOM: _sbom(lock),
    }


def _sbom(lock: Lock) -> bytes:
    try:
        from bastide.bundle.sbom import make_sbom  # noqa: PLC0415 - only builders have the library
    except ImportError as error:
        raise BundleError(
            "cyclonedx-python-lib, which writes the bill of materials, is not installed",
            code="BAS-3071",
            hint="install Bastide with its builder extra: pip install 'bastide[builder]'",
        ) from error
    return make_sbom(lock, cards_in(lock))


def _root(manifest: Manifest, documents: dict[str, bytes]) -> BundleRoot:
    sizes = {artifact.sha256: artifact.size for artifact in manifest.artifacts}
    return BundleRoot(
        release=manifest.release,
        target=manifest.target,
        documents=tuple(
            RootEntry(path=path, size=len(content), sha256=hashlib.sha256(content).hexdigest())
            for path, content in sorted(documents.items())
        ),
        blobs=len(sizes),
        blob_bytes=sum(sizes.values()),
    )


def _is_there(out: Path, manifest: Manifest, documents: dict[str, bytes]) -> BundleRoot | None:
    """Return the root of ``out`` if that is this bundle; its blobs are for `verify` to check.

    The chunks' digests and the notices are taken from there: they follow from the blobs, which
    the manifest pins.
    """
    made_of_blobs = (layout.BUNDLE_CHUNKS, layout.BUNDLE_NOTICES)
    try:
        found = {name: (out / name).read_bytes() for name in made_of_blobs}
        existing = (out / layout.BUNDLE_ROOT).read_bytes()
    except OSError:
        return None
    root = _root(manifest, {**documents, **found})
    return root if existing == root.canonical() else None


def _require_free(out: Path, *, force: bool) -> None:
    if not out.exists():
        return
    is_bundle = (out / layout.BUNDLE_ROOT).is_file()
    if is_bundle and force:
        return
    if out.is_dir() and not any(out.iterdir()):
        out.rmdir()
        return
    what = "another bundle" if is_bundle else "something that is not a bundle"
    raise BundleError(
        f"{out} is there already and holds {what}",
        code="BAS-3036",
        hint="choose another folder" + (", or replace it with --force" if is_bundle else ""),
    )


def _write_blobs(folder: Path, manifest: Manifest, workshop: Workshop) -> Chunks:
    blobs = {artifact.sha256: artifact.filename for artifact in manifest.artifacts}
    total = sum({a.sha256: a.size for a in manifest.artifacts}.values())
    found = []
    with workshop.progress.task("write the bundle", total=total) as task:
        for sha256, filename in blobs.items():
            task.describe(filename)
            source, destination = workshop.cache.path(sha256), folder / layout.blob_path(sha256)
            found.append(_place(source, destination, sha256, task))
    return chunks_document(found)


def _write_documents(folder: Path, documents: dict[str, bytes]) -> None:
    for path, content in documents.items():
        with (folder / path).open("xb") as stream:
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
    for inner, _, _ in os.walk(folder):
        fsync_directory(Path(inner))


def _place(source: Path, destination: Path, sha256: str, task: Task) -> Digests:
    """Link or copy a blob out of the cache, and make sure that it is what its name says."""
    destination.parent.mkdir(parents=True, exist_ok=True)
    copy = None if _link(source, destination) else destination.open("xb")

    def keep(chunk: bytes) -> None:
        if copy:
            copy.write(chunk)
        task.advance(len(chunk))

    try:
        with source.open("rb") as blob:
            found = digest_stream(blob, keep)
        if copy:
            copy.flush()
            os.fsync(copy.fileno())
    finally:
        if copy:
            copy.close()
    if found.sha256 != sha256:
        source.unlink()
        raise BundleError(
            f"the cache's file {source} was damaged; it has been removed",
            code="BAS-3037",
            hint="run the command again: it fetches that file anew",
        )
    return found


def _link(source: Path, destination: Path) -> bool:
    try:
        destination.hardlink_to(source)
    except OSError:  # another file system, or one without hard links
        return False
    return True
