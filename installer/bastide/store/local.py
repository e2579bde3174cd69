"""The store: blobs by their SHA-256, and a record of every bundle that was imported whole."""

from __future__ import annotations

import hashlib
import stat
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Literal

from pydantic import AwareDatetime, ValidationError

from bastide.errors import BundleError
from bastide.host.files import fsync_directory, write_atomic
from bastide.host.lock import LockTaken, exclusive_lock
from bastide.layout import BUNDLE_CHUNKS, BUNDLE_MANIFEST, BUNDLE_ROOT, blob_path
from bastide.schema.artifact import ArtifactKind, BundleRoot, Manifest
from bastide.schema.base import Sha256, Value
from bastide.schema.chunks import Chunks
from bastide.trust.verifier import Trust

DAMAGED = "BAS-3107"
NOTHING_THERE = "BAS-3108"
IMPORT_RECORD = "import.json"
AGAIN = "import its bundle again: bastide import DIR --recheck"


class ImportRecord(Value):
    """``import.json``: that, when and on what trust a bundle came in.

    The sequence number, not the clock, says which import is the newest: clocks jump.
    """

    format: Literal["bastide.import/1"] = "bastide.import/1"
    bundle: Sha256
    sequence: int
    imported_at: AwareDatetime
    trust: Trust


@dataclass(frozen=True)
class StoredBundle:
    """A bundle of which the store holds every byte.

    Args:
        digest: The bundle's digest.
        folder: Where its documents lie (``bundle.json``, ``manifest.json``, ``lock.json``, …).
        root: Its ``bundle.json``.
        manifest: Its artifacts; their bytes are ``Store.blob(artifact.sha256)``.
        imported_at: When it was last imported, by this machine's clock.
        sequence: Its place in the order of imports; the highest is the newest.
        trust: What was known about its origin at import.
    """

    digest: str
    folder: Path
    root: BundleRoot
    manifest: Manifest
    imported_at: datetime
    sequence: int
    trust: Trust


