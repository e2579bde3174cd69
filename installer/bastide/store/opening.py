"""Opens a bundle: from ``bundle.json`` to the list of blobs that must be there, all checked.

Only the small documents are read here; blobs are compared by name and size. Everything that is
wrong is reported together.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path

from bastide.errors import BundleError, Problem
from bastide.layout import (
    BUNDLE_CHUNKS,
    BUNDLE_LOCK,
    BUNDLE_MANIFEST,
    BUNDLE_ROOT,
    DELTA,
    blob_path,
    patch_path,
)
from bastide.schema.artifact import Manifest, RootEntry
from bastide.schema.chunks import BlobChunks
from bastide.schema.delta import Delta
from bastide.store.agreement import (
    contradictory,
    label_of,
    read_chunks,
    read_manifest,
    require_agreement,
)
from bastide.store.delta_document import parse_delta
from bastide.store.local import IMPORT_RECORD
from bastide.store.tree import NOT_A_BUNDLE, Tree, scan
from bastide.trust.text import printable
from bastide.trust.verifier import RootVerifier, VerifiedRoot

INCOMPLETE = "BAS-3103"
COPY_AGAIN = "copy the named files again from the builder, then run the same command"
DOCUMENT_LIMIT = 32 * 2**20  # bytes; documents are read whole, so this bounds memory
DOCUMENT_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
RESERVED = {BUNDLE_ROOT, IMPORT_RECORD, DELTA, "sha256", "delta"}


@dataclass(frozen=True)
class Blob:
    """One blob that a bundle must hold.

    Args:
        sha256: Its digest, and so its name.
        size: In bytes.
        label: The artifacts it serves, for messages.
    """

    sha256: str
    size: int
    label: str

    @property
    def path(self) -> str:
        """Its path in a bundle."""
        return str(blob_path(self.sha256))


@dataclass(frozen=True)
class PatchFile:
    """A patch that a delta carries.

    Args:
        sha256: Digest of the patch itself.
        size: In bytes.
        label: What it makes, for messages.
        path: In the delta.
    """

    sha256: str
    size: int
    label: str
    path: str


@dataclass(frozen=True)
class OpenBundle:
    """A bundle whose documents are verified and whose blobs have the right names and sizes.

    Args:
        folder: Where it lies.
        verified: Its root, digest and trust.
        documents: File name to bytes: ``bundle.json`` and everything that it pins.
        manifest: Its artifacts.
        blobs: Its distinct blobs, sorted by digest.
        chunks: Digests of the chunks of its large blobs, by the blob's digest; none if it was
            built before there were any.
        delta: What of it lies here, if it travels as a delta.
    """

    folder: Path
    verified: VerifiedRoot
    documents: dict[str, bytes]
    manifest: Manifest
    blobs: tuple[Blob, ...]
    chunks: dict[str, BlobChunks]
    delta: Delta | None = None

    @property
    def carried(self) -> tuple[Blob, ...]:
        """The blobs that lie in the folder: all but in a delta."""
        if self.delta is None:
            return self.blobs
        carried = set(self.delta.carried)
        return tuple(blob for blob in self.blobs if blob.sha256 in carried)

    @property
    def files(self) -> tuple[Blob | PatchFile, ...]:
        """Blobs and patches that lie in the folder."""
        made = self.delta.rebuilt if self.delta else ()
        labels = {blob.sha256: blob.label for blob in self.blobs}
        return (
            *self.carried,
            *(
                PatchFile(
                    each.patch.sha256,
                    each.patch.size,
                    f"patch for {labels[each.blob.sha256]}",
                    patch_path(each.blob.sha256),
                )
                for each in made
            ),
        )


def open_bundle(folder: Path, verifier: RootVerifier) -> OpenBundle:
    """Return the bundle in ``folder``, refusing it whole if anything visible is wrong with it.

    Raises:
        BundleError: It is no bundle, or files are missing, damaged, too many or contradictory.
        TrustError: The verifier refuses its root.
    """
    tree = scan(folder)
    bundle = open_documents(tree, verifier)
    content = read_document(tree, DELTA)
    if content is not None:
        sizes = {blob.sha256: blob.size for blob in bundle.blobs}
        bundle = replace(bundle, delta=parse_delta(content, bundle.verified.digest, sizes))
    paths = [file.path for file in bundle.files] + [DELTA] * (content is not None)
    expected = {*bundle.documents, *bundle.verified.files, *paths}
    problems = [*tree.problems, *_sizes(tree, bundle.files), *tree.strangers(expected)]
    if problems:
        raise incomplete(folder, problems)
    return bundle


def open_documents(tree: Tree, verifier: RootVerifier) -> OpenBundle:
    """Return what the documents in a folder say, all of them checked; nothing else is looked at.

    Raises:
        BundleError: They are missing, damaged or contradictory.
        TrustError: The verifier refuses the root.
    """
    content = read_document(tree, BUNDLE_ROOT)
    if content is None:
        raise BundleError(
            f"{tree.folder} is no bundle: it has no readable {BUNDLE_ROOT}",
            code=NOT_A_BUNDLE,
            hint="name the folder that holds bundle.json",
        )
    verified = verifier.verify(content, lambda path: read_document(tree, path))
    documents = {BUNDLE_ROOT: content, **_documents(tree, verified)}
    manifest = read_manifest(tree.folder, documents[BUNDLE_MANIFEST])
    require_agreement(tree.folder, verified, manifest)
    chunks = read_chunks(tree.folder, documents.get(BUNDLE_CHUNKS), manifest)
    blobs = distinct_blobs(manifest)
    return OpenBundle(tree.folder, verified, documents, manifest, blobs, chunks)


def incomplete(folder: Path, problems: list[Problem]) -> BundleError:
    """Return the one error that names every bad file of a bundle."""
    count = f"{len(problems)} files are wrong" if len(problems) > 1 else "1 file is wrong"
    return BundleError(
        f"the bundle at {folder} is damaged or incomplete: {count}; nothing of it can be used",
        code=INCOMPLETE,
        hint=COPY_AGAIN,
        problems=tuple(problems),
    )


def distinct_blobs(manifest: Manifest) -> tuple[Blob, ...]:
    """Return the blobs behind a manifest's artifacts, each once, sorted by digest."""
    labels: dict[tuple[str, int], list[str]] = {}
    for artifact in manifest.artifacts:
        labels.setdefault((artifact.sha256, artifact.size), []).append(label_of(artifact))
    return tuple(
        Blob(sha256, size, ", ".join(names)) for (sha256, size), names in sorted(labels.items())
    )


