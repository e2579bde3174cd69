"""``bastide trust status, fingerprint``: who may sign, what waits, and what to read out."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from bastide.cli.output import reports, stdout
from bastide.cli.trust_context import open_publisher, reader, trust_option
from bastide.layout import Home
from bastide.trust.fingerprint import groups, words
from bastide.trust.state import Pin, load_state

if TYPE_CHECKING:
    from tuf.api.metadata import Root

    from bastide.trust.publisher import Publisher


@dataclass(frozen=True)
class Fingerprint:
    """A root's fingerprint in all its forms.

    Args:
        fingerprint: 64 hexadecimal digits.
        groups: The same in groups of four.
        words: The same as 24 words.
        root: Which root it is of.
        publisher: How that root names itself.
        source: Where the root was read.
    """

    fingerprint: str
    groups: str
    words: tuple[str, ...]
    root: int
    publisher: str
    source: str


@dataclass(frozen=True)
class RoleStatus:
    """A role: how many of which keys must sign."""

    role: str
    threshold: int
    keys: tuple[str, ...]


@dataclass(frozen=True)
class Draft:
    """Metadata that waits for signatures."""

    role: str
    version: int
    signed_by: tuple[str, ...]


@dataclass(frozen=True)
class PublisherStatus:
    """A publisher's trust folder."""

    folder: Path
    publisher: str
    development: bool
    root: int | None
    expires: datetime | None
    roles: tuple[RoleStatus, ...]
    drafts: tuple[Draft, ...]
    bundles: tuple[str, ...]
    signed_until: datetime | None


@dataclass(frozen=True)
class SiteStatus:
    """Whom this site trusts."""

    fingerprint: str
    root: int
    publisher: str
    pin: Pin
    accepted: dict[str, int]
    not_before: datetime | None


@dataclass(frozen=True)
class TrustStatus:
    """Both sides, as far as this machine has them."""

    publishes: PublisherStatus | None
    trusts: SiteStatus | None


def _show_fingerprint(result: Fingerprint) -> None:
    console = stdout()
    console.print(f"root {result.root} of {result.publisher!a}, {result.source}", markup=False)
    digits = result.groups.split()
    for start in range(0, 16, 4):
        console.print("  " + " ".join(digits[start : start + 4]), markup=False)
    for start in range(0, 24, 6):
        line = result.words[start : start + 6]
        console.print("  " + " ".join(f"{word:<10}" for word in line), markup=False)
    console.print(
        "Read it to the site by another way than the medium; there: bastide trust pin DIR",
        markup=False,
    )


def _show_plain(result: Fingerprint) -> None:
    if click.get_current_context().params.get("plain"):
        click.echo(result.fingerprint)
    else:
        _show_fingerprint(result)


def _show_status(result: TrustStatus) -> None:
    console = stdout()
    if (trusts := result.trusts) is not None:
        console.print(f"trusts     root {trusts.root} of {trusts.publisher!a}", markup=False)
        console.print(f"           {groups(trusts.fingerprint)}", markup=False)
        console.print(f"           pinned {trusts.pin.at:%Y-%m-%d} as root {trusts.pin.version}")
        seen = ", ".join(f"{role} {number}" for role, number in trusts.accepted.items())
        console.print(f"           accepted last: {seen or 'nothing yet'}", markup=False)
    if (own := result.publishes) is not None:
        kind = ", for development only" if own.development else ""
        console.print(f"publishes  as {own.publisher!a}{kind}, from {own.folder}", markup=False)
        state = f"root {own.root}, until {own.expires:%Y-%m-%d}" if own.root else "no root yet"
        console.print(f"           {state}", markup=False)
        for role in own.roles:
            text = f"{role.role:<10} {role.threshold} of {', '.join(role.keys)}"
            console.print(f"           {text}", markup=False)
        for bundle in own.bundles:
            console.print(f"           lists {bundle}", markup=False)
        for draft in own.drafts:
            by = ", ".join(draft.signed_by) or "nobody"
            text = f"waits      {draft.role} {draft.version}, signed by {by}: bastide trust export"
            console.print(text, markup=False)
    if trusts is None and own is None:
        console.print("This machine neither publishes nor trusts anybody.", markup=False)
        console.print("Next: bastide trust init, or on a site: bastide trust pin DIR", markup=False)


