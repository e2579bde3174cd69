"""From a trusted root to the list of targets, over the metadata of one medium; pure.

The client workflow of the TUF specification 1.0, sections 5.3 to 5.6, on python-tuf's data
types. python-tuf's own ``ngclient`` is not used: it opens a socket when it is loaded, and judges
expiry on the way, where a site without a clock needs a judgement at the end
(``docs/adr/0008-offline-verification.md``). A test holds both against each other.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from tuf.api.exceptions import LengthOrHashMismatchError
from tuf.api.metadata import Metadata, MetaFile, Root, Snapshot, Targets, Timestamp

from bastide.errors import TrustError
from bastide.layout import TIMESTAMP, metadata_path
from bastide.trust.codes import BAD_METADATA, INCONSISTENT, ROLLBACK, TOO_MUCH, UNSIGNED
from bastide.trust.metadata import (
    AGAIN,
    fingerprint_of,
    load,
    load_root,
    require_signed,
    require_size,
)
from bastide.trust.names import MAX_ROOTS, ReadFile


@dataclass(frozen=True)
class Roots:
    """The root that a medium leads to.

    Args:
        final: The newest root.
        data: Its bytes.
        signers: Ids of the keys that signed it.
        names: The root files that the medium has.
    """

    final: Metadata[Root]
    data: bytes
    signers: tuple[str, ...]
    names: tuple[str, ...]


@dataclass(frozen=True)
class Signed:
    """Timestamp, TUF snapshot and targets that belong together, with their bytes and signers."""

    timestamp: Metadata[Timestamp]
    snapshot: Metadata[Snapshot]
    targets: Metadata[Targets]
    data: dict[str, bytes]
    signers: dict[str, tuple[str, ...]]
    names: tuple[str, ...]

    def expiries(self) -> dict[str, datetime]:
        """Return when each role's metadata runs out."""
        return {
            "timestamp": self.timestamp.signed.expires,
            "snapshot": self.snapshot.signed.expires,
            "targets": self.targets.signed.expires,
        }


def walk_roots(trusted: bytes, read: ReadFile) -> Roots:
    """Return the newest root that the medium proves, from a trusted one on.

    Roots before the trusted one are held against it as well, if the medium has all up to it. A
    medium from before a rotation ends with an earlier root, of which nothing is believed.

    Raises:
        TrustError: A root is not signed by the one before, or the medium has another root of the
            trusted one's number.
    """
    anchor = load_root(trusted, "the trusted root")
    current, data, signers = anchor, trusted, tuple(sorted(anchor.signatures))
    previous: Metadata[Root] | None = None
    names: list[str] = []
    missing = ""
    for version in range(1, MAX_ROOTS + 1):
        name = metadata_path("root", version)
        found = read(name)
        if found is None:
            if version > anchor.signed.version:
                return Roots(current, data, signers, tuple(names))
            missing = name if names and not missing else missing
            continue
        if missing:  # nothing links the roots before the gap to those after it
            raise TrustError(f"{missing} is missing", code=INCONSISTENT, hint=AGAIN)
        root = _load_root(found, name, version, anchor.signed)
        above = current if version > anchor.signed.version else previous
        by = (above.signed, root.signed) if above else (root.signed,)
        proved = require_signed(root, by, name)
        if version >= anchor.signed.version:
            current, data, signers = root, found, proved
        previous = root
        names.append(name)
    raise TrustError(
        f"the medium has {MAX_ROOTS} roots or more; no publisher rotates that often",
        code=TOO_MUCH,
        hint=AGAIN,
    )


def _load_root(data: bytes, name: str, version: int, trusted: Root) -> Metadata[Root]:
    found = load_root(data, name)
    if found.signed.version != version:
        raise _bad(f"{name} says that it is root {found.signed.version}")
    if version == trusted.version and fingerprint_of(trusted) != fingerprint_of(found.signed):
        raise TrustError(
            f"{name} is another root {version} than the one that this site trusts: "
            "the medium is of another publisher, or the root was forged",
            code=ROLLBACK,
            hint="compare fingerprints with the publisher by another way than the medium; if the "
            "publisher has started anew: bastide trust pin DIR --replace REASON",
        )
    return found


def read_signed(root: Root, read: ReadFile) -> Signed:
    """Return the medium's metadata below ``root``, all of it consistent and signed.

    Whether it has expired or is older than what was seen before is not asked here.

    Raises:
        TrustError: Signatures are missing or wrong, or the files do not belong together.
    """
    found = read(TIMESTAMP)
    if found is None:
        raise unsigned()
    timestamp = load(Timestamp, found, TIMESTAMP)
    by_timestamp = require_signed(timestamp, [root], TIMESTAMP)
    pin = timestamp.signed.snapshot_meta
    snapshot_name, snapshot_data = _pinned("snapshot", pin, read)
    snapshot = load(Snapshot, snapshot_data, snapshot_name)
    by_snapshot = require_signed(snapshot, [root], snapshot_name)
    _require_version(snapshot.signed.version, pin, snapshot_name)
    if set(snapshot.signed.meta) != {"targets.json"}:
        raise _bad(f"{snapshot_name} does not list exactly targets.json")
    pin = snapshot.signed.meta["targets.json"]
    targets_name, targets_data = _pinned("targets", pin, read)
    targets = load(Targets, targets_data, targets_name)
    by_targets = require_signed(targets, [root], targets_name)
    _require_version(targets.signed.version, pin, targets_name)
    if targets.signed.delegations is not None:
        raise _bad(f"{targets_name} delegates to others, which bundles do not do")
    return Signed(
        timestamp,
        snapshot,
        targets,
        {"timestamp": found, "snapshot": snapshot_data, "targets": targets_data},
        {"timestamp": by_timestamp, "snapshot": by_snapshot, "targets": by_targets},
        (TIMESTAMP, snapshot_name, targets_name),
    )


def unsigned() -> TrustError:
    """Return the refusal of a bundle that carries no signatures."""
    return TrustError(
        f"this bundle is not signed: it has no {TIMESTAMP}",
        code=UNSIGNED,
        hint="the publisher signs it without a rebuild: bastide trust sign DIR; or, if you were "
        "told its digest by another way than the medium: --expect-digest SHA256",
    )


def _pinned(role: str, pin: MetaFile, read: ReadFile) -> tuple[str, bytes]:
    """Return name and bytes of the file that ``pin`` describes, its digest checked."""
    name = metadata_path(role, pin.version)
    if pin.length is None or not pin.hashes or "sha256" not in pin.hashes:
        raise _bad(f"{name} is not pinned by length and SHA-256")
    data = read(name)
    if data is None:
        raise TrustError(f"{name} is missing or cannot be read", code=INCONSISTENT, hint=AGAIN)
    require_size(role, data, name)
    try:
        pin.verify_length_and_hashes(data)
    except LengthOrHashMismatchError as error:
        raise TrustError(
            f"{name} is not the file that was signed together with the others",
            code=INCONSISTENT,
            hint=AGAIN,
        ) from error
    return name, data


def _require_version(version: int, pin: MetaFile, name: str) -> None:
    if version != pin.version:
        raise TrustError(
            f"{name} has the version {version} inside, expected {pin.version}",
            code=INCONSISTENT,
            hint=AGAIN,
        )


def _bad(what: str) -> TrustError:
    return TrustError(what, code=BAD_METADATA, hint=AGAIN)
