"""A publisher in memory who signs whatever a test asks, and a site that judges it."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from securesystemslib.signer import CryptoSigner
from tuf.api.metadata import Metadata, MetaFile, Root, Snapshot, TargetFile, Targets, Timestamp

from bastide.schema.artifact import BundleRoot
from bastide.trust.client import Policy, Verdict, judge
from bastide.trust.metadata import FIELD, fingerprint_of
from bastide.trust.signing import Unsigned
from bastide.trust.state import Pin, SiteTrust
from bastide.trust.targets import make_target

NOW = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
NO_OVERRIDE = Policy()
ROLES = ("root", "targets", "snapshot", "timestamp")
Medium = dict[str, bytes]
Edit = Callable[[str, Any], None]


def bundle(
    release: str = "starter-2026.11.0", target: str = "debian12-x86_64", blobs: int = 0
) -> bytes:
    """Return the bytes of a ``bundle.json``."""
    root = BundleRoot(release=release, target=target, documents=(), blobs=blobs, blob_bytes=blobs)
    return root.canonical()


BUNDLE = bundle()
OLDER = bundle("starter-2026.10.0")
NEWER = bundle("starter-2026.12.0")
EVIL = bundle(blobs=666)


def nothing(role: str, signed: Any) -> None:
    """Change nothing."""


def ed25519() -> CryptoSigner:
    return CryptoSigner.generate_ed25519()


def p256() -> CryptoSigner:
    return CryptoSigner.generate_ecdsa()


def encoded(metadata: Metadata[Any], signers: Sequence[CryptoSigner]) -> bytes:
    """Sign and return as bytes."""
    for signer in signers:
        metadata.sign(signer, append=True)
    return metadata.to_bytes()


def entry(content: bytes) -> TargetFile:
    """Return the honest listing of a bundle."""
    return make_target(BundleRoot.model_validate_json(content), content)


@dataclass
class Repo:
    """A publisher: two of three root keys and both targets keys must sign.

    Args:
        keys: Role to its keys.
        need: Role to its threshold.
        roots: Version to the signed root's bytes.
    """

    keys: dict[str, list[CryptoSigner]] = field(
        default_factory=lambda: {
            "root": [ed25519(), p256(), ed25519()],
            "targets": [ed25519(), p256()],
            "snapshot": [ed25519()],
            "timestamp": [p256()],
        }
    )
    need: dict[str, int] = field(
        default_factory=lambda: {"root": 2, "targets": 2, "snapshot": 1, "timestamp": 1}
    )
    roots: dict[int, bytes] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.rotate()

    def make_root(self, version: int, life: timedelta = timedelta(days=730)) -> Metadata[Root]:
        """Return the unsigned root of the present keys."""
        about = {"publisher": "ACME", "development": False}
        root = Root(version=version, expires=NOW + life, unrecognized_fields={FIELD: about})
        for role, signers in self.keys.items():
            for signer in signers:
                root.add_key(signer.public_key, role)
            root.roles[role].threshold = self.need[role]
        return Metadata(root)

    def rotate(
        self,
        change: Callable[[Repo], None] = lambda _: None,
        *,
        life: timedelta = timedelta(days=730),
        signers: Sequence[CryptoSigner] | None = None,
    ) -> None:
        """Publish the next root after ``change``, signed by the old and the new root keys."""
        before = list(self.keys["root"])
        change(self)
        version = len(self.roots) + 1
        both = {s.public_key.keyid: s for s in (*before, *self.keys["root"])}
        if version == 1:
            both = {s.public_key.keyid: s for s in self.keys["root"]}
        chosen = list(both.values()) if signers is None else list(signers)
        self.roots[version] = encoded(self.make_root(version, life), chosen)

    def medium(
        self,
        *contents: bytes,
        version: int = 1,
        versions: dict[str, int] | None = None,
        signed: datetime = NOW,
        life: timedelta = timedelta(days=180),
        edit: Edit = nothing,
        by: Mapping[str, Sequence[CryptoSigner]] | None = None,
        listing: dict[str, TargetFile] | None = None,
    ) -> Medium:
        """Return the metadata folder of a medium.

        Args:
            contents: The bundles that the list names.
            version: Of all roles below the root, unless ``versions`` says otherwise.
            versions: Role to version.
            signed: When it says that it was signed.
            life: How long it is good after that.
            edit: Called with role and statement before that is signed.
            by: Role to those who sign it, instead of all of the role's keys.
            listing: The list of bundles, instead of the honest one.
        """
        number = dict.fromkeys(ROLES, version) | (versions or {})
        signers: dict[str, Sequence[CryptoSigner]] = {**self.keys, **(by or {})}
        end = (signed + life).replace(microsecond=0)
        listed = listing or {(e := entry(c)).path: e for c in contents}
        targets = Targets(number["targets"], None, end, listed)
        edit("targets", targets)
        data = {"targets": encoded(Metadata(targets), signers["targets"])}
        pin = MetaFile.from_data(number["targets"], data["targets"], ["sha256"])
        snapshot = Snapshot(number["snapshot"], None, end, {"targets.json": pin})
        edit("snapshot", snapshot)
        data["snapshot"] = encoded(Metadata(snapshot), signers["snapshot"])
        pin = MetaFile.from_data(number["snapshot"], data["snapshot"], ["sha256"])
        said = {FIELD: {"signed": f"{signed:%Y-%m-%dT%H:%M:%SZ}"}}
        timestamp = Timestamp(number["timestamp"], None, end, pin, said)
        edit("timestamp", timestamp)
        return {
            **{f"metadata/{n}.root.json": root for n, root in self.roots.items()},
            f"metadata/{number['targets']}.targets.json": data["targets"],
            f"metadata/{number['snapshot']}.snapshot.json": data["snapshot"],
            "metadata/timestamp.json": encoded(Metadata(timestamp), signers["timestamp"]),
        }

    def site(self, version: int = 1) -> SiteTrust:
        """Return a site that has pinned a root and seen nothing yet."""
        root: Root = Metadata[Root].from_bytes(self.roots[version]).signed
        found = fingerprint_of(root)
        pin = Pin(fingerprint=found, version=version, at=NOW)
        return SiteTrust(pin=pin, fingerprint=found, root=self.roots[version].decode())


@dataclass(frozen=True)
class Trial:
    """What a site is shown.

    Args:
        medium: The metadata folder.
        state: What the site trusts.
        content: The bytes of ``bundle.json``.
        now: The site's clock.
        policy: What its operator accepts.
    """

    medium: Medium
    state: SiteTrust
    content: bytes = BUNDLE
    now: datetime = NOW
    policy: Policy = NO_OVERRIDE

    def judge(self) -> Verdict:
        """Return the verdict; raises what it raises."""
        return judge(self.content, self.medium.get, self.state, self.now, self.policy)


def seen(
    repo: Repo, medium: Medium, content: bytes = BUNDLE, state: SiteTrust | None = None
) -> SiteTrust:
    """Return what a site trusts after it has accepted a medium."""
    return Trial(medium, state or repo.site(), content).judge().state


def digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def listed(folder: Any, content: bytes) -> Unsigned:
    return Unsigned(folder, BundleRoot.model_validate_json(content), content)
