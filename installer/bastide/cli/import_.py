"""``bastide import``: a bundle from a medium into the store."""

from __future__ import annotations

from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import click
from rich.table import Table

from bastide.cli.licences import with_licences
from bastide.cli.output import progress, reports, stdout
from bastide.cli.recording import recorded
from bastide.cli.trust_verify import Acceptance, import_verifier
from bastide.cli.volumes import asker
from bastide.errors import ConfigError
from bastide.layout import Home
from bastide.progress import human_bytes
from bastide.store import Store
from bastide.store.importer import ImportOptions, import_bundle
from bastide.store.results import ImportResult
from bastide.store.volume import find_volumes
from bastide.store.volume_import import import_volumes
from bastide.trust.licences import LicenceGate

NOT_VOLUMES = "BAS-2016"


def show(result: ImportResult) -> None:
    """Print what was imported, how fast, and what is known of its origin."""
    console = stdout()
    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_column(style="dim")
    table.add_column(overflow="fold")
    table.add_row("bundle", result.bundle)
    table.add_row("release", f"{result.release} for {result.target}")
    for total in result.kinds:
        table.add_row(total.kind.value, f"{total.artifacts}, {human_bytes(total.size)}")
    table.add_row("copied", _copied(result))
    table.add_row("store", str(result.store))
    console.print(table)
    for repair in result.repairs:
        where = f"{repair.volume}: {repair.where}: {repair.what}"
        console.print(f"Repaired: {where}; {repair.how}.", markup=False)
    if result.repairs:
        console.print("Renew these volumes before you pass them on.", markup=False)
    console.print(
        f"Imported; every byte that came in was checked. Trust: {result.trust.statement}.",
        markup=False,
    )
    console.print("Next: bastide init", markup=False)


def _copied(result: ImportResult) -> str:
    parts = [human_bytes(result.bytes_copied)]
    if result.bytes_rebuilt:
        parts.append(f"{human_bytes(result.bytes_rebuilt)} rebuilt from what the store has")
    if result.bytes_continued:
        parts.append(f"{human_bytes(result.bytes_continued)} kept from an interrupted import")
    if result.bytes_present:
        parts.append(f"{human_bytes(result.bytes_present)} were in the store already")
    checked = result.bytes_copied + result.bytes_rebuilt + result.bytes_continued
    rate = f", {human_bytes(checked / result.seconds)}/s" if checked and result.seconds else ""
    return f"{', '.join(parts)}; {result.seconds:.1f} s{rate}"


def _about(result: ImportResult) -> dict[str, str]:
    about = {"bundle": result.bundle, "release": result.release, "trust": result.trust.statement}
    return about | {"repaired": str(len(result.repairs))} if result.repairs else about


@click.command("import")
@click.argument(
    "folders",
    metavar="DIR...",
    nargs=-1,
    required=True,
    type=click.Path(path_type=Path, exists=True, file_okay=False),
)
@click.option(
    "--expect-digest",
    metavar="SHA256",
    help="Instead of signatures: refuse any bundle but the one with this digest, which the builder "
    "told you by another way than the medium.",
)
@click.option(
    "--accept-stale",
    metavar="REASON",
    help="Take the bundle although its signatures have run out; the reason is kept.",
)
@click.option(
    "--accept-older",
    metavar="REASON",
    help="Take a bundle again that this site has imported before and the publisher has replaced "
    "since; the reason is kept.",
)
@click.option(
    "--recheck",
    is_flag=True,
    help="Read again what the store has already, and replace what is damaged.",
)
@reports(show)
@recorded("import", _about)
@with_licences
def command(
    folders: tuple[Path, ...],
    expect_digest: str | None,
    accept_stale: str | None,
    accept_older: str | None,
    *,
    recheck: bool,
    licences: LicenceGate,
) -> ImportResult:
    """Copy the bundle in DIR into the store, checking every byte on the way.

    Only a bundle that the publisher has signed comes in; `bastide trust pin` says once who that is.
    A bundle that is damaged, incomplete or holds anything extra is refused as a whole, and every
    bad file is named. If the import is interrupted, run the same command: it goes on where it
    stopped. DIR is only read. The store is in $BASTIDE_HOME (see `bastide --help`).

    DIR may also be volumes, or a folder that holds them, in any order, some or all. On a terminal
    you are asked for the next medium; elsewhere the command takes what it is given, keeps it, and
    ends with exit code 3 (BAS-3120) and the names of the volumes that it still wants. Damaged bytes
    are taken from another copy of their volume or from parity, and the result says so.
    """
    accepted = Acceptance(stale=accept_stale, older=accept_older)
    volumes = find_volumes(folders)
    if len(folders) > 1 and not volumes:
        raise ConfigError(
            "several folders were given, and they are no volumes",
            code=NOT_VOLUMES,
            hint="import one bundle at a time",
        )
    bring = partial(import_volumes, volumes) if volumes else partial(import_bundle, folders[0])
    with import_verifier(folders[0], expect_digest, accepted) as verifier:
        return bring(
            Store(Home.default().store),
            verifier=verifier,
            progress=progress(),
            now=datetime.now(UTC),
            options=ImportOptions(recheck=recheck, licences=licences, ask=asker(folders)),
        )
