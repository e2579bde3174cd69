"""Whether a bundle is the publisher's, from the bytes of its medium alone; decisions are pure.

Bytes, the site's state and the time go in; a verdict with the site's next state comes out. Nothing
is written here: the caller stores the new state once the bundle is in (``trust.state``).
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from datetime import datetime

from bastide.errors import TrustError
from bastide.schema.artifact import BundleRoot
from bastide.trust.chain import Roots, read_signed, unsigned, walk_roots
from bastide.trust.codes import NOT_LISTED, STALE
from bastide.trust.freshness import Freshness, freshness
from bastide.trust.metadata import extra, fingerprint_of, signed_at
from bastide.trust.names import ReadFile, metadata_names
from bastide.trust.ratchet import Authority, choose
from bastide.trust.state import SiteTrust
from bastide.trust.targets import find_target
from bastide.trust.verifier import Override, Proof, Trust, VerifiedRoot, parse_root


@dataclass(frozen=True)
class Policy:
    """What the operator accepts on the record, and what this site had before.

    Args:
        accept_stale: Reason for taking a bundle whose signatures have run out.
        accept_older: Reason for taking a bundle that the publisher has replaced or withdrawn.
        known: Digests of bundles that were imported here with their signatures proved.
    """

    accept_stale: str | None = None
    accept_older: str | None = None
    known: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Verdict:
    """A bundle that may be believed.

    Args:
        verified: Its root and what was proved.
        state: What the site trusts from now on, if the bundle comes in.
    """

    verified: VerifiedRoot
    state: SiteTrust


def judge(
    content: bytes, read: ReadFile, state: SiteTrust, now: datetime, policy: Policy
) -> Verdict:
    """Return the verdict on a bundle.

    Args:
        content: The bytes of its ``bundle.json``.
        read: Returns the bytes of another small file of it, None if it has none.
        state: What the site trusts.
        now: This machine's clock.
        policy: What the operator accepts on the record.

    Raises:
        BundleError: ``bundle.json`` cannot be read.
        TrustError: It can, but must not be believed; the code says why.
    """
    digest = hashlib.sha256(content).hexdigest()
    try:
        return _prove(content, digest, read, state, now, policy)
    except TrustError as error:
        if error.code == STALE or policy.accept_older is None:
            raise
        if digest not in policy.known:
            error.hint = (
                "--accept-older takes only bundles that this site has imported before, and it has "
                f"not had {digest[:16]}…; {error.hint}"
            )
            raise
        return _again(content, digest, read, state, policy.accept_older)


def _prove(
    content: bytes, digest: str, read: ReadFile, state: SiteTrust, now: datetime, policy: Policy
) -> Verdict:
    roots = walk_roots(state.root.encode(), read)
    if not roots.names:
        raise unsigned()
    medium = read_signed(roots.final.signed, read)
    authority = choose(state, roots.final.signed, medium)
    # Only bytes whose digest a signature reaches are parsed.
    listed = find_target(authority.signed.targets.signed, content, digest)
    if listed is None:
        raise _not_listed(authority, digest)
    root = parse_root(content)
    if (root.release, root.target) != listed:
        raise _wrong_target(root, listed)
    timestamp = authority.signed.timestamp.signed
    expiries = {"root": roots.final.signed.expires, **authority.signed.expiries()}
    fresh = freshness(expiries, signed_at(timestamp), authority.floor, now)
    overrides = _require_fresh(fresh, now, policy)
    trust = _trust(roots, authority, fresh, overrides)
    verified = VerifiedRoot(root, digest, trust, roots.names + medium.names)
    return Verdict(verified, _next_state(state, roots, authority, fresh))


def _not_listed(authority: Authority, digest: str) -> TrustError:
    if authority.older is not None:
        return authority.older
    return TrustError(
        f"the publisher's signed list does not name this bundle ({digest[:16]}…)",
        code=NOT_LISTED,
        hint="its signatures are of other bundles; ask the publisher for this bundle's metadata "
        "folder (bastide trust sign DIR makes it without a rebuild)",
    )


def _wrong_target(root: BundleRoot, listed: tuple[str, str]) -> TrustError:
    return TrustError(
        f"the bundle says that it is {root.release} for {root.target}, but was signed as "
        f"{listed[0]} for {listed[1]}",
        code=NOT_LISTED,
        hint="do not use it: tell the publisher",
    )


def _require_fresh(fresh: Freshness, now: datetime, policy: Policy) -> tuple[Override, ...]:
    if not fresh.expired:
        return ()
    if policy.accept_stale is not None:
        return (Override(what="stale", reason=policy.accept_stale),)
    age = "" if fresh.age_days is None else f"; it was signed {fresh.age_days} days ago"
    clock = f"by this machine's clock ({now:%Y-%m-%d})"
    if fresh.clock == "behind":
        clock = f"at the latest when this site last saw a signature; {clock[3:]} is behind that"
    raise TrustError(
        f"the signatures ran out on {fresh.expires:%Y-%m-%d} ({', '.join(fresh.expired)}){age}, "
        f"{clock}",
        code=STALE,
        hint="set the clock if it is wrong; else ask the publisher for fresh signatures (a few kB, "
        "no rebuild), or take it on the record: --accept-stale REASON",
    )


def _trust(
    roots: Roots, authority: Authority, fresh: Freshness, overrides: tuple[Override, ...]
) -> Trust:
    root, chosen = roots.final.signed, authority.signed
    about = extra(root)
    proof = Proof(
        root=root.version,
        fingerprint=fingerprint_of(root),
        publisher=str(about.get("publisher", ""))[:80],
        development=about.get("development") is True,
        signers={"root": roots.signers, **chosen.signers},
        versions={
            "timestamp": chosen.timestamp.signed.version,
            "snapshot": chosen.snapshot.signed.version,
            "targets": chosen.targets.signed.version,
        },
        signed_at=signed_at(chosen.timestamp.signed),
        expires=fresh.expires,
        age_days=fresh.age_days,
        clock=fresh.clock,
        authority="medium" if authority.is_medium else "site",
    )
    statement = _statement(proof, overrides)
    return Trust(scheme="tuf", signed=True, statement=statement, proof=proof, overrides=overrides)


def _statement(proof: Proof, overrides: tuple[Override, ...]) -> str:
    who = f"by {proof.publisher!a}" if proof.publisher else "by the pinned publisher"
    kind = ", a development root: not for production" if proof.development else ""
    when = f" on {proof.signed_at:%Y-%m-%d}" if proof.signed_at else ""
    age = (
        "its age is not known, because this machine's clock is behind"
        if proof.age_days is None
        else f"{proof.age_days} days old"
    )
    text = (
        f"signed {who} (root {proof.root}{kind}){when}, {age}, good until {proof.expires:%Y-%m-%d}"
    )
    accepted = "".join(f"; accepted although {each.what}: {each.reason!a}" for each in overrides)
    older = "; checked against newer signatures that this site had" * (proof.authority == "site")
    return text + older + accepted


def _next_state(
    state: SiteTrust, roots: Roots, authority: Authority, fresh: Freshness
) -> SiteTrust:
    data = authority.signed.data
    return state.replace(
        fingerprint=fingerprint_of(roots.final.signed),
        root=roots.data.decode(),
        timestamp=data["timestamp"].decode(),
        snapshot=data["snapshot"].decode(),
        targets=data["targets"].decode(),
        floor=fresh.floor,
    )


def _again(content: bytes, digest: str, read: ReadFile, state: SiteTrust, reason: str) -> Verdict:
    """Accept a bundle by the proof of its earlier import; what the site trusts stays as it is."""
    trust = Trust(
        scheme="imported-before",
        signed=True,
        statement="the publisher has replaced or withdrawn this bundle; its signatures were "
        f"proved when it was imported before, and it was taken again on purpose: {reason!a}",
        overrides=(Override(what="older", reason=reason),),
    )
    verified = VerifiedRoot(parse_root(content), digest, trust, metadata_names(read))
    return Verdict(verified, state)


@dataclass
class TufVerifier:
    """The store's verifier: proves a bundle's signatures and remembers the verdict.

    Args:
        state: What the site trusts.
        now: This machine's clock.
        policy: What the operator accepts on the record.
        verdict: Of the bundle that was verified last; to be stored after its import.
    """

    state: SiteTrust
    now: datetime
    policy: Policy = field(default_factory=Policy)
    verdict: Verdict | None = None

    def verify(self, content: bytes, read: ReadFile) -> VerifiedRoot:
        """Return the verified root; see ``judge``.

        Raises:
            BundleError: ``bundle.json`` cannot be read.
            TrustError: The bundle must not be believed.
        """
        self.verdict = judge(content, read, self.state, self.now, self.policy)
        return self.verdict.verified
