"""``bastide uninstall``: shows what would go, then takes Bastide off hosts; data stays."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

import click
from rich.console import Console

from bastide.cli.context import require_ssh_files, site_option
from bastide.cli.output import progress, reports, stderr, stdout
from bastide.cli.recording import recorded
from bastide.errors import ApplyError, BastideError, ConfigError, PreflightError, Problem
from bastide.host.lock import exclusive_lock
from bastide.layout import SiteFolder
from bastide.progress import human_bytes
from bastide.run.ask import Line
from bastide.run.uninstall import HostListing, HostUninstalled, list_hosts, uninstall_hosts
from bastide.schema.leftovers import KINDS, Leftovers
from bastide.schema.site import Site
from bastide.site.config import load_site

NOT_AGREED = "BAS-2168"
NO_HOST = "BAS-2169"
OUT_OF_REACH = "BAS-5191"
NOT_CLEAN = "BAS-6138"


@dataclass(frozen=True)
class UninstallResult:
    """What was found, and what became of it. A true ``error`` makes the command fail.

    Args:
        site: The site's name.
        listed: What each host had.
        done: What each host removed; empty if nothing was to be done, or only to be listed.
        deleted_data: Whether declared data was removed, too.
    """

    site: str
    listed: tuple[HostListing, ...]
    done: tuple[HostUninstalled, ...] = ()
    deleted_data: bool = False

    @property
    def error(self) -> BastideError | None:
        """What makes the command fail; None if nothing is left but what should be."""
        dirty = [each for each in self.done if not each.is_clean(delete_data=self.deleted_data)]
        if not dirty:
            return None
        return ApplyError(
            f"something of Bastide is left on {', '.join(each.host for each in dirty)}",
            code=NOT_CLEAN,
            hint="mend what the lines say, then `bastide uninstall` again: it goes on",
            problems=tuple(Problem(each.host, _what_is_left(each)) for each in dirty),
        )


def _what_is_left(each: HostUninstalled) -> str:
    left = each.left.things if each.left else {}
    words = [f"{KINDS[kind]} {', '.join(names)}" for kind, names in left.items()]
    return "; ".join([*words, *each.faults]) or "declared data"


def _print_listing(console: Console, host: str, found: Leftovers, *, delete_data: bool) -> None:
    console.print(f"{host}: these go", style="bold", markup=False)
    for kind, names in found.things.items():
        back = " (comes back)" if kind == "sources" else ""
        for name in names:
            console.print(f"  - {KINDS[kind]:<16} {name}{back}", markup=False)
    if not found.things:
        console.print("  nothing of Bastide is here", markup=False)
    for path in found.data:
        if delete_data:
            console.print(f"  - declared data    {path}", style="bold red", markup=False)
        else:
            console.print(f"  = declared data    {path} stays", markup=False)
    if found.data:
        console.print(f"    {human_bytes(found.data_bytes)} of data", markup=False)


def _view(result: UninstallResult) -> None:
    console = stdout()
    if not result.done:
        for each in result.listed:
            if each.found is not None:
                _print_listing(console, each.host, each.found, delete_data=result.deleted_data)
        console.print("nothing was changed", markup=False)
        return
    for host in result.done:
        gone = sum(len(names) for names in host.removed.things.values()) if host.removed else 0
        kept = ", ".join(host.left.data) if host.left else ""
        stays = f"; declared data stays: {kept}" if kept else ""
        console.print(f"{host.host}: {gone} things removed{stays}", markup=False)
        for fault in host.faults:
            console.print(f"note: {fault}", markup=False)
    console.print("The site's folder and the store on this machine are as they were.")


def _about(result: UninstallResult) -> dict[str, str]:
    hosts = ", ".join(each.host for each in result.done)
    return {"site": result.site, "hosts": hosts, "deleted_data": str(result.deleted_data).lower()}


@click.command("uninstall")
@site_option
@click.option("--host", "hosts", multiple=True, metavar="NAME",
              help="Only this host; may be repeated. All of the site's if not given.")  # fmt: skip
@click.option("--dry-run", is_flag=True, help="Show what would go, and change nothing.")
@click.option("--delete-data", is_flag=True,
              help="Remove vectors, snapshots, recorded texts; wants the site's name.")  # fmt: skip
@click.option("--confirm", metavar="NAME", help="The site's name, for --delete-data.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@reports(_view)
@recorded("uninstall", _about)
def command(
    site_dir: Path,
    hosts: tuple[str, ...],
    confirm: str | None,
    *,
    dry_run: bool,
    delete_data: bool,
    yes: bool,
) -> UninstallResult:
    """Take Bastide off the site's hosts: first show what would go, then ask, then do it.

    Units, users, firewall tables, files, and the OS packages that Bastide installed where they were
    not before; apt sources that were set aside come back. What there is, each host finds out
    itself, so that it also works where an apply broke off. The vector data stays, with its
    snapshots, in /var/lib/bastide, and so do prompts and answers that were recorded; a later apply
    serves it again. --delete-data removes it, if the site's name is typed or given with --confirm.
    On this machine nothing is removed.

    \b
    Exit codes: 0 nothing is left but declared data; 2 not agreed; 5 a host is out of reach, nothing
    was changed; 6 something is left, the message says what; 9 another run holds the site.
    """  # noqa: D301 - click wants the real character
    site = load_site(site_dir)
    folder = SiteFolder((site_dir if site_dir.is_dir() else site_dir.parent).resolve())
    require_ssh_files(site, folder)
    chosen = _chosen(site, hosts)
    if not dry_run:
        _require_consent(site, confirm, delete_data=delete_data, yes=yes)
    line = Line(site, folder.root)
    with exclusive_lock(folder.lock, "uninstall"):
        listed = list_hosts(line, chosen, progress())
        _require_reach(listed)
        result = UninstallResult(site.name, listed, deleted_data=delete_data)
        if dry_run or not _agreed(result, confirm, yes=yes):
            return result
        done = uninstall_hosts(line, chosen, progress(), delete_data=delete_data)
        return UninstallResult(site.name, listed, done, delete_data)


def _chosen(site: Site, hosts: tuple[str, ...]) -> tuple[str, ...]:
    strange = sorted(set(hosts) - set(site.hosts))
    if strange:
        raise ConfigError(
            f"the site has no host {', '.join(strange)}",
            code=NO_HOST,
            hint=f"it has {', '.join(site.hosts)}",
        )
    return tuple(host for host in site.hosts if not hosts or host in hosts)


def _require_consent(site: Site, confirm: str | None, *, delete_data: bool, yes: bool) -> None:
    """Return if everything that must be said has been, or somebody is there to say it.

    Raises:
        ConfigError: It has not, and nobody is.
    """
    if confirm is not None and confirm != site.name:
        raise ConfigError(
            f"--confirm is {confirm!r}, the site's name is {site.name!r}; nothing was changed",
            code=NOT_AGREED,
            hint="give the name of the site whose data shall be gone",
        )
    if delete_data and yes and confirm is None:
        raise ConfigError(
            "--delete-data with --yes also wants --confirm and the site's name",
            code=NOT_AGREED,
            hint=f"give --confirm {site.name} if the data shall be gone",
        )
    if not yes and not sys.stdin.isatty():
        raise ConfigError(
            "there is nobody to ask whether this may go",
            code=NOT_AGREED,
            hint="look with --dry-run, then give --yes",
        )


def _require_reach(listed: tuple[HostListing, ...]) -> None:
    silent = [each for each in listed if each.found is None]
    if silent:
        raise PreflightError(
            f"{len(silent)} hosts gave no answer; nothing was changed",
            code=OUT_OF_REACH,
            hint="bring them up, or name the others with --host",
            problems=tuple(Problem(each.host, each.reason) for each in silent),
        )


def _agreed(result: UninstallResult, confirm: str | None, *, yes: bool) -> bool:
    """Show the listing and ask; for the deletion of data the site's name must be typed."""
    console = stderr()
    for each in result.listed:
        if each.found is not None:
            _print_listing(console, each.host, each.found, delete_data=result.deleted_data)
    if yes:
        return True
    try:
        if not click.confirm("Remove all this?", err=True):
            return False
        if result.deleted_data and confirm is None:
            typed = click.prompt("The data goes for good. Type the site's name", err=True)
            return bool(typed == result.site)
    except click.Abort:
        return False
    return True
