"""Signing bundles: the list of bundles, the TUF snapshot that pins it, the timestamp above both.

Nothing of a bundle is read but ``bundle.json``, and nothing is written but ``metadata/``: signing
never rebuilds. With several people or machines the work goes role by role: a draft waits until
enough keys have signed it (``trust.requests`` carries it to them and back).
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from tuf.api.metadata import Metadata, MetaFile, Root, Snapshot, Targets, Timestamp

from bastide.errors import BundleError
from bastide.host.files import fsync_directory, write_atomic
from bastide.layout import BUNDLE_METADATA, BUNDLE_ROOT
from bastide.schema.artifact import BundleRoot
from bastide.trust.metadata import FIELD, signed_at
from bastide.trust.publisher import Publisher, T
from bastide.trust.rootkeys import Signers
from bastide.trust.targets import find_target, make_target
from bastide.trust.verifier import NO_ROOT, parse_root

FRESH = timedelta(days=1)  # younger signatures are not made anew
ENOUGH = timedelta(days=30)  # what has less time left is made anew


@dataclass(frozen=True)
class Waiting:
    """A role that lacks signatures.

    Args:
        role: Which.
        have: Valid signatures so far.
        need: How many are needed.
        keys: Ids of the keys that have not signed.
    """

    role: str
    have: int
    need: int
    keys: tuple[str, ...]


@dataclass(frozen=True)
class Unsigned:
    """A bundle to be listed: its root document, parsed and as bytes."""

    folder: Path
    root: BundleRoot
    content: bytes


def read_bundle(folder: Path) -> Unsigned:
    """Return what signing needs of a bundle.

    Raises:
        BundleError: It has no readable ``bundle.json``.
    """
    try:
        content = (folder / BUNDLE_ROOT).read_bytes()
    except OSError as error:
        raise BundleError(
            f"{folder} is no bundle: {BUNDLE_ROOT} cannot be read: {error.strerror}",
            code=NO_ROOT,
            hint="name the folder that `bastide bundle build` wrote",
        ) from error
    return Unsigned(folder, parse_root(content), content)


def is_listed(targets: Targets | None, bundle: Unsigned) -> bool:
    """Return whether a list names a bundle."""
    if targets is None:
        return False
    return find_target(targets, bundle.content, bundle.root.digest()) is not None


def sign_bundles(
    publisher: Publisher, bundles: tuple[Unsigned, ...], signers: Signers, now: datetime,
    *, keep_earlier: bool = False,
) -> Waiting | None:  # fmt: skip
    """List bundles and sign all that this machine's keys can; return what waits for others.

    A bundle replaces those of the same release name and target, which sites refuse from then on.
    Bundles that are listed already get fresh signatures without a new list.

    Args:
        publisher: The trust folder; the caller holds its lock.
        bundles: To be listed.
        signers: This machine's keys.
        now: The time.
        keep_earlier: Leave earlier bundles of the same release name and target listed.

    Raises:
        TrustError: The root is not complete, or the folder is damaged.
    """
    root = publisher.root().signed
    current = publisher.targets()
    draft = publisher.draft(Targets)
    listed_all = current and all(is_listed(current.signed, each) for each in bundles)
    if listed_all and draft is None and _is_fresh(publisher, root, now):
        return None
    listed = draft or current
    if not all(is_listed(listed.signed if listed else None, bundle) for bundle in bundles):
        publisher.drop_draft("snapshot", "timestamp")
        publisher.save_draft(_list(publisher, bundles, now, keep_earlier=keep_earlier))
    elif draft is None and current and not _lasts(root, current, now):
        publisher.save_draft(_list(publisher, (), now, keep_earlier=True))
    return advance(publisher, signers, now)


def _is_fresh(publisher: Publisher, root: Root, now: datetime) -> bool:
    """Return whether everything was signed lately, with keys that the present root accepts."""
    timestamp, snapshot, targets = publisher.timestamp(), publisher.snapshot(), publisher.targets()
    if timestamp is None or snapshot is None or targets is None:
        return False
    if publisher.draft(Snapshot) is not None or publisher.draft(Timestamp) is not None:
        return False
    lasts = _lasts(root, timestamp, now) and _lasts(root, snapshot, now)
    at = signed_at(timestamp.signed)
    return lasts and _lasts(root, targets, now) and at is not None and abs(now - at) < FRESH


def _lasts(root: Root, metadata: Metadata[T], now: datetime) -> bool:
    """Return whether the present root's keys accept metadata, and will for a while yet."""
    return _believed(root, metadata) and metadata.signed.expires > now + ENOUGH


def _believed(root: Root, metadata: Metadata[T]) -> bool:
    role = metadata.signed.type
    return root.get_verification_result(role, metadata.signed_bytes, metadata.signatures).verified


