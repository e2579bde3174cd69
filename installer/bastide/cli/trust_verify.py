"""Which verifier an import or a check uses, and what is remembered after it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from bastide.errors import ConfigError, TrustError
from bastide.host.lock import exclusive_lock
from bastide.layout import Home
from bastide.store import Store
from bastide.trust.state import SiteTrust, load_state, require_state, save_state
from bastide.trust.verifier import DigestOnly, RootVerifier

if TYPE_CHECKING:
    from bastide.trust.client import TufVerifier

WRONG_DIGEST_OPTION = "BAS-2005"


@dataclass(frozen=True)
class Acceptance:
    """What the operator accepts on the record.

    Args:
        stale: Why signatures that ran out are good enough.
        older: Why a bundle that the publisher has replaced is taken again.
    """

    stale: str | None = None
    older: str | None = None


def parse_digest(text: str) -> str:
    """Return a bundle's digest as it was typed.

    Raises:
        ConfigError: It is no SHA-256.
    """
    digest = text.strip().lower().removeprefix("sha256:")
    if len(digest) != 64 or set(digest) - set("0123456789abcdef"):
        raise ConfigError(
            "--expect-digest wants a SHA-256: 64 hexadecimal digits",
            code=WRONG_DIGEST_OPTION,
            hint="`bastide bundle build` printed it as the bundle's digest",
        )
    return digest


@contextmanager
def import_verifier(
    bundle: Path, expect_digest: str | None, acceptance: Acceptance
) -> Iterator[RootVerifier]:
    """Provide the verifier of an import, and remember its verdict if the block succeeds.

    Raises:
        ConfigError: The digest is none.
        TrustError: No root is pinned, or the site's state is damaged.
        LockedError: Another import or ceremony is under way.
    """
    if expect_digest is not None:
        yield DigestOnly(parse_digest(expect_digest))
        return
    path = Home.default().site_trust
    require_state(path, bundle)
    with exclusive_lock(path.with_name("lock"), f"import of {bundle}"):
        verifier = _tuf(require_state(path, bundle), acceptance)
        yield verifier
        if verifier.verdict is not None and verifier.verdict.state != verifier.state:
            save_state(path, verifier.verdict.state)


def check_verifier(bundle: Path, expect_digest: str | None, acceptance: Acceptance) -> RootVerifier:
    """Return the verifier of a check, which remembers nothing.

    It believes the root that this site has pinned, else the root that this machine publishes by.

    Raises:
        ConfigError: The digest is none.
        TrustError: There is neither, or one is damaged.
    """
    if expect_digest is not None:
        return DigestOnly(parse_digest(expect_digest))
    home = Home.default()
    state = load_state(home.site_trust)
    if state is None and (home.publisher / "settings.json").is_file():
        state = _own_root(home.publisher)
    return _tuf(state or require_state(home.site_trust, bundle), acceptance)


def _own_root(folder: Path) -> SiteTrust:
    from bastide.trust.metadata import fingerprint_of  # noqa: PLC0415 - loads tuf
    from bastide.trust.publisher import Publisher  # noqa: PLC0415
    from bastide.trust.state import Pin  # noqa: PLC0415

    root = Publisher(folder).root()
    found = fingerprint_of(root.signed)
    pin = Pin(fingerprint=found, version=root.signed.version, at=datetime.now(UTC))
    return SiteTrust(pin=pin, fingerprint=found, root=root.to_bytes().decode())


def _tuf(state: SiteTrust, acceptance: Acceptance) -> TufVerifier:
    from bastide.trust.client import Policy, TufVerifier  # noqa: PLC0415 - takes 0.15 s

    known: frozenset[str] = frozenset()
    if acceptance.older is not None:
        bundles = Store(Home.default().store).bundles()
        known = frozenset(each.digest for each in bundles if each.trust.signed)
    for reason in (acceptance.stale, acceptance.older):
        if reason is not None and not reason.strip():
            raise TrustError(
                "an override is kept with its reason, and none was given",
                hint="say why, in a few words that an auditor will understand",
            )
    policy = Policy(accept_stale=acceptance.stale, accept_older=acceptance.older, known=known)
    return TufVerifier(state, datetime.now(UTC), policy)
