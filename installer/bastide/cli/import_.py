"""``bastide import``: a bundle from a medium into the store."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import click
from rich.table import Table

from bastide.cli.output import progress, reports, stdout
from bastide.cli.trust_verify import Acceptance, import_verifier
from bastide.layout import Home
from bastide.progress import human_bytes
from bastide.store import Store
from bastide.store.importer import ImportOptions, import_bundle
from bastide.store.results import ImportResult


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


@click.command("import")
@click.argument(
    "bundle", metavar="DIR", type=click.Path(path_type=Path, exists=True, file_okay=False)
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
def command(
    bundle: Path,
    expect_digest: str | None,
    accept_stale: str | None,
    accept_older: str | None,
    *,
    recheck: bool,
) -> ImportResult:
    """Copy the bundle in DIR into the store, checking every byte on the way.

    Only a bundle that the publisher has signed comes in; `bastide trust pin` says once who that is.
    A bundle that is damaged, incomplete or holds anything extra is refused as a whole, and every
    bad file is named. If the import is interrupted, run the same command: it goes on where it
    stopped. DIR is only read. The store is in $BASTIDE_HOME (see `bastide --help`).
    """
    accepted = Acceptance(stale=accept_stale, older=accept_older)
    with import_verifier(bundle, expect_digest, accepted) as verifier:
        return import_bundle(
            bundle,
            Store(Home.default().store),
            verifier=verifier,
            progress=progress(),
            now=datetime.now(UTC),
            options=ImportOptions(recheck=recheck),
        )
