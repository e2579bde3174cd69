"""The publisher's trust folder: keys, metadata, and drafts that wait for signatures.

```
settings.json            who publishes, for how long signatures of each role are good
keys/<id>.json  .pem     public keys known here; private keys of this machine, encrypted
metadata/                what goes with bundles: every root, timestamp, TUF snapshot, targets
draft/<role>.json        metadata that lacks signatures
passphrase               of a development folder only
```
"""

from __future__ import annotations

import json
import os
from contextlib import AbstractContextManager
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Literal, TypeVar

from pydantic import ValidationError
from securesystemslib.signer import CryptoSigner, SSlibKey
from tuf.api.metadata import Metadata, Root, Snapshot, Targets, Timestamp

from bastide.errors import BastideError, TrustError
from bastide.host.files import write_atomic
from bastide.host.lock import LockTaken, exclusive_lock
from bastide.layout import TIMESTAMP, metadata_path
from bastide.schema.base import Value
from bastide.trust.codes import NO_PUBLISHER, PUBLISHER_DAMAGED
from bastide.trust.keys import PrivateKey, seal, unseal
from bastide.trust.metadata import load, load_root
from bastide.trust.names import MAX_ROOTS

T = TypeVar("T", Root, Timestamp, Snapshot, Targets)
DAYS = {"root": 730, "targets": 365, "snapshot": 180, "timestamp": 180}


class Settings(Value):
    """Who publishes, and for how many days signatures of each role are good."""

    format: Literal["bastide.publisher/1"] = "bastide.publisher/1"
    publisher: str
    development: bool = False
    days: dict[str, int] = DAYS

    def expires(self, role: str, now: datetime) -> datetime:
        """Return when metadata of a role that is made now runs out."""
        return (now + timedelta(days=self.days[role])).replace(microsecond=0)