def read_document(tree: Tree, path: str) -> bytes | None:
    """Return a small file of a bundle or volume; None if it is missing, too large, unreadable."""
    size = tree.files.get(path)
    if size is None or size > DOCUMENT_LIMIT:
        return None
    try:
        descriptor = os.open(tree.folder / path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        with os.fdopen(descriptor, "rb") as stream:
            return stream.read(DOCUMENT_LIMIT)
    except OSError:
        return None


def _documents(tree: Tree, verified: VerifiedRoot) -> dict[str, bytes]:
    entries = verified.root.documents
    _check_names(tree.folder, entries)
    found: dict[str, bytes] = {}
    problems: list[Problem] = []
    for entry in entries:
        content = read_document(tree, entry.path)
        problem = _document_problem(entry, tree.files.get(entry.path), content)
        if problem:
            problems.append(problem)
        elif content is not None:
            found[entry.path] = content
    if problems:
        # Without its documents nobody can say which other files belong to the bundle.
        raise incomplete(tree.folder, [*tree.problems, *problems])
    return found


def _check_names(folder: Path, entries: tuple[RootEntry, ...]) -> None:
    names = Counter(entry.path for entry in entries)
    problems = [
        Problem(BUNDLE_ROOT, f"pins {printable(name)!r}, which is no document's name")
        for name in names
        if name in RESERVED or not DOCUMENT_NAME.fullmatch(name)
    ]
    problems += [
        Problem(BUNDLE_ROOT, f"pins {printable(name)} {count} times")
        for name, count in names.items()
        if count > 1
    ]
    problems += [
        Problem(BUNDLE_ROOT, f"pins no {name}")
        for name in (BUNDLE_MANIFEST, BUNDLE_LOCK)
        if name not in names
    ]
    if problems:
        raise contradictory(folder, problems)


def _document_problem(entry: RootEntry, size: int | None, content: bytes | None) -> Problem | None:
    if size is None:
        return Problem(entry.path, f"is missing ({entry.size} bytes expected)")
    if size != entry.size:
        return Problem(entry.path, f"has {size} bytes, expected {entry.size}")
    if size > DOCUMENT_LIMIT:
        return Problem(entry.path, f"has {size} bytes; documents have at most {DOCUMENT_LIMIT}")
    if content is None:
        return Problem(entry.path, "cannot be read")
    digest = hashlib.sha256(content).hexdigest()
    if digest != entry.sha256:
        return Problem(entry.path, damage(digest, entry.sha256))
    return None


def damage(found: str, expected: str) -> str:
    """Return the words for bytes that are not the right ones."""
    return f"is damaged: its SHA-256 is {found}, expected {expected}"


def _sizes(tree: Tree, blobs: tuple[Blob | PatchFile, ...]) -> list[Problem]:
    problems = []
    for blob in blobs:
        size = tree.files.get(blob.path)
        if size is None:
            problems.append(Problem(blob.path, f"is missing: {blob.label}, {blob.size} bytes"))
        elif size != blob.size:
            what = f"has {size} bytes, expected {blob.size}: {blob.label}"
            problems.append(Problem(blob.path, what))
    return problems
