"""First trust: the root of a medium becomes this site's, if its fingerprint is the one told."""

from __future__ import annotations

from datetime import datetime

from tuf.api.metadata import Metadata, Root

from bastide.errors import TrustError
from bastide.layout import metadata_path
from bastide.trust.chain import unsigned, walk_roots
from bastide.trust.codes import OTHER_FINGERPRINT, PINNED_ALREADY
from bastide.trust.fingerprint import groups
from bastide.trust.metadata import fingerprint_of, load_root, require_signed
from bastide.trust.names import MAX_ROOTS, ReadFile
from bastide.trust.state import Pin, SiteTrust


def roots_of(read: ReadFile) -> list[Metadata[Root]]:
    """Return the roots that a medium has, each signed by its own keys, the oldest first.

    Raises:
        TrustError: There is none, or one is malformed or not signed by its own keys.
    """
    found = []
    for version in range(1, MAX_ROOTS + 1):
        name = metadata_path("root", version)
        data = read(name)
        if data is None:
            break
        root = load_root(data, name)
        require_signed_by_itself(root, name)
        found.append(root)
    if not found:
        raise unsigned()
    return found


def require_signed_by_itself(root: Metadata[Root], name: str) -> None:
    """Return if enough of a root's own keys have signed it; others may have signed as well.

    Raises:
        TrustError: They have not.
    """
    result = root.signed.get_verification_result("root", root.signed_bytes, root.signatures)
    if not result.verified:
        require_signed(root, [root.signed], name)


def pin_root(
    read: ReadFile, typed: str, state: SiteTrust | None, now: datetime, replace: str | None
) -> SiteTrust:
    """Return what the site trusts after the ceremony.

    Args:
        read: Returns the bytes of a file of the medium.
        typed: The fingerprint that the operator was told, in hex.
        state: What the site has trusted so far.
        now: This machine's clock, for the record.
        replace: Reason for trusting another root than so far.

    Raises:
        TrustError: The medium has no root of that fingerprint, or the site trusts another one.
    """
    roots = roots_of(read)
    pinned = next((root for root in roots if fingerprint_of(root.signed) == typed), None)
    if pinned is None:
        # What the medium claims is not shown: it would only tempt to give it back as the answer.
        raise TrustError(
            f"none of the medium's {len(roots)} roots has the fingerprint that you were told: "
            f"{groups(typed)}",
            code=OTHER_FINGERPRINT,
            hint="do not use this medium; have the fingerprint read out again by the publisher",
        )
    final = walk_roots(pinned.to_bytes(), read).final
    reached = fingerprint_of(final.signed)
    if state is not None and state.fingerprint in {fingerprint_of(r.signed) for r in roots}:
        return state  # the same publisher: the chain leads on from what is trusted already
    if state is not None and replace is None:
        raise TrustError(
            f"this site trusts another root already: {groups(state.fingerprint)}",
            code=PINNED_ALREADY,
            hint="rotations need no new pin: they come with the bundles. If the publisher has "
            "really started anew: bastide trust pin DIR --replace REASON",
        )
    pin = Pin(
        fingerprint=typed,
        version=pinned.signed.version,
        at=now,
        replaces=state.fingerprint if state else None,
        reason=replace or "",
    )
    earlier = (*state.earlier, state.pin) if state else ()
    text = final.to_bytes().decode()
    return SiteTrust(pin=pin, fingerprint=reached, root=text, earlier=earlier)
