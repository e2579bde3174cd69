"""``bastide keys``: the clients of the gateway and their API keys."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import click

from bastide.cli.audit import usage
from bastide.cli.context import site_option
from bastide.cli.keys_change import create, revoke, rotate
from bastide.cli.output import reports, stdout
from bastide.cli.recording import recorded
from bastide.layout import Home, SiteFolder
from bastide.schema.client_key import ClientKey
from bastide.site.config import load_site
from bastide.site.secrets import open_secrets


@dataclass(frozen=True)
class Key:
    """One API key with what a client needs beside it."""

    key: str
    identity: str
    base_urls: tuple[str, ...]
    vectordb_prefix: str
    ca_file: Path


@dataclass(frozen=True)
class Clients:
    """All clients of a site; never a key."""

    clients: tuple[ClientKey, ...]


def _view(result: Key) -> None:
    click.echo(result.key)


def _view_list(result: Clients) -> None:
    console, now = stdout(), datetime.now(UTC)
    for client in result.clients:
        own = client.limits.model_dump(exclude_none=True)
        limits = ", ".join(
            f"{name.replace('_', ' ')} {most or 'any'}" for name, most in own.items()
        )
        console.print(f"{client.name:<24} {client.role:<8} {limits or 'limits of the site'}")
        for digest in client.digests:
            end = f"until {digest.expires:%Y-%m-%d %H:%M} UTC" if digest.expires else "holds"
            state = end if digest.holds(now) else f"ended {digest.expires:%Y-%m-%d %H:%M} UTC"
            console.print(f"  {digest.id}  {state}", markup=False)


@click.group("keys")
def command() -> None:
    """Make, list, rotate and revoke clients' API keys.

    Gateways learn of a change at once, without a restart; nobody's connection is closed. Of a key
    only the SHA-256 is kept, encrypted in the site's folder; the key itself is shown once.
    """


command.add_command(create)
command.add_command(rotate)
command.add_command(revoke)
command.add_command(usage)


@command.command("list")
@site_option
@reports(_view_list)
def list_(site_dir: Path) -> Clients:
    """Show every client: role, own limits, and until when its keys hold."""
    load_site(site_dir)
    folder = SiteFolder((site_dir if site_dir.is_dir() else site_dir.parent).resolve())
    return Clients(open_secrets(folder, Home.default()).all_clients)


@command.command("show")
@site_option
@click.option("--read-only", is_flag=True,
              help="The key that may only read.")  # fmt: skip
@reports(_view)
@recorded("keys show", lambda result: {"identity": result.identity})
def show(site_dir: Path, *, read_only: bool) -> Key:
    """Print one of the two keys that the site began with, and nothing else.

    \b
    export OPENAI_API_KEY="$(bastide keys show --site plant)"

    Bastide's own checks use these two. With --json the gateway's addresses and the CA file come
    with it.
    """  # noqa: D301 - click's mark for text that it must not wrap
    site = load_site(site_dir)
    folder = SiteFolder((site_dir if site_dir.is_dir() else site_dir.parent).resolve())
    secrets = open_secrets(folder, Home.default())
    port = site.network.gateway_port
    addresses = site.gateway_addresses()
    names = [f"[{each}]" if each.version == 6 else str(each) for each in addresses]
    return Key(
        key=secrets.read_only_api_key if read_only else secrets.api_key,
        identity="read-only" if read_only else "full",
        base_urls=tuple(f"https://{name}:{port}/v1" for name in names),
        vectordb_prefix="vectordb",
        ca_file=folder.authority,
    )
