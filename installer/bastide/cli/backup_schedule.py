"""``bastide backup schedule``: a systemd timer on the control node."""

from __future__ import annotations

import getpass
import os
import sys
from dataclasses import dataclass
from pathlib import Path

import click

from bastide.backup import schedule
from bastide.backup.keys import read_recipients
from bastide.backup.make import backup_folder
from bastide.cli.context import site_option
from bastide.cli.output import reports, stdout
from bastide.cli.recording import recorded
from bastide.layout import SYSTEM_UNITS, Home, SiteFolder
from bastide.site.config import load_site
from bastide.site.vault import PASSWORD_FILE_VARIABLE


@dataclass(frozen=True)
class Scheduled:
    """What was written or removed.

    Args:
        units: The unit files.
        when: When backups are made; empty if the timer was removed.
        out: Where they go.
    """

    units: tuple[Path, ...]
    when: str
    out: Path


def _view(result: Scheduled) -> None:
    console = stdout()
    for unit in result.units:
        console.print(f"{'wrote' if result.when else 'removed'} {unit}", markup=False)
    if result.when:
        console.print(f"a backup at {result.when} into {result.out}; `systemctl list-timers` shows "
                      "the next one", markup=False)  # fmt: skip
    elif not result.units:
        console.print("there was no timer", markup=False)


@click.command("schedule")
@site_option
@click.option("--out", type=click.Path(path_type=Path, file_okay=False),
              help="Folder of backups; site.yaml's backup.folder if not given.")  # fmt: skip
@click.option(
    "--units",
    type=click.Path(path_type=Path, file_okay=False),
    default=SYSTEM_UNITS,
    show_default=True,
    help="Where to write the units; elsewhere, nothing is started.",
)
@click.option("--remove", is_flag=True, help="Stop the timer and remove its units instead.")
@reports(_view)
@recorded("backup schedule", lambda result: {"units": ", ".join(map(str, result.units))})
def command(site_dir: Path, out: Path | None, units: Path, *, remove: bool) -> Scheduled:
    """Make backups by a systemd timer of this machine, at backup.schedule of site.yaml.

    A backup that the machine slept through is made when it is up again.
    """
    site = load_site(site_dir)
    folder = SiteFolder((site_dir if site_dir.is_dir() else site_dir.parent).resolve())
    target = backup_folder(site, folder, out)
    if remove:
        return Scheduled(schedule.remove(site.name, units), "", target)
    read_recipients(folder.recipients)  # a timer that can only fail is no timer
    program = str(Path(sys.executable).with_name("bastide"))
    words = ("backup", "create", "--site", str(folder.root), "--out", str(target))
    timer = schedule.Timer(
        site=site.name,
        when=site.backup.schedule,
        argv=(program, *words),
        home=Home.default().root.absolute(),
        user=getpass.getuser(),
        password=_absolute(os.environ.get(PASSWORD_FILE_VARIABLE, "")),
    )
    return Scheduled(schedule.install(timer, units), timer.when, target)


def _absolute(path: str) -> str:
    return str(Path(path).absolute()) if path else ""