class Store:
    """Content-addressed blobs and the bundles made of them.

    Args:
        root: The store's folder; made by the first import.
    """

    def __init__(self, root: Path) -> None:
        self.root = root

    @property
    def incoming(self) -> Path:
        """Blobs that an import has not finished; never looked at by readers."""
        return self.root / "incoming"

    @property
    def bundles_folder(self) -> Path:
        """One folder a bundle, named by its digest."""
        return self.root / "bundles"

    def lock(self, purpose: str) -> AbstractContextManager[LockTaken]:
        """Hold the store for writing; raises ``LockedError`` if another process does."""
        return exclusive_lock(self.root / ".lock", purpose)

    def blob(self, sha256: str) -> Path:
        """Return where the blob of that digest lies, or would lie."""
        return self.root / blob_path(sha256)

    def has(self, sha256: str, size: int) -> bool:
        """Return whether the blob is there, as a plain file of ``size`` bytes.

        Blobs enter the store by one rename after their digest was checked and their bytes were
        synced, so presence and size suffice; ``import --recheck`` reads them again.
        """
        try:
            found = self.blob(sha256).lstat()
        except OSError:
            return False
        return stat.S_ISREG(found.st_mode) and found.st_size == size

    def bundles(self) -> tuple[StoredBundle, ...]:
        """Return the imported bundles, the oldest import first.

        Raises:
            BundleError: A record is damaged.
        """
        found = [self._read(folder) for folder in self._folders()]
        return tuple(sorted(found, key=lambda bundle: bundle.sequence))

    def latest(self, release: str | None = None, target: str | None = None) -> StoredBundle:
        """Return the bundle imported last, of that release and target if they are given.

        Raises:
            BundleError: There is none, or a record is damaged.
        """
        for bundle in reversed(self.bundles()):
            if release in {None, bundle.root.release} and target in {None, bundle.root.target}:
                return bundle
        wanted = " for ".join(part for part in (release, target) if part)
        raise BundleError(
            f"the store {self.root} holds no bundle{' of ' + wanted if wanted else ''}",
            code=NOTHING_THERE,
            hint="bring one in: bastide import DIR",
        )

    def read_chunks(self, bundle: StoredBundle) -> dict[str, tuple[str, ...]]:
        """Return the digests of the chunks of a bundle's large blobs, by the blob's digest.

        Bundles of early versions list none.

        Raises:
            BundleError: The store's copy is missing or damaged.
        """
        pins = {entry.path: entry.sha256 for entry in bundle.root.documents}
        if BUNDLE_CHUNKS not in pins:
            return {}
        path = bundle.folder / BUNDLE_CHUNKS
        content = self._read_checked(path, pins[BUNDLE_CHUNKS], BUNDLE_CHUNKS)
        try:
            chunks = Chunks.model_validate_json(content)
        except ValidationError as error:
            raise BundleError(
                f"the store's {path} cannot be read: {error}", code=DAMAGED, hint=AGAIN
            ) from error
        return {blob.sha256: blob.chunks for blob in chunks.blobs}

    def read_catalogue(self, manifest: Manifest, filename: str) -> bytes:
        """Return the checked bytes of a catalogue file that ``manifest`` lists.

        Raises:
            BundleError: It lists none of that name, or the store's copy is missing or damaged.
        """
        for artifact in manifest.of_kind(ArtifactKind.CATALOGUE):
            if artifact.filename == filename:
                return self._read_checked(self.blob(artifact.sha256), artifact.sha256, filename)
        raise BundleError(
            f"the bundle of release {manifest.release} carries no catalogue file {filename}",
            code=NOTHING_THERE,
            hint="build the bundle again with this version of Bastide",
        )

    def record(self, documents: dict[str, bytes], trust: Trust, now: datetime) -> None:
        """Make a bundle visible; the caller holds the lock and every blob is durable.

        Args:
            documents: File name to bytes, ``bundle.json`` among them.
            trust: What is known about its origin.
            now: The time of the import.
        """
        digest = hashlib.sha256(documents[BUNDLE_ROOT]).hexdigest()
        record = ImportRecord(
            bundle=digest, sequence=self._next_sequence(), imported_at=now, trust=trust
        )
        folder = self.bundles_folder / digest
        folder.mkdir(parents=True, exist_ok=True)
        for left in folder.glob(".*.tmp"):  # of an import that was killed right here
            left.unlink()
        for name, content in sorted(documents.items()):
            write_atomic(folder / name, content)
        # The import record comes last and makes the bundle visible.
        fsync_directory(self.bundles_folder)
        fsync_directory(self.root)
        write_atomic(folder / IMPORT_RECORD, record.canonical())

    def _folders(self) -> list[Path]:
        if not self.bundles_folder.is_dir():
            return []
        return sorted(f for f in self.bundles_folder.iterdir() if (f / IMPORT_RECORD).is_file())

    def _next_sequence(self) -> int:
        numbers = [0]
        for folder in self._folders():
            try:
                record = ImportRecord.model_validate_json((folder / IMPORT_RECORD).read_bytes())
            except (OSError, ValidationError):
                continue  # a damaged record is reported to readers; it must not stop its repair
            numbers.append(record.sequence)
        return max(numbers) + 1

    def _read(self, folder: Path) -> StoredBundle:
        try:
            content = self._read_checked(folder / BUNDLE_ROOT, folder.name, BUNDLE_ROOT)
            root = BundleRoot.model_validate_json(content)
            pins = {entry.path: entry.sha256 for entry in root.documents}
            listed = self._read_checked(
                folder / BUNDLE_MANIFEST, pins.get(BUNDLE_MANIFEST, ""), BUNDLE_MANIFEST
            )
            record = ImportRecord.model_validate_json((folder / IMPORT_RECORD).read_bytes())
            manifest = Manifest.model_validate_json(listed)
        except (OSError, ValidationError) as error:
            raise BundleError(
                f"the store's record {folder} cannot be read: {error}", code=DAMAGED, hint=AGAIN
            ) from error
        return StoredBundle(
            digest=folder.name,
            folder=folder,
            root=root,
            manifest=manifest,
            imported_at=record.imported_at,
            sequence=record.sequence,
            trust=record.trust,
        )

    def _read_checked(self, path: Path, sha256: str, name: str) -> bytes:
        try:
            content = path.read_bytes()
        except OSError as error:
            raise BundleError(
                f"the store has lost {name}: {path}: {error.strerror}", code=DAMAGED, hint=AGAIN
            ) from error
        found = hashlib.sha256(content).hexdigest()
        if found != sha256:
            raise BundleError(
                f"the store's copy of {name} is damaged: {path} has the SHA-256 {found}, "
                f"expected {sha256}",
                code=DAMAGED,
                hint=AGAIN,
            )
        return content
