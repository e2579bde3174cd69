"""``bastide support-bundle``: logs, states and settings for those who help, without secrets."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import click

from bastide.cli.context import site_option
from bastide.cli.output import progress, reports, stderr, stdout
from bastide.cli.recording import recorded
from bastide.errors import ConfigError
from bastide.layout import Home, SiteFolder
from bastide.progress import human_bytes
from bastide.run.ask import Line
from bastide.site.config import load_site
from bastide.support.bundle import Entry, Redacted, contents, redact, write_bundle
from bastide.support.collect import control_texts, host_texts, known_secrets
from bastide.support.pseudonyms import Pseudonyms, names_of
from bastide.support.redactor import Redactor

NOT_AGREED = "BAS-2180"
UNWRITABLE = "BAS-2181"


@dataclass(frozen=True)
class SupportBundle:
    """What was gathered.

    Args:
        path: The archive; None if it was not agreed to.
        size: Its bytes.
        entries: What is in it.
        redacted: How many secrets of each kind were taken out.
        notes: What should be known of it.
    """

    path: Path | None
    size: int
    entries: tuple[Entry, ...]
    redacted: dict[str, int]
    notes: tuple[str, ...] = ()


def _view(result: SupportBundle) -> None:
    console = stdout()
    for note in result.notes:
        console.print(f"note: {note}", markup=False)
    if result.path is None:
        console.print("nothing was written", markup=False)
        return
    taken = sum(result.redacted.values())
    console.print(f"{len(result.entries)} texts, {taken} redactions", markup=False)
    size = human_bytes(result.size)
    console.print(f"support bundle {result.path}, {size}; CONTENTS.txt lists it", markup=False)


@click.command("support-bundle")
@site_option
@click.option("--out", type=click.Path(path_type=Path, dir_okay=False),
              help="The archive to write; support-SITE-TIME.tar.gz if not given.")  # fmt: skip
@click.option(
    "--pseudonyms",
    is_flag=True,
    help="Also replace addresses and names of hosts, the same way throughout.",
)
@click.option("--review", is_flag=True, help="Page through every text before you are asked.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@reports(_view)
@recorded("support-bundle", lambda result: {"file": str(result.path or "not agreed to")})
def command(
    site_dir: Path, out: Path | None, *, pseudonyms: bool, review: bool, yes: bool
) -> SupportBundle:
    """Gather what helps from a distance, without secrets, and list it before it is written.

    From hosts: the end of the journal of Bastide's units, their states and settings, facts, disks,
    sockets, firewall. From this machine: versions, site.yaml, the plan, the newest three runs, the
    end of the ledger. No environment, no vault, no key file, no data and no prompt is read.

    Everything passes one redactor: secrets of this site in every usual spelling, forms that secrets
    have (keys, tokens, headers, URLs, assignments …), base 64 that hides either, and letters that
    look random. It would rather take too much. Still, read the list, or all with --review.

    Exit codes: 0 written, or not agreed to; 2 there is nobody to ask, or it cannot be written.
    """
    if not yes and not sys.stdin.isatty():
        raise ConfigError(
            "there is nobody to ask whether this may leave",
            code=NOT_AGREED,
            hint="give --yes once you have seen what such a bundle holds",
        )
    site = load_site(site_dir)
    folder = SiteFolder((site_dir if site_dir.is_dir() else site_dir.parent).resolve())
    home, now = Home.default(), datetime.now(UTC)
    known, missing = known_secrets(site, folder, home)
    texts = control_texts(folder, home) | host_texts(Line(site, folder.root), progress())
    names = names_of(site.hosts, site.name, site.network.gateway_name)
    redacted = redact(texts, Redactor(known, Pseudonyms(names) if pseudonyms else None))
    notes = (missing,) if missing else ()
    empty = SupportBundle(None, 0, redacted.entries, dict(redacted.found), notes)
    if not _agreed(redacted, review=review, yes=yes):
        return empty
    label = "site" if pseudonyms else site.name
    path = (out or Path(f"support-{label}-{now:%Y%m%dT%H%M%SZ}.tar.gz")).absolute()
    try:
        size = write_bundle(path, redacted, now)
    except OSError as error:
        raise ConfigError(
            f"{path} cannot be written: {error.strerror}",
            code=UNWRITABLE,
            hint="make room, or name another place with --out",
        ) from error
    return SupportBundle(path, size, redacted.entries, dict(redacted.found), notes)


def _agreed(redacted: Redacted, *, review: bool, yes: bool) -> bool:
    """Show what would leave, and ask."""
    stderr().print(contents(redacted), markup=False, end="")
    if review:
        click.echo_via_pager(
            f"\n===== {name} =====\n{text}" for name, text in redacted.texts.items()
        )
    if yes:
        return True
    try:
        return click.confirm("Write it?", err=True)
    except click.Abort:
        return False
