"""What the builder knows of a site: its receipt, whose key it is, and which old files are at hand.

A receipt lists digests. To make a patch the builder needs the old file itself, and to choose one it
needs its name; both come from bundles that were built here, or from a folder that holds an old one.
"""

from __future__ import annotations

import difflib
import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from bastide.errors import BundleError, TrustError
from bastide.host.files import write_atomic
from bastide.layout import BUNDLE_MANIFEST, BUNDLE_ROOT, blob_path
from bastide.progress import Progress
from bastide.schema.artifact import Artifact, BundleRoot, Manifest
from bastide.schema.delta import Since
from bastide.schema.receipt import AnyReceipt, Receipt, bundle_digests, fingerprint

UNKNOWN_BUNDLES = "BAS-3061"
OTHER_KEY = "BAS-4061"
LIKENESS = (
    0.6  # of two file names, by difflib; below it two files have nothing to do with each other
)
BASES = 2  # old files tried for one new one


@dataclass(frozen=True)
class KnownBundle:
    """A bundle of which the builder has the documents.

    Args:
        digest: Its digest.
        manifest: Its artifacts.
    """

    digest: str
    manifest: Manifest


@dataclass(frozen=True)
class Held:
    """What a site holds, as far as the builder can tell.

    Args:
        since: For whom, in the words of ``delta.json``.
        blobs: Digest to size of everything that it holds.
        names: Artifacts behind these digests that are known by name, the newest last.
        places: Folders with old files: the cache, and bundles.
    """

    since: Since
    blobs: dict[str, int]
    names: tuple[Artifact, ...]
    places: tuple[Path, ...]

    def find(self, sha256: str) -> Path | None:
        """Return a file that should have this digest; its reader checks."""
        for place in self.places:
            path = place / blob_path(sha256)
            if path.is_file() and path.stat().st_size == self.blobs.get(sha256):
                return path
        return None

    def bases(self, artifact: Artifact) -> list[tuple[str, Path]]:
        """Return old files that may have much in common with ``artifact``, the likeliest first."""
        ranked: dict[str, float] = {}
        for age, old in enumerate(self.names):
            if old.kind is artifact.kind and old.sha256 != artifact.sha256:
                likeness = _likeness(old, artifact)
                if likeness >= LIKENESS:
                    newer = age / (len(self.names) + 1) / 100  # decides between equal names
                    ranked[old.sha256] = likeness + newer
        best = sorted(ranked, key=lambda sha256: -ranked[sha256])
        found = [(sha256, path) for sha256 in best if (path := self.find(sha256))]
        return found[:BASES]


def _likeness(old: Artifact, new: Artifact) -> float:
    if old.name == new.name:
        return 1.0
    return difflib.SequenceMatcher(None, old.filename, new.filename).ratio()


def remember_bundle(folder: Path, cache: Path) -> None:
    """Keep the documents of a bundle that was built, for receipts that name it."""
    root = (folder / BUNDLE_ROOT).read_bytes()
    kept = cache / "bundles" / hashlib.sha256(root).hexdigest()
    if not (kept / BUNDLE_ROOT).is_file():
        kept.mkdir(parents=True, exist_ok=True)
        write_atomic(kept / BUNDLE_MANIFEST, (folder / BUNDLE_MANIFEST).read_bytes())
        write_atomic(kept / BUNDLE_ROOT, root)


def hold(receipt: AnyReceipt, cache: Path, bundles: Sequence[Path] = ()) -> Held:
    """Return what a site holds by its receipt.

    Args:
        receipt: With a right signature, of a site that is known.
        cache: The builder's cache.
        bundles: Folders of bundles that the site may have.

    Raises:
        BundleError: A compact receipt names only bundles that this builder does not know.
    """
    digests = bundle_digests(receipt)
    known = {found.digest: found for found in _known(digests, cache, bundles)}
    names = [a for digest in digests if digest in known for a in known[digest].manifest.artifacts]
    if isinstance(receipt, Receipt):
        blobs = {each.sha256: each.size for each in receipt.statement.blobs}
        said = receipt.statement
        site, issued_at = said.site, said.issued_at
    else:
        if not known:
            raise _unknown(digests)
        blobs = {artifact.sha256: artifact.size for artifact in names}
        site, issued_at = receipt.site, receipt.issued_at
    digest = hashlib.sha256(receipt.signed).hexdigest()
    return Held(
        since=Since(site=site, receipt=digest, issued_at=issued_at),
        blobs=blobs,
        names=tuple(artifact for artifact in names if artifact.sha256 in blobs),
        places=(cache, *bundles),
    )


def accept_key(receipt: AnyReceipt, known: Path, expected: str | None, progress: Progress) -> None:
    """Return if the receipt's key is the site's; remember it at the site's first receipt.

    Args:
        receipt: With a right signature.
        known: The file of keys by site.
        expected: Fingerprint that the operator gave; it replaces a remembered one.
        progress: Told when a key is seen for the first time.

    Raises:
        TrustError: The key is another than the expected or remembered one.
    """
    said = receipt.statement if isinstance(receipt, Receipt) else receipt
    found = fingerprint(receipt.key_bytes)
    keys = _keys(known)
    wanted = expected or keys.get(said.site)
    if wanted not in {None, found}:
        raise TrustError(
            f"the receipt of site {said.site!r} is signed by another key than before: its "
            f"fingerprint is {found}, expected {wanted}",
            code=OTHER_KEY,
            hint="ask that site's operator what `bastide receipt export` shows there; if it is "
            f"this key, give --receipt-key {found}",
        )
    if expected is None and wanted is None:
        progress.note(
            f"first receipt of site {said.site!r}: its key {found} is remembered; compare it with "
            "what `bastide receipt export` shows there"
        )
    if keys.get(said.site) != found:
        known.parent.mkdir(parents=True, exist_ok=True)
        write_atomic(known, json.dumps({**keys, said.site: found}, indent=1).encode(), mode=0o600)


def _keys(known: Path) -> dict[str, str]:
    try:
        content = json.loads(known.read_bytes())
    except FileNotFoundError:
        return {}
    except (OSError, ValueError):
        content = None
    if not isinstance(content, dict):
        raise TrustError(
            f"the remembered receipt keys cannot be read: {known}",
            code=OTHER_KEY,
            hint="move the file away, and give the site's fingerprint with --receipt-key",
        )
    return {str(site): str(key) for site, key in content.items()}


def _known(digests: Sequence[str], cache: Path, bundles: Sequence[Path]) -> Iterable[KnownBundle]:
    kept = [cache / "bundles" / digest for digest in digests]
    for folder in (*bundles, *kept):
        try:
            root = (folder / BUNDLE_ROOT).read_bytes()
            pins = {d.path: d.sha256 for d in BundleRoot.model_validate_json(root).documents}
            content = (folder / BUNDLE_MANIFEST).read_bytes()
            if hashlib.sha256(content).hexdigest() != pins.get(BUNDLE_MANIFEST):
                continue  # as good as unknown: its files travel whole
            manifest = Manifest.model_validate_json(content)
        except (OSError, ValidationError):
            continue
        yield KnownBundle(hashlib.sha256(root).hexdigest(), manifest)


def _unknown(digests: Sequence[str]) -> BundleError:
    named = ", ".join(digest[:16] for digest in digests) or "none"
    return BundleError(
        f"the receipt's QR form names bundles by digest ({named}), and this builder knows none",
        code=UNKNOWN_BUNDLES,
        hint="use the receipt's file, which lists every blob, or name a folder that holds one of "
        "these bundles: --base DIR",
    )
