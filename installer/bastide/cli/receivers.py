"""``bastide receivers``: passwords and tokens of those who are told of alerts."""

from __future__ import annotations

import secrets as random
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import BinaryIO

import click

from bastide.cli.context import site_option
from bastide.cli.output import reports, stdout
from bastide.cli.recording import recorded
from bastide.errors import ConfigError
from bastide.host.lock import exclusive_lock
from bastide.layout import Home, SiteFolder
from bastide.schema.site import Site
from bastide.site import receivers, takeover
from bastide.site.codes import RECEIVER_SECRET
from bastide.site.config import load_site
from bastide.site.material import Secrets
from bastide.site.receivers import MOST
from bastide.site.secrets import open_secrets


@dataclass(frozen=True)
class Held:
    """A receiver that logs in, and whether the vault has what it needs for that.

    Args:
        name: Its name.
        held: Whether the vault has its password or token.
        wanted: Whether site.yaml has such a receiver.
    """

    name: str
    held: bool
    wanted: bool


@dataclass(frozen=True)
class Listed:
    """All receivers that log in, or whose secret the vault has."""

    receivers: tuple[Held, ...]


@dataclass(frozen=True)
class ChangedReceiver:
    """A receiver whose secret was changed in the vault.

    Args:
        receiver: Its name.
        what: In words.
        next_command: What brings it to the hosts.
    """

    receiver: str
    what: str
    next_command: str = "bastide plan"


def _view(result: ChangedReceiver) -> None:
    stdout().print(f"{result.what}\nnext: {result.next_command}", markup=False)


def _view_list(result: Listed) -> None:
    for each in result.receivers:
        state = "has its secret" if each.held else "has no secret: bastide receivers set"
        unused = "" if each.wanted else ", which no receiver of site.yaml uses"
        stdout().print(f"{each.name:<24} {state}{unused}", markup=False)


def _about(result: ChangedReceiver) -> Mapping[str, str]:
    return {"receiver": result.receiver}


def _opened(site_dir: Path) -> tuple[Site, SiteFolder]:
    folder = SiteFolder((site_dir if site_dir.is_dir() else site_dir.parent).resolve())
    return load_site(site_dir), folder


@click.group("receivers")
def command() -> None:
    """Keep, list and forget the secrets of alerts' receivers.

    They are those that have `user` or `bearer` below `monitoring` in site.yaml, and
    `dead-mans-switch`. A secret is kept in the site's vault only; an apply brings it to the
    monitoring host, to a file that root alone may read.
    """


@command.command("set")
@click.argument("name")
@click.option(
    "--from",
    "file",
    type=click.File("rb", lazy=False),
    help="File with the secret alone; - is standard input. Asked for if not given.",
)
@site_option
@reports(_view)
@recorded("receivers set", _about)
def set_(name: str, file: BinaryIO | None, site_dir: Path) -> ChangedReceiver:
    """Keep the password or token of the receiver NAME in the vault, in place of an earlier one.

    It is never an argument, which other users of this machine could see.
    """
    site, folder = _opened(site_dir)
    secret = _read(file) if file else click.prompt(f"Secret of {name}", hide_input=True, err=True)
    salt = random.token_urlsafe(32)

    def change(held: Secrets) -> Secrets:
        changed = receivers.with_secret(held.receivers, site, name, secret, salt)
        return replace(held, receivers=changed)

    with exclusive_lock(folder.lock, "receivers set"):
        takeover.change(folder, Home.default(), change)
    return ChangedReceiver(name, f"the vault has the secret of {name}")


def _read(file: BinaryIO) -> str:
    try:
        text: str = file.read(MOST + 2).decode().removesuffix("\n").removesuffix("\r")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(
            "the secret cannot be read",
            code=RECEIVER_SECRET,
            hint="put it alone into a file, on one line, and name that with --from",
        ) from error
    return text


@command.command("forget")
@click.argument("name")
@site_option
@reports(_view)
@recorded("receivers forget", _about)
def forget(name: str, site_dir: Path) -> ChangedReceiver:
    """Take the secret of the receiver NAME out of the vault; the next apply off the host."""
    _, folder = _opened(site_dir)
    with exclusive_lock(folder.lock, "receivers forget"):
        takeover.change(
            folder,
            Home.default(),
            lambda held: replace(held, receivers=receivers.without_secret(held.receivers, name)),
        )
    return ChangedReceiver(name, f"the vault has no secret of {name} any more")


@command.command("list")
@site_option
@reports(_view_list)
def list_(site_dir: Path) -> Listed:
    """Show which receivers log in, and whether the vault has their secrets; never a secret."""
    site, folder = _opened(site_dir)
    held = open_secrets(folder, Home.default()).receivers.secrets
    wanted = site.monitoring.logins
    return Listed(tuple(Held(n, n in held, n in wanted) for n in sorted({*held, *wanted})))