class Publisher:
    """The trust folder on one machine.

    Args:
        folder: Where it is.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def lock(self, purpose: str) -> AbstractContextManager[LockTaken]:
        """Hold the folder for writing; raises ``LockedError`` if another process does."""
        return exclusive_lock(self.folder / ".lock", purpose)

    @property
    def exists(self) -> bool:
        """Whether a root was begun or made here."""
        return (self.folder / "settings.json").is_file()

    @property
    def passphrase_file(self) -> Path:
        """The passphrase of a development folder."""
        return self.folder / "passphrase"

    def settings(self) -> Settings:
        """Return the folder's settings.

        Raises:
            TrustError: This is no publisher's folder, or the file is damaged.
        """
        if not self.exists:
            raise TrustError(
                f"there is no publisher's trust folder at {self.folder}",
                code=NO_PUBLISHER,
                hint="make one: bastide trust init; or name it: --trust DIR",
            )
        try:
            return Settings.model_validate_json((self.folder / "settings.json").read_bytes())
        except (OSError, ValidationError) as error:
            raise self._damaged("settings.json") from error

    def create(self, settings: Settings) -> None:
        """Write the settings of a new folder."""
        self._write("settings.json", settings.canonical())

    # --- keys ---
    def public_keys(self) -> dict[str, SSlibKey]:
        """Return the public keys whose files are here, by key id."""
        found = {}
        for path in sorted((self.folder / "keys").glob("*.json")):
            try:
                plain = json.loads(path.read_bytes())
                found[path.stem] = SSlibKey.from_dict(path.stem, plain)
            except (OSError, ValueError, KeyError, TypeError) as error:
                raise self._damaged(f"keys/{path.name}") from error
        return found

    def has_private(self, keyid: str) -> bool:
        """Return whether this machine holds the private half of a key."""
        return (self.folder / "keys" / f"{keyid}.pem").is_file()

    def add_public(self, key: SSlibKey) -> None:
        """Keep a public key."""
        self._write(f"keys/{key.keyid}.json", json.dumps(key.to_dict(), sort_keys=True).encode())

    def add_pair(self, private: PrivateKey, public: SSlibKey, passphrase: str) -> None:
        """Keep a key pair, the private half encrypted."""
        sealed = seal(private, passphrase)
        self._write(f"keys/{public.keyid}.pem", sealed, mode=0o600)
        self.add_public(public)

    def signers(self, passphrase: str) -> dict[str, CryptoSigner]:
        """Return the signers of all private keys of this machine, by key id.

        Raises:
            TrustError: The passphrase is wrong, or a file is damaged.
        """
        return {
            keyid: unseal((self.folder / "keys" / f"{keyid}.pem").read_bytes(), key, passphrase)
            for keyid, key in self.public_keys().items()
            if self.has_private(keyid)
        }

    # --- published metadata ---
    def roots(self) -> list[Metadata[Root]]:
        """Return all complete roots, the first one first."""
        found = []
        for version in range(1, MAX_ROOTS + 1):
            data = self._read(metadata_path("root", version))
            if data is None:
                break
            found.append(load_root(data, metadata_path("root", version)))
        return found

    def root(self) -> Metadata[Root]:
        """Return the newest complete root.

        Raises:
            TrustError: None is complete yet.
        """
        roots = self.roots()
        if not roots:
            self.settings()
            raise TrustError(
                f"the root of {self.folder} is not complete: signatures are missing",
                code=NO_PUBLISHER,
                hint="see who must still sign: bastide trust status",
            )
        return roots[-1]

    def timestamp(self) -> Metadata[Timestamp] | None:
        """Return the newest complete timestamp; None before the first bundle."""
        data = self._read(TIMESTAMP)
        return None if data is None else load(Timestamp, data, TIMESTAMP)

    def snapshot(self) -> Metadata[Snapshot] | None:
        """Return the TUF snapshot that the newest timestamp names."""
        timestamp = self.timestamp()
        if timestamp is None:
            return None
        name = metadata_path("snapshot", timestamp.signed.snapshot_meta.version)
        return load(Snapshot, self._require(name), name)

    def targets(self) -> Metadata[Targets] | None:
        """Return the list of bundles that the newest TUF snapshot names."""
        snapshot = self.snapshot()
        if snapshot is None:
            return None
        name = metadata_path("targets", snapshot.signed.meta["targets.json"].version)
        return load(Targets, self._require(name), name)

    def bundle_files(self) -> dict[str, bytes]:
        """Return the metadata files that go with a bundle: path in the bundle to bytes.

        Raises:
            TrustError: No bundle was signed yet, or a file is damaged.
        """
        timestamp, snapshot, targets = self.timestamp(), self.snapshot(), self.targets()
        if timestamp is None or snapshot is None or targets is None:
            raise self._damaged(TIMESTAMP)
        names = [metadata_path("root", root.signed.version) for root in self.roots()]
        names.append(metadata_path("targets", targets.signed.version))
        names.append(metadata_path("snapshot", snapshot.signed.version))
        return {name: self._require(name) for name in [*names, TIMESTAMP]}

    def publish(self, metadata: Metadata[T]) -> None:
        """Write complete metadata to its place."""
        signed = metadata.signed
        self._write(metadata_path(signed.type, signed.version), metadata.to_bytes())

    # --- drafts ---
    def draft(self, kind: type[T]) -> Metadata[T] | None:
        """Return the metadata of a role that lacks signatures, if there is any."""
        data = self._read(f"draft/{kind.type}.json")
        return None if data is None else load(kind, data, f"draft/{kind.type}.json")

    def save_draft(self, metadata: Metadata[Any]) -> None:
        """Keep metadata that lacks signatures."""
        self._write(f"draft/{metadata.signed.type}.json", metadata.to_bytes())

    def drop_draft(self, *roles: str) -> None:
        """Forget drafts; those that are not there are no mistake."""
        for role in roles:
            (self.folder / "draft" / f"{role}.json").unlink(missing_ok=True)

    # --- files ---
    def _read(self, name: str) -> bytes | None:
        try:
            return (self.folder / name).read_bytes()
        except FileNotFoundError:
            return None
        except OSError as error:
            raise self._damaged(name) from error

    def _require(self, name: str) -> bytes:
        data = self._read(name)
        if data is None:
            raise self._damaged(name)
        return data

    def _write(self, name: str, content: bytes, *, mode: int = 0o644) -> None:
        path = self.folder / name
        try:
            self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            path.parent.mkdir(exist_ok=True)
            write_atomic(path, content, mode=mode)
        except OSError as error:
            raise BastideError(
                f"{path} cannot be written: {os.strerror(error.errno or 0)}",
                code="BAS-1003",
                hint="make room or correct the folder's permissions, then run the command again",
            ) from error

    def write_passphrase(self, passphrase: str) -> None:
        """Keep the passphrase of a development folder, readable by its owner only."""
        self._write("passphrase", passphrase.encode() + b"\n", mode=0o600)

    def _damaged(self, name: str) -> TrustError:
        return TrustError(
            f"{self.folder / name} is missing or cannot be read",
            code=PUBLISHER_DAMAGED,
            hint="restore the trust folder from a backup",
        )
