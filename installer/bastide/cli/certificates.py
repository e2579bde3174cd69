"""``bastide certificates``: what a site shows, who signed it, and when it ends."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import click

from bastide.cli.certificates_change import csr, import_, renew, roll
from bastide.cli.context import require_ssh_files, site_option
from bastide.cli.output import progress, reports, stdout
from bastide.errors import ConfigError
from bastide.layout import Home, SiteFolder
from bastide.run.facts import gather
from bastide.schema.site import Site
from bastide.site.codes import CERTIFICATE_UNKNOWN
from bastide.site.config import load_site
from bastide.site.listing import Shown, shown
from bastide.site.renewal import clock_fault
from bastide.site.salt import new_salt
from bastide.site.secrets import open_secrets

_STYLES = {"good": "green", "due": "yellow", "warn": "bold red"}


@dataclass(frozen=True)
class Listed:
    """The certificates of a site.

    Args:
        site: Its name.
        certificates: All of them.
        silent: Hosts that did not say what they have, each with the reason.
        clock: What is wrong with this machine's clock; empty if nothing is known to be.
    """

    site: str
    certificates: tuple[Shown, ...]
    silent: dict[str, str]
    clock: str = ""


def _view(result: Listed) -> None:
    console = stdout()
    for each in result.certificates:
        console.print(f"{each.name:<22} ", end="", markup=False)
        console.print(f"{each.state:<5}", end=" ", style=_STYLES[each.state])
        by = {"plan": "renewed by plan", "request": "signed elsewhere", "nobody": "a CA"}
        left = f"{_left(each)}, {by[each.renewed_by]}"
        console.print(left, markup=False)
        if each.why:
            console.print(f"    ! {each.why}", style="red", markup=False)
        for use in each.used:
            live = {True: "live", False: "not live yet", None: ""}[use.live]
            words = f"    {use.host}: {use.by}{', ' if live else ''}{live}"
            console.print(words, markup=False)
    _view_rest(result)


def _left(shown: Shown) -> str:
    if _is_endless(shown):
        return "no end"
    return f"{shown.days_left} days left, until {shown.due[:10]}"


def _is_endless(shown: Shown) -> bool:
    return shown.due.startswith("9999")


def _view_rest(result: Listed) -> None:
    console = stdout()
    for host, why in result.silent.items():
        console.print(f"{host} was not asked: {why}", markup=False)
    if result.clock:
        console.print(f"! {result.clock}", style="bold red", markup=False)
    if any(each.state == "due" for each in result.certificates):
        console.print("`bastide plan` shows what would be renewed.", markup=False)


def _view_details(result: Listed) -> None:
    console = stdout()
    for each in result.certificates:
        rows = {
            "name": each.name,
            "subject": each.subject,
            "for": ", ".join(each.names) or "no name: a client's, or a CA's",
            "issuer": each.issuer,
            "valid": f"{each.not_before} to {each.not_after}",
            "due": "never" if _is_endless(each) else f"{each.due}, in {each.days_left} days",
            "renewed by": each.renewed_by,
            "state": f"{each.state} {each.why}".strip(),
            "SHA-256": each.sha256,
        }
        for label, text in rows.items():
            console.print(f"{label:<11} {text}", markup=False)
        for use in each.used:
            live = {True: ", live", False: ", not live yet", None: ""}[use.live]
            console.print(f"used by     {use.host}: {use.by} {use.path}{live}", markup=False)
    _view_rest(result)


@click.group("certificates")
def command() -> None:
    """Show and renew certificates; have them signed by the site's CA or by the organisation's.

    Keys never leave the vault but for the hosts that show them. What is changed here reaches hosts
    with the next `bastide plan` and `bastide apply`. See docs/certificates.md.
    """


_no_hosts = click.option("--no-hosts", is_flag=True, help="Do not ask the hosts what they have.")


@command.command("list")
@site_option
@_no_hosts
@reports(_view)
def list_(site_dir: Path, *, no_hosts: bool) -> Listed:
    """List the site's certificates: how long they last, who uses them, and which are live."""
    return _listed(site_dir, ask=not no_hosts)


@command.command("show")
@click.argument("name")
@site_option
@_no_hosts
@reports(_view_details)
def show(name: str, site_dir: Path, *, no_hosts: bool) -> Listed:
    """Show everything about one certificate."""
    found = _listed(site_dir, ask=not no_hosts)
    chosen = tuple(each for each in found.certificates if each.name == name)
    if not chosen:
        raise ConfigError(
            f"no certificate is called '{name}'",
            code=CERTIFICATE_UNKNOWN,
            hint=f"this site has {', '.join(each.name for each in found.certificates)}",
        )
    return Listed(found.site, chosen, found.silent, found.clock)


def _listed(site_dir: Path, *, ask: bool) -> Listed:
    site = load_site(site_dir)
    folder = SiteFolder((site_dir if site_dir.is_dir() else site_dir.parent).resolve())
    secrets = open_secrets(folder, Home.default())
    now, salt = datetime.now(UTC), new_salt()
    held, silent = _asked(site, folder, salt) if ask else ({}, {})
    found = shown(secrets, site, now, salt, held)
    return Listed(site.name, found, silent, clock_fault(secrets, now))


def _asked(
    site: Site, folder: SiteFolder, salt: str
) -> tuple[dict[str, dict[str, str]], dict[str, str]]:
    require_ssh_files(site, folder)
    facts = gather(site, folder, progress(), salt=salt)
    held = {host: found.secrets for host, found in facts.hosts.items()}
    return held, {host: lost.reason for host, lost in facts.unreachable.items()}


command.add_command(csr)
command.add_command(import_)
command.add_command(renew)
command.add_command(roll)
