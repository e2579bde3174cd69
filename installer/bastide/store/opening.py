"""Opens a bundle: from ``bundle.json`` to the list of blobs that must be there, all checked.

Only the small documents are read here; blobs are compared by name and size. Everything that is
wrong is reported together.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from bastide.errors import BundleError, Problem
from bastide.layout import BUNDLE_LOCK, BUNDLE_MANIFEST, BUNDLE_ROOT, blob_path
from bastide.schema.artifact import Artifact, Manifest, RootEntry
from bastide.store.local import IMPORT_RECORD
from bastide.store.tree import NOT_A_BUNDLE, Tree, scan
from bastide.trust.text import printable
from bastide.trust.verifier import SIZE_LIMIT, RootVerifier, VerifiedRoot, field_problems

INCOMPLETE = "BAS-3103"
CONTRADICTION = "BAS-3104"
COPY_AGAIN = "copy the named files again from the builder, then run the same command"
DOCUMENT_LIMIT = 32 * 2**20  # bytes; documents are read whole, so this bounds memory
DOCUMENT_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
RESERVED = {BUNDLE_ROOT, IMPORT_RECORD, "sha256"}


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
class OpenBundle:
    """A bundle whose documents are verified and whose blobs have the right names and sizes.

    Args:
        folder: Where it lies.
        verified: Its root, digest and trust.
        documents: File name to bytes: ``bundle.json`` and everything that it pins.
        manifest: Its artifacts.
        blobs: Its distinct blobs, sorted by digest.
    """

    folder: Path
    verified: VerifiedRoot
    documents: dict[str, bytes]
    manifest: Manifest
    blobs: tuple[Blob, ...]


def open_bundle(folder: Path, verifier: RootVerifier) -> OpenBundle:
    """Return the bundle in ``folder``, refusing it whole if anything visible is wrong with it.

    Raises:
        BundleError: It is no bundle, or files are missing, damaged, too many or contradictory.
        TrustError: The verifier refuses its root.
    """
    tree = scan(folder)
    content = _read(tree, BUNDLE_ROOT)
    if content is None:
        raise BundleError(
            f"{folder} is no bundle: it has no readable {BUNDLE_ROOT}",
            code=NOT_A_BUNDLE,
            hint="name the folder that holds bundle.json",
        )
    verified = verifier.verify(content, lambda path: _read(tree, path))
    documents = {BUNDLE_ROOT: content, **_documents(tree, verified)}
    manifest = _manifest(folder, documents[BUNDLE_MANIFEST])
    _agree(folder, verified, manifest)
    blobs = distinct_blobs(manifest)
    expected = {*documents, *verified.files, *(blob.path for blob in blobs)}
    problems = [*tree.problems, *_sizes(tree, blobs), *tree.strangers(expected)]
    if problems:
        raise incomplete(folder, problems)
    return OpenBundle(folder, verified, documents, manifest, blobs)


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


def label_of(artifact: Artifact) -> str:
    """Return an artifact's name for people: ``model smollm2 (SmolLM2.gguf)``."""
    return f"{artifact.kind} {printable(artifact.name)} ({artifact.filename})"


def _read(tree: Tree, path: str) -> bytes | None:
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
        content = _read(tree, entry.path)
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
        raise _contradictory(folder, problems)


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


def _manifest(folder: Path, content: bytes) -> Manifest:
    try:
        return Manifest.model_validate_json(content)
    except ValidationError as error:
        raise BundleError(
            f"{BUNDLE_MANIFEST} of the bundle at {folder} is not one that this version reads",
            code=CONTRADICTION,
            hint="import it with the Bastide that the bundle carries",
            problems=field_problems(error),
        ) from error


def _agree(folder: Path, verified: VerifiedRoot, manifest: Manifest) -> None:
    """Refuse documents that are each well-formed but contradict each other."""
    root = verified.root
    sizes: dict[str, int] = {}
    problems: list[Problem] = []
    for artifact in manifest.artifacts:
        if artifact.size > SIZE_LIMIT:
            problems.append(Problem(label_of(artifact), "is larger than any file can be"))
        if sizes.setdefault(artifact.sha256, artifact.size) != artifact.size:
            problems.append(Problem(label_of(artifact), "has one digest but two sizes"))
    pins = {entry.path: entry.sha256 for entry in root.documents}
    files = Counter((artifact.kind, artifact.filename) for artifact in manifest.artifacts)
    problems += [
        Problem(f"{kind} {filename}", f"is listed {count} times")
        for (kind, filename), count in files.items()
        if count > 1
    ]
    problems += [
        Problem(what, f"{BUNDLE_ROOT} says {pinned}, {BUNDLE_MANIFEST} says {listed}")
        for what, pinned, listed in (
            ("release", root.release, manifest.release),
            ("target", root.target, manifest.target),
            ("lock", pins[BUNDLE_LOCK], manifest.lock),
            ("blobs", min(root.blobs, SIZE_LIMIT), len(sizes)),
            ("blob_bytes", min(root.blob_bytes, SIZE_LIMIT), min(sum(sizes.values()), SIZE_LIMIT)),
        )
        if pinned != listed
    ]
    if problems:
        raise _contradictory(folder, problems)


def _contradictory(folder: Path, problems: list[Problem]) -> BundleError:
    return BundleError(
        f"the documents of the bundle at {folder} contradict each other; it was not built right",
        code=CONTRADICTION,
        hint="build the bundle again; a copying error cannot cause this",
        problems=tuple(problems),
    )


def _sizes(tree: Tree, blobs: tuple[Blob, ...]) -> list[Problem]:
    problems = []
    for blob in blobs:
        size = tree.files.get(blob.path)
        if size is None:
            problems.append(Problem(blob.path, f"is missing: {blob.label}, {blob.size} bytes"))
        elif size != blob.size:
            what = f"has {size} bytes, expected {blob.size}: {blob.label}"
            problems.append(Problem(blob.path, what))
    return problems
