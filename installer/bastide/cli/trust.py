"""``bastide trust``: who signs bundles, and whom a site believes."""

from __future__ import annotations

import importlib
import secrets
from datetime import UTC, datetime
from pathlib import Path

import click

from bastide.cli.output import reports
from bastide.cli.recording import recorded
from bastide.cli.trust_context import (
    Secret,
    open_publisher,
    passphrase_option,
    trust_option,
)
from bastide.cli.trust_keys import (
    RootChange,
    about_root,
    algorithm_option,
    owner_option,
    settle,
    show_change,
    threshold_option,
)
from bastide.errors import TrustError
from bastide.trust.codes import NO_PUBLISHER

OTHERS = {
    "new-key": "bastide.cli.trust_keys",
    "add-key": "bastide.cli.trust_keys",
    "rotate": "bastide.cli.trust_keys",
    "revoke": "bastide.cli.trust_keys",
    "sign": "bastide.cli.trust_sign",
    "export": "bastide.cli.trust_sign",
    "merge": "bastide.cli.trust_sign",
    "status": "bastide.cli.trust_show",
    "fingerprint": "bastide.cli.trust_show",
    "pin": "bastide.cli.trust_pin",
}


class _Group(click.Group):
    """A group that imports the modules of its further commands only when they are used."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        first = [name for name in super().list_commands(ctx) if name not in OTHERS]
        return sorted({*first, *OTHERS})

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in OTHERS:
            return super().get_command(ctx, cmd_name)
        found = getattr(importlib.import_module(OTHERS[cmd_name]), cmd_name.replace("-", "_"))
        return found if isinstance(found, click.Command) else None


@click.group("trust", cls=_Group)
def command() -> None:
    """Say who signs bundles, and whom this site believes.

    Those who publish keep a trust folder with the root (who may sign what), keys and signed
    metadata, in the format of The Update Framework (TUF). A site pins the root once, by comparing
    its fingerprint with the publisher over a second channel; rotations of keys then travel with
    the bundles. docs/trust.md tells the whole story.
    """


@command.command("init")
@trust_option
@click.option("--publisher", "name", metavar="NAME", default="",
              help="How the publisher is called, shown to sites.")  # fmt: skip
@owner_option
@algorithm_option
@threshold_option
@click.option("--development", is_flag=True,
              help="One person, one passphrase kept beside the keys: for labs and demos. Sites are "
              "told so at every import.")  # fmt: skip
@passphrase_option
@reports(show_change)
@recorded("trust init", about_root)
def init(  # noqa: PLR0913 - each is an option
    trust_dir: Path | None,
    name: str,
    owner: str | None,
    algorithm: str,
    thresholds: dict[str, int],
    *,
    development: bool,
    passphrase_file: Path | None,
) -> RootChange:
    """Make a publisher's trust folder with a first root.

    Makes two keys on this machine: yours for root and targets, and one of the machine for TUF
    snapshot and timestamp, which are signed at every build. With a threshold above one, add the
    other people's keys (`bastide trust add-key --public`) and collect their signatures (`bastide
    trust export`) before the root is in force.
    """
    from bastide.trust.keys import Algorithm, generate  # noqa: PLC0415 - loads cryptography
    from bastide.trust.publisher import Settings  # noqa: PLC0415 - loads tuf
    from bastide.trust.rootkeys import first_root  # noqa: PLC0415

    publisher = open_publisher(trust_dir)
    if publisher.exists:
        raise TrustError(
            f"{publisher.folder} is a publisher's trust folder already",
            code=NO_PUBLISHER,
            hint="bastide trust status shows it; keys are changed with add-key, rotate and revoke",
        )
    if development and not passphrase_file:
        publisher.write_passphrase(secrets.token_urlsafe(24))
    who = owner or ("development" if development else "owner")
    secret = Secret(passphrase_file)
    passphrase = secret.read(publisher, new=True)
    settings = Settings(
        publisher=name or ("development" if development else who), development=development
    )
    with publisher.lock("trust init"):
        person, machine = (generate(Algorithm(algorithm), each) for each in (who, "builder"))
        for private, public in (person, machine):
            publisher.add_pair(private, public, passphrase)
        keys = {role: [person[1]] for role in ("root", "targets")}
        keys |= {role: [machine[1]] for role in ("snapshot", "timestamp")}
        publisher.save_draft(first_root(settings, keys, thresholds, datetime.now(UTC)))
        publisher.create(settings)  # last: it is what makes the folder one
        return settle(publisher, secret)