@click.command("fingerprint")
@click.argument("bundle", metavar="[DIR]", required=False,
                type=click.Path(path_type=Path, exists=True, file_okay=False))  # fmt: skip
@trust_option
@click.option("--plain", is_flag=True, help="Print the 64 digits and nothing else.")
@reports(_show_plain)
def fingerprint(bundle: Path | None, trust_dir: Path | None, *, plain: bool) -> Fingerprint:  # noqa: ARG001
    """Show the fingerprint of the publisher's newest root, as digits and as words.

    With DIR it is that of the root on a medium, which proves nothing until it is compared.
    """
    from bastide.trust.metadata import extra, fingerprint_of  # noqa: PLC0415 - loads tuf
    from bastide.trust.pinning import roots_of  # noqa: PLC0415

    if bundle is None:
        publisher = open_publisher(trust_dir)
        root, source = publisher.root().signed, f"from {publisher.folder}"
    else:
        root, source = roots_of(reader(bundle))[-1].signed, f"as {bundle} claims"
    found = fingerprint_of(root)
    name = str(extra(root).get("publisher", ""))[:80]
    return Fingerprint(found, groups(found), words(found), root.version, name, source)


@click.command("status")
@trust_option
@reports(_show_status)
def status(trust_dir: Path | None) -> TrustStatus:
    """Show whom this site trusts, and what this machine's trust folder holds and waits for."""
    publisher = open_publisher(trust_dir)
    if trust_dir is not None:
        publisher.settings()
    return TrustStatus(_own(publisher) if publisher.exists else None, _site())


def _site() -> SiteStatus | None:
    from tuf.api.metadata import Metadata  # noqa: PLC0415 - takes 0.15 s

    from bastide.trust.metadata import extra  # noqa: PLC0415

    state = load_state(Home.default().site_trust)
    if state is None:
        return None
    root: Any = Metadata.from_bytes(state.root.encode()).signed
    accepted = {}
    for role in ("timestamp", "snapshot", "targets"):
        data = state.stored(role)
        if data is not None:
            accepted[role] = Metadata.from_bytes(data).signed.version
    name = str(extra(root).get("publisher", ""))[:80]
    return SiteStatus(state.fingerprint, root.version, name, state.pin, accepted, state.floor)


def _own(publisher: Publisher) -> PublisherStatus:
    from tuf.api.metadata import Root, Snapshot, Targets, Timestamp  # noqa: PLC0415

    from bastide.trust.keys import owner_of  # noqa: PLC0415

    settings = publisher.settings()
    roots = publisher.roots()
    waiting = publisher.draft(Root)
    root = roots[-1].signed if roots else None
    shown = root or (waiting.signed if waiting else None)
    kinds: tuple[Any, ...] = (Root, Targets, Snapshot, Timestamp)
    drafts = []
    for metadata in filter(None, (publisher.draft(kind) for kind in kinds)):
        keys = waiting.signed.keys if waiting else {}
        keys = {**(root.keys if root else {}), **keys}
        by = tuple(f"{owner_of(keys[k])} {k[:8]}" for k in metadata.signatures if k in keys)
        drafts.append(Draft(metadata.signed.type, metadata.signed.version, by))
    targets, timestamp = publisher.targets(), publisher.timestamp()
    return PublisherStatus(
        folder=publisher.folder,
        publisher=settings.publisher,
        development=settings.development,
        root=root.version if root else None,
        expires=root.expires if root else None,
        roles=_roles(publisher, shown) if shown else (),
        drafts=tuple(drafts),
        bundles=tuple(sorted(targets.signed.targets)) if targets else (),
        signed_until=timestamp.signed.expires if timestamp else None,
    )


def _roles(publisher: Publisher, root: Root) -> tuple[RoleStatus, ...]:
    from bastide.trust.keys import owner_of  # noqa: PLC0415 - loads cryptography
    from bastide.trust.metadata import ROLES  # noqa: PLC0415

    found = []
    for role in ROLES:
        held = root.roles[role]
        keys = tuple(
            f"{owner_of(root.keys[keyid])} {keyid[:8]}"
            + (" (key is here)" if publisher.has_private(keyid) else "")
            for keyid in held.keyids
        )
        found.append(RoleStatus(role, held.threshold, keys))
    return tuple(found)