def _list(
    publisher: Publisher, bundles: tuple[Unsigned, ...], now: datetime, *, keep_earlier: bool
) -> Metadata[Targets]:
    current = publisher.targets()
    draft = publisher.draft(Targets) or current
    listed = dict(draft.signed.targets) if draft else {}
    for bundle in bundles:
        stream = (bundle.root.release.rpartition("-")[0], bundle.root.target)
        if not keep_earlier:
            listed = {path: e for path, e in listed.items() if _stream(path) != stream}
        entry = make_target(bundle.root, bundle.content)
        listed[entry.path] = entry
    version = current.signed.version + 1 if current else 1
    expires = publisher.settings().expires("targets", now)
    return Metadata(Targets(version=version, expires=expires, targets=listed))


def _stream(path: str) -> tuple[str, str]:
    release, target, _ = path.split("/")
    return release.rpartition("-")[0], target


def advance(publisher: Publisher, signers: Signers, now: datetime) -> Waiting | None:
    """Sign what waits, role by role; publish all of it once the timestamp is signed.

    Returns:
        The role that lacks signatures of others; None if everything is published.
    """
    root = publisher.root().signed
    settings = publisher.settings()
    targets = publisher.draft(Targets) or publisher.targets()
    if targets is None:
        return None
    if waiting := _sign(publisher, root, targets, signers):
        return waiting
    pin = MetaFile.from_data(targets.signed.version, targets.to_bytes(), ["sha256"])
    snapshot = publisher.draft(Snapshot)
    if snapshot is None or snapshot.signed.meta != {"targets.json": pin}:
        had = publisher.snapshot()
        version = had.signed.version + 1 if had else 1
        expires = settings.expires("snapshot", now)
        snapshot = Metadata(Snapshot(version, None, expires, {"targets.json": pin}))
    if waiting := _sign(publisher, root, snapshot, signers):
        return waiting
    pin = MetaFile.from_data(snapshot.signed.version, snapshot.to_bytes(), ["sha256"])
    timestamp = publisher.draft(Timestamp)
    if timestamp is None or timestamp.signed.snapshot_meta != pin:
        above = publisher.timestamp()
        version = above.signed.version + 1 if above else 1
        expires = settings.expires("timestamp", now)
        said = {FIELD: {"signed": f"{now:%Y-%m-%dT%H:%M:%SZ}"}}
        timestamp = Metadata(Timestamp(version, None, expires, pin, said))
    if waiting := _sign(publisher, root, timestamp, signers):
        return waiting
    publisher.publish(targets)
    publisher.publish(snapshot)
    publisher.publish(timestamp)  # last: it is what makes the others count
    publisher.drop_draft("targets", "snapshot", "timestamp")
    return None


def _sign(
    publisher: Publisher, root: Root, metadata: Metadata[T], signers: Signers
) -> Waiting | None:
    role = metadata.signed.type
    if _believed(root, metadata):
        return None  # and no further signature is added: others pin these very bytes
    for keyid in root.roles[role].keyids:
        if keyid in signers and keyid not in metadata.signatures:
            metadata.sign(signers[keyid], append=True)
    result = root.get_verification_result(role, metadata.signed_bytes, metadata.signatures)
    publisher.save_draft(metadata)
    if result.verified:
        return None
    return Waiting(role, len(result.signed), result.threshold, tuple(sorted(result.unsigned)))


def attach(publisher: Publisher, bundle: Path) -> None:
    """Put the newest metadata into a bundle's folder, in place of what was there.

    The timestamp is written last: without it the bundle counts as unsigned, not as damaged.

    Raises:
        BundleError: The folder cannot be written.
    """
    files = publisher.bundle_files()
    folder = bundle / BUNDLE_METADATA
    try:
        folder.mkdir(exist_ok=True)
        for left in folder.iterdir():
            if f"{BUNDLE_METADATA}/{left.name}" not in files:
                left.unlink()
        for name, content in files.items():
            write_atomic(bundle / name, content)
        fsync_directory(bundle)
    except OSError as error:
        raise BundleError(
            f"the signatures cannot be written to {folder}: {error.strerror}",
            code="BAS-3038",
            hint="make the folder writable, then: bastide trust sign DIR",
        ) from error


def is_attached(publisher: Publisher, bundle: Path) -> bool:
    """Return whether a bundle's folder has exactly the newest metadata."""
    try:
        files = publisher.bundle_files()
        names = {f"{BUNDLE_METADATA}/{path.name}" for path in (bundle / BUNDLE_METADATA).iterdir()}
        return names == set(files) and all((bundle / n).read_bytes() == c for n, c in files.items())
    except OSError:
        return False
