"""Whether the documents of a bundle, each of them the pinned one, say the same things."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from pydantic import ValidationError

from bastide.errors import BundleError, Problem
from bastide.layout import BUNDLE_CHUNKS, BUNDLE_LOCK, BUNDLE_MANIFEST, BUNDLE_ROOT
from bastide.schema.artifact import Artifact, Manifest
from bastide.schema.chunks import BlobChunks, Chunks
from bastide.trust.text import printable
from bastide.trust.verifier import SIZE_LIMIT, VerifiedRoot, field_problems

CONTRADICTION = "BAS-3104"


def label_of(artifact: Artifact) -> str:
    """Return an artifact's name for people: ``model smollm2 (SmolLM2.gguf)``."""
    return f"{artifact.kind} {printable(artifact.name)} ({artifact.filename})"


def read_manifest(folder: Path, content: bytes) -> Manifest:
    """Return the manifest that ``content`` spells.

    Raises:
        BundleError: This version does not read it.
    """
    try:
        return Manifest.model_validate_json(content)
    except ValidationError as error:
        raise BundleError(
            f"{BUNDLE_MANIFEST} of the bundle at {folder} is not one that this version reads",
            code=CONTRADICTION,
            hint="import it with the Bastide that the bundle carries",
            problems=field_problems(error),
        ) from error


def require_agreement(folder: Path, verified: VerifiedRoot, manifest: Manifest) -> None:
    """Refuse documents that are each well-formed but contradict each other.

    Raises:
        BundleError: They do; every contradiction is named.
    """
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
        raise contradictory(folder, problems)


def read_chunks(folder: Path, content: bytes | None, manifest: Manifest) -> dict[str, BlobChunks]:
    """Return the chunks of the bundle's large blobs, by digest; empty if it lists none.

    Raises:
        BundleError: ``chunks.json`` cannot be read, or does not fit the manifest.
    """
    if content is None:
        return {}
    try:
        chunks = Chunks.model_validate_json(content)
    except ValidationError as error:
        raise contradictory(folder, [*field_problems(error)]) from error
    sizes = {artifact.sha256: artifact.size for artifact in manifest.artifacts}
    mistakes = [Problem(BUNDLE_CHUNKS, what) for what in chunks.mistakes(sizes)]
    if mistakes:
        raise contradictory(folder, mistakes)
    return {blob.sha256: blob for blob in chunks.blobs}


def contradictory(folder: Path, problems: list[Problem]) -> BundleError:
    """Return the error for documents that no copying error explains."""
    return BundleError(
        f"the documents of the bundle at {folder} contradict each other; it was not built right",
        code=CONTRADICTION,
        hint="build the bundle again; a copying error cannot cause this",
        problems=tuple(problems),
    )
