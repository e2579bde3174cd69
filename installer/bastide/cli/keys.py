"""``bastide keys``: the site's API keys, for those who may see them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import click

from bastide.cli.context import site_option
from bastide.cli.output import reports
from bastide.cli.recording import recorded
from bastide.layout import Home, SiteFolder
from bastide.schema.site import Group
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


def _view(result: Key) -> None:
    click.echo(result.key)


@click.group("keys")
def command() -> None:
    """Show the site's API keys.

    They are kept encrypted in the site's folder; nothing else prints them.
    """


@command.command("show")
@site_option
@click.option("--read-only", is_flag=True,
              help="The key that may ask models, but only read vectors.")  # fmt: skip
@reports(_view)
@recorded("keys show", lambda result: {"identity": result.identity})
def show(site_dir: Path, *, read_only: bool) -> Key:
    """Print an API key, and nothing else.

    \b
    export OPENAI_API_KEY="$(bastide keys show --site plant)"

    With --json the gateway's addresses and the CA file come with it.
    """  # noqa: D301 - click's mark for text that it must not wrap
    site = load_site(site_dir)
    folder = SiteFolder((site_dir if site_dir.is_dir() else site_dir.parent).resolve())
    secrets = open_secrets(folder, Home.default())
    port = site.network.gateway_port
    addresses = [site.hosts[name].address for name in site.hosts_in(Group.GATEWAY)]
    names = [f"[{each}]" if each.version == 6 else str(each) for each in addresses]
    return Key(
        key=secrets.read_only_api_key if read_only else secrets.api_key,
        identity="read-only" if read_only else "full",
        base_urls=tuple(f"https://{name}:{port}/v1" for name in names),
        vectordb_prefix="vectordb",
        ca_file=folder.authority,
    )
