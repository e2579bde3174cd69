"""Which list of bundles counts: the medium's, or a newer one that the site has already; pure.

Only ever forward, as long as the keys stay: what was accepted last is kept, and nothing older is
believed again (TUF 5.4.3, 5.5.5). Metadata whose keys the present root no longer accepts is
dropped, so that a publisher whose key was used to sign enormous version numbers recovers by
rotating that key (TUF 5.3.11, fast-forward attack); media signed with that key are refused then.

A medium that is older than what the site knows is no attack by itself: sticks arrive in any
order. Its bundle is looked up in the newer list. What the publisher has replaced or withdrawn is
not in it.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import TypeVar

from tuf.api.metadata import Metadata, Root, Snapshot, Targets, Timestamp

from bastide.errors import TrustError
from bastide.trust.chain import Signed
from bastide.trust.codes import ROLLBACK
from bastide.trust.metadata import load
from bastide.trust.state import SiteTrust

T = TypeVar("T", Timestamp, Snapshot, Targets)
NEWER = (
    "take the publisher's newest medium; or replace this one's metadata folder by its, if the "
    "publisher still lists this bundle; a bundle that was imported here before can be taken again "
    "on the record: --accept-older REASON"
)


@dataclass(frozen=True)
class Authority:
    """The list of bundles that counts.

    Args:
        signed: Its metadata.
        is_medium: Whether it is the medium's own.
        floor: The latest time known to have passed, from what is still believed.
        older: What to say of a bundle that is not in it, if the medium is older than the site.
    """

    signed: Signed
    is_medium: bool
    floor: datetime | None
    older: TrustError | None = None


@dataclass(frozen=True)
class _Kept:
    """What the site accepted last and the present root still vouches for."""

    timestamp: Metadata[Timestamp] | None
    snapshot: Metadata[Snapshot] | None
    targets: Metadata[Targets] | None
    signers: dict[str, tuple[str, ...]]


def choose(state: SiteTrust, root: Root, medium: Signed) -> Authority:
    """Return the list that counts for a medium whose metadata is consistent and signed.

    Raises:
        TrustError: The medium takes back something that the site has accepted.
    """
    kept = _kept(state, root)
    if kept.timestamp is None or kept.snapshot is None:
        _require_forward("targets", kept.targets, medium.targets)
        return Authority(medium, is_medium=True, floor=None)
    had, has = kept.timestamp.signed, medium.timestamp.signed
    if has.version > had.version:
        if has.snapshot_meta.version < had.snapshot_meta.version:
            raise _backwards("snapshot", has.snapshot_meta.version, had.snapshot_meta.version)
        listed = kept.snapshot.signed.meta["targets.json"].version
        if medium.targets.signed.version < listed:
            raise _backwards("targets", medium.targets.signed.version, listed)
        _require_forward("targets", kept.targets, medium.targets)
        return Authority(medium, is_medium=True, floor=state.floor)
    if has == had:
        return Authority(medium, is_medium=True, floor=state.floor)
    older = _backwards("timestamp", has.version, had.version)
    if kept.targets is None:
        raise older
    return Authority(_stored(state, kept), is_medium=False, floor=state.floor, older=older)


def _stored(state: SiteTrust, kept: _Kept) -> Signed:
    if kept.timestamp is None or kept.snapshot is None or kept.targets is None:
        raise ValueError("only whole sets are an authority")
    data = {role: state.stored(role) or b"" for role in ("timestamp", "snapshot", "targets")}
    return Signed(kept.timestamp, kept.snapshot, kept.targets, data, kept.signers, ())


def _kept(state: SiteTrust, root: Root) -> _Kept:
    signers: dict[str, tuple[str, ...]] = {}
    timestamp = _still_believed(Timestamp, state, root, signers)
    snapshot = _still_believed(Snapshot, state, root, signers)
    targets = _still_believed(Targets, state, root, signers)
    if timestamp is None or snapshot is None:  # both, as TUF 5.3.11 has it
        timestamp, snapshot = None, None
    return _Kept(timestamp, snapshot, targets, signers)


def _still_believed(
    kind: type[T], state: SiteTrust, root: Root, signers: dict[str, tuple[str, ...]]
) -> Metadata[T] | None:
    """Return what was accepted of a role, if the present root's keys would accept it again.

    Superfluous signatures are ignored here: a key that was revoked meanwhile may have been one.
    """
    data = state.stored(kind.type)
    if data is None:
        return None
    metadata: Metadata[T] = load(kind, data, f"the stored {kind.type}")
    result = root.get_verification_result(kind.type, metadata.signed_bytes, metadata.signatures)
    signers[kind.type] = tuple(sorted(result.signed))
    return metadata if result.verified else None


def _require_forward(role: str, had: Metadata[Targets] | None, has: Metadata[Targets]) -> None:
    if had is not None and has.signed.version < had.signed.version:
        raise _backwards(role, has.signed.version, had.signed.version)


def _backwards(role: str, found: int, accepted: int) -> TrustError:
    relation = "is another one than" if found == accepted else "is older than"
    return TrustError(
        f"the medium's {role} metadata (number {found}) {relation} what this site has accepted "
        f"already (number {accepted}), and the publisher's newer list does not name this bundle",
        code=ROLLBACK,
        hint=NEWER,
    )
