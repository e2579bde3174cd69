"""``bastide import``: a bundle from a medium into the store."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import click
from rich.table import Table

from bastide.cli.output import progress, reports, stdout
from bastide.errors import ConfigError
from bastide.layout import Home
from bastide.progress import human_bytes
from bastide.store import Store
from bastide.store.importer import ImportOptions, import_bundle
from bastide.store.results import ImportResult
from bastide.trust.verifier import DigestOnly

WRONG_DIGEST_OPTION = "BAS-2005"


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
        f"Imported; every byte that came in was checked. Note: {result.trust.statement}",
        markup=False,
    )
    console.print("Next: bastide init", markup=False)


def _copied(result: ImportResult) -> str:
    parts = [human_bytes(result.bytes_copied)]
    if result.bytes_continued:
        parts.append(f"{human_bytes(result.bytes_continued)} kept from an interrupted import")
    if result.bytes_present:
        parts.append(f"{human_bytes(result.bytes_present)} were in the store already")
    checked = result.bytes_copied + result.bytes_continued
    rate = f", {human_bytes(checked / result.seconds)}/s" if checked and result.seconds else ""
    return f"{', '.join(parts)}; {result.seconds:.1f} s{rate}"


def _digest(text: str | None) -> str | None:
    if text is None:
        return None
    digest = text.strip().lower().removeprefix("sha256:")
    if len(digest) != 64 or set(digest) - set("0123456789abcdef"):
        raise ConfigError(
            "--expect-digest wants a SHA-256: 64 hexadecimal digits",
            code=WRONG_DIGEST_OPTION,
            hint="`bastide bundle build` printed it as the bundle's digest",
        )
    return digest


@click.command("import")
@click.argument(
    "bundle", metavar="DIR", type=click.Path(path_type=Path, exists=True, file_okay=False)
)
@click.option(
    "--expect-digest",
    metavar="SHA256",
    help="Refuse any bundle but the one with this digest, which the builder told you by another "
    "way than the medium.",
)
@click.option(
    "--recheck",
    is_flag=True,
    help="Read again what the store has already, and replace what is damaged.",
)
@reports(show)
def command(bundle: Path, expect_digest: str | None, *, recheck: bool) -> ImportResult:
    """Copy the bundle in DIR into the store, checking every byte on the way.

    A bundle that is damaged, incomplete or holds anything extra is refused as a whole, and every
    bad file is named. If the import is interrupted, run the same command: it goes on where it
    stopped. DIR is only read. The store is in $BASTIDE_HOME (see `bastide --help`).
    """
    verifier = DigestOnly(_digest(expect_digest))
    return import_bundle(
        bundle,
        Store(Home.default().store),
        verifier=verifier,
        progress=progress(),
        now=datetime.now(UTC),
        options=ImportOptions(recheck=recheck),
    )
