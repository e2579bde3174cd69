"""``bastide trust new-key, add-key, rotate, revoke``: changes of who may sign what."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import click

from bastide.cli.output import reports, stdout
from bastide.cli.recording import recorded
from bastide.cli.trust_context import (
    Secret,
    open_publisher,
    passphrase_option,
    trust_option,
    unlock,
)
from bastide.errors import TrustError
from bastide.trust.codes import WRONG_KEYS

if TYPE_CHECKING:
    from securesystemslib.signer import SSlibKey
    from tuf.api.metadata import Root

    from bastide.trust.keys import Algorithm
    from bastide.trust.publisher import Publisher

ROLE_NAMES = ("root", "targets", "snapshot", "timestamp")


@dataclass(frozen=True)
class RootChange:
    """What became of a change of the keys.

    Args:
        folder: The trust folder.
        version: The root that was made or is being made.
        in_force: Whether enough keys have signed it.
        says: What it says, line by line.
        next: What to do next.
    """

    folder: Path
    version: int
    in_force: bool
    says: tuple[str, ...]
    next: str


@dataclass(frozen=True)
class NewKey:
    """A key pair that was made on this machine."""

    key: str
    owner: str
    public_file: Path


def about_root(result: RootChange) -> dict[str, str]:
    """Return what the ledger says of a change of the keys."""
    return {"root": str(result.version), "in_force": "yes" if result.in_force else "not yet"}


def show_change(result: RootChange) -> None:
    """Print what a root says and what to do next."""
    console = stdout()
    for line in result.says:
        console.print(line, markup=False)
    state = "is in force" if result.in_force else "waits for signatures"
    console.print(f"root {result.version} in {result.folder} {state}", markup=False)
    console.print(f"Next: {result.next}", markup=False)


def _show_key(result: NewKey) -> None:
    stdout().print(f"key {result.key} of {result.owner}", markup=False)
    stdout().print(
        f"Next: give {result.public_file} to the publisher, who runs: "
        "bastide trust add-key --public FILE --role ROLE; read the key's first digits out to each "
        "other",
        markup=False,
    )


def _thresholds(_: click.Context, __: click.Parameter, values: tuple[str, ...]) -> dict[str, int]:
    found = {}
    for value in values:
        role, number = value.partition("=")[::2]
        if role not in ROLE_NAMES or not number.isascii() or not number.isdigit() or number == "0":
            raise click.BadParameter(
                f"{value!r} is not like root=2; roles: {', '.join(ROLE_NAMES)}"
            )
        found[role] = int(number)
    return found


threshold_option = click.option(
    "--threshold", "thresholds", metavar="ROLE=M", multiple=True, callback=_thresholds,
    help="How many keys of a role must sign (default 1), such as root=2.",
)  # fmt: skip
algorithm_option = click.option(
    "--algorithm", type=click.Choice(["ed25519", "ecdsa-p256"]), default="ed25519",
    show_default=True, help="Kind of new keys; ecdsa-p256 where only FIPS algorithms may be used.",
)  # fmt: skip
owner_option = click.option("--owner", metavar="NAME", help="Whose the new key is; shown to those "
                            "who sign and to sites.")  # fmt: skip
role_option = click.option(
    "--role", "roles", type=click.Choice(ROLE_NAMES), multiple=True,
    help="Role of the key; may be given several times.",
)  # fmt: skip


@click.command("new-key")
@trust_option
@click.option("--owner", metavar="NAME", required=True, help="Whose the new key is.")
@algorithm_option
@passphrase_option
@reports(_show_key)
@recorded("trust new-key", lambda result: {"key": result.key, "owner": result.owner})
def new_key(
    trust_dir: Path | None, owner: str, algorithm: str, passphrase_file: Path | None
) -> NewKey:
    """Make a key on this machine, for a role in somebody else's root.

    The private key stays here, encrypted. Give the public file to the publisher.
    """
    from bastide.trust.keys import Algorithm  # noqa: PLC0415 - loads cryptography

    publisher = open_publisher(trust_dir)
    public = _generate(publisher, Algorithm(algorithm), owner, Secret(passphrase_file))
    return NewKey(public.keyid, owner, publisher.folder / "keys" / f"{public.keyid}.json")


@click.command("add-key")
@trust_option
@click.option("--public", "public_file", metavar="FILE",
              type=click.Path(path_type=Path, exists=True, dir_okay=False),
              help="Another person's public key; without it a new key is made here.")  # fmt: skip
@owner_option
@algorithm_option
@role_option
@threshold_option
@passphrase_option
@reports(show_change)
@recorded("trust add-key", about_root)
def add_key(  # noqa: PLR0913, PLR0917 - each is an option
    trust_dir: Path | None,
    public_file: Path | None,
    owner: str | None,
    algorithm: str,
    roles: tuple[str, ...],
    thresholds: dict[str, int],
    passphrase_file: Path | None,
) -> RootChange:
    """Give a key a role, in the next root.

    The present root stays in force until enough of its keys, and of the next one's, have signed.
    """
    from bastide.trust.keys import Algorithm  # noqa: PLC0415 - loads cryptography

    publisher, secret = open_publisher(trust_dir), Secret(passphrase_file)
    publisher.settings()
    if not roles and not thresholds:
        raise click.UsageError("give --role (which key) or --threshold (how many must sign)")
    key = None
    if public_file is not None:
        key = _load_public(public_file)
        publisher.add_public(key)
    elif roles:
        key = _generate(publisher, Algorithm(algorithm), owner or "owner", secret)

    def change(root: Root) -> None:
        from bastide.trust.rootkeys import set_thresholds  # noqa: PLC0415 - loads tuf

        for role in roles:
            if key is not None:
                root.add_key(key, role)
        set_thresholds(root, thresholds)

    return _amend(publisher, change, secret)


@click.command("rotate")
@trust_option
@click.argument("key")
@algorithm_option
@passphrase_option
@reports(show_change)
@recorded("trust rotate", about_root)
def rotate(
    trust_dir: Path | None, key: str, algorithm: str, passphrase_file: Path | None
) -> RootChange:
    """Replace KEY by a new one in all its roles, in the next root.

    KEY is a key id or its first digits. The new key is made on this machine and has the same owner.
    Sites learn of it from the next bundle that you sign.
    """
    from bastide.trust.keys import Algorithm, owner_of  # noqa: PLC0415 - loads cryptography
    from bastide.trust.rootkeys import find_key, remove_key  # noqa: PLC0415 - loads tuf

    publisher, secret = open_publisher(trust_dir), Secret(passphrase_file)
    present = publisher.root().signed
    old = find_key(present, key)
    new = _generate(publisher, Algorithm(algorithm), owner_of(present.keys[old]), secret)

    def change(root: Root) -> None:
        roles = [role for role in ROLE_NAMES if old in root.roles[role].keyids]
        remove_key(root, old)
        for role in roles:
            root.add_key(new, role)

    return _amend(publisher, change, secret)


@click.command("revoke")
@trust_option
@click.argument("key")
@threshold_option
@passphrase_option
@reports(show_change)
@recorded("trust revoke", about_root)
def revoke(
    trust_dir: Path | None, key: str, thresholds: dict[str, int], passphrase_file: Path | None
) -> RootChange:
    """Take KEY out of every role, in the next root.

    Sites refuse its signatures as soon as they have seen a bundle that you signed afterwards.
    Bundles that sites have imported already stay as they are.
    """
    from bastide.trust.rootkeys import find_key, remove_key, set_thresholds  # noqa: PLC0415

    publisher = open_publisher(trust_dir)
    old = find_key(publisher.root().signed, key)

    def change(root: Root) -> None:
        remove_key(root, old)
        set_thresholds(root, thresholds)

    return _amend(publisher, change, Secret(passphrase_file))


def _generate(publisher: Publisher, algorithm: Algorithm, owner: str, secret: Secret) -> SSlibKey:
    from bastide.trust.keys import generate  # noqa: PLC0415 - loads cryptography

    first = not any(publisher.has_private(keyid) for keyid in publisher.public_keys())
    passphrase = secret.read(publisher, new=first)
    if not first:
        publisher.signers(passphrase)  # all keys of a machine share one passphrase
    private, public = generate(algorithm, owner)
    publisher.add_pair(private, public, passphrase)
    return public


def _load_public(path: Path) -> SSlibKey:
    from securesystemslib.signer import SSlibKey  # noqa: PLC0415 - loads cryptography

    from bastide.trust.metadata import key_id, public_bytes  # noqa: PLC0415

    try:
        key = SSlibKey.from_dict("", json.loads(path.read_bytes()))
        key.keyid = key_id(key)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise TrustError(
            f"{path} is no public key",
            code=WRONG_KEYS,
            hint="it is the keys/….json file that `bastide trust new-key` wrote",
        ) from error
    public_bytes(key, str(path))
    return key


def _amend(publisher: Publisher, change: Callable[[Root], None], secret: Secret) -> RootChange:
    from bastide.trust.rootkeys import amend  # noqa: PLC0415 - loads tuf

    with publisher.lock("change of keys"):
        amend(publisher, change, datetime.now(UTC))
        return settle(publisher, secret)


def settle(publisher: Publisher, secret: Secret) -> RootChange:
    """Sign the draft of the root with this machine's keys, and tell what became of it.

    Raises:
        TrustError: The passphrase is wrong, or the folder is damaged.
    """
    from tuf.api.metadata import Root  # noqa: PLC0415

    from bastide.trust.rootkeys import describe_root, settle_root  # noqa: PLC0415

    draft = publisher.draft(Root)
    roots = publisher.roots()
    before = roots[-1].signed if roots else None
    in_force = settle_root(publisher, unlock(publisher, secret))
    root = draft.signed if draft else publisher.root().signed
    following = (
        "bastide bundle build signs from now on; bastide trust fingerprint shows what sites pin"
        if root.version == 1
        else "sign the bundles that go out next, so that sites learn of it: bastide trust sign DIR"
    )
    waiting = "bastide trust export FILE, have it signed: bastide trust sign --request FILE, then: "
    return RootChange(
        folder=publisher.folder,
        version=root.version,
        in_force=in_force,
        says=describe_root(root, before),
        next=following if in_force else waiting + "bastide trust merge FILE",
    )
