"""``bastide bundle inspect`` and ``bastide bundle diff``."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import click
from rich.console import Console
from rich.table import Table

from bastide.bundle.contents import Contents, Group, read_contents
from bastide.bundle.diff import BundleDiff, Change, Difference, compare
from bastide.cli.output import reports, stdout
from bastide.cli.trust_verify import Acceptance, check_verifier
from bastide.errors import BundleError, TrustError
from bastide.host.files import write_atomic
from bastide.progress import human_bytes
from bastide.schema.artifact import ArtifactKind
from bastide.schema.policy import LicenceFamily
from bastide.store.opening import OpenBundle, open_bundle
from bastide.trust.verifier import DigestOnly, Trust

NOT_WRITTEN = "BAS-3074"
_COLOURS = {
    LicenceFamily.WEAK_COPYLEFT: "yellow",
    LicenceFamily.STRONG_COPYLEFT: "yellow",
    LicenceFamily.RESTRICTED: "red",
    LicenceFamily.UNKNOWN: "red",
}
_SIGNS = {
    Change.ADDED: "[green]+[/]",
    Change.REMOVED: "[red]-[/]",
    Change.CHANGED: "[cyan]~[/]",
    Change.REBUILT: "[cyan]=[/]",
    Change.RELICENSED: "[yellow]§[/]",
}

folder_type = click.Path(path_type=Path, exists=True, file_okay=False)


@dataclass(frozen=True)
class Inspected:
    """A bundle's contents, and where they were written as a page."""

    contents: Contents
    page: Path | None


def _open(bundle: Path) -> tuple[OpenBundle, Trust]:
    """Open a bundle to look at it: an unsigned or unknown one is shown, too, and called so."""
    try:
        opened = open_bundle(bundle, check_verifier(bundle, None, Acceptance()))
    except TrustError as error:
        opened = open_bundle(bundle, DigestOnly())
        return opened, Trust(scheme="none", signed=False, statement=f"not trusted: {error}")
    return opened, opened.verified.trust


def _plain_table(*headings: str, right: str = "size") -> Table:
    table = Table(box=None, pad_edge=False, header_style="dim")
    for heading in headings:
        table.add_column(heading, overflow="fold", justify="right" if heading == right else "left")
    return table


def _show_group(console: Console, group: Group) -> None:
    count = f"{len(group.items)}, {human_bytes(group.size)}"
    console.print(f"\n[bold]{group.heading}[/] [dim]{count}[/]")
    models = group.kind is ArtifactKind.MODEL
    table = _plain_table("name", "version", "size", "licence", "what it is" if models else "for")
    for item in group.items:
        artifact = item.artifact
        colour = _COLOURS.get(item.family, "")
        table.add_row(
            artifact.name,
            artifact.version,
            human_bytes(artifact.size),
            f"[{colour}]{artifact.licence}[/]" if colour else artifact.licence,
            item.about or ", ".join(artifact.components),
        )
    console.print(table)


def show_contents(result: Inspected) -> None:
    """Print what a bundle holds, the largest of each kind first."""
    contents, console = result.contents, stdout()
    colour = "green" if contents.trust.signed else "red"
    families = ", ".join(f"{number} {family.value}" for family, number in contents.families)
    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_column(style="dim")
    table.add_column(overflow="fold")
    table.add_row("release", f"{contents.release} for {contents.target}")
    table.add_row("bundle", contents.bundle)
    table.add_row("trust", f"[{colour}]{contents.trust.statement}[/]")
    table.add_row("size", human_bytes(contents.size))
    table.add_row("licences", families)
    console.print(table)
    for group in contents.groups:
        if group.kind is not ArtifactKind.CATALOGUE:
            _show_group(console, group)
    console.print()
    if result.page is not None:
        console.print(f"Written: {result.page}", markup=False)
    else:
        console.print("The whole as a page to read and print: --html FILE", markup=False)


def _versions(each: Difference) -> str:
    before = each.before.version if each.before else ""
    after = each.after.version if each.after else ""
    if each.change is Change.CHANGED:
        return f"{before} → {after}"
    return (
        f"{after or before} ({each.change})" if each.change is Change.REBUILT else after or before
    )


def _sizes(each: Difference) -> str:
    before = each.before.size if each.before else 0
    after = each.after.size if each.after else 0
    if each.before is None or each.after is None:
        return f"{'+' if each.before is None else '-'}{human_bytes(after or before)}"
    growth = after - before
    return f"{human_bytes(after)} ({'+' if growth >= 0 else '-'}{human_bytes(abs(growth))})"


def _licences(each: Difference) -> str:
    before = each.before.licence if each.before else ""
    after = each.after.licence if each.after else ""
    return f"[yellow]{before} → {after}[/]" if each.licence_changed else after or before


def show_diff(result: BundleDiff) -> None:
    """Print what changes between two bundles."""
    console = stdout()
    console.print(f"{result.before[1]} → {result.after[1]} for {result.after[2]}", markup=False)
    if not result.differences:
        console.print("No artifact differs.")
        return
    table = _plain_table("", "kind", "name", "version", "size", "licence")
    for each in result.differences:
        table.add_row(
            _SIGNS[each.change],
            each.kind,
            each.name,
            _versions(each),
            _sizes(each),
            _licences(each),
        )
    console.print(table)
    if result.new_licences:
        console.print(f"[yellow]licences that are new:[/] {', '.join(result.new_licences)}")
    growth = result.size_after - result.size_before
    sign = "+" if growth >= 0 else "-"
    console.print(
        f"{len(result.differences)} differ, {result.unchanged} are the same; "
        f"{human_bytes(result.size_after)} in all ({sign}{human_bytes(abs(growth))}); "
        f"to carry to a site that has the first: {human_bytes(result.to_carry)}",
        markup=False,
    )


@click.command("inspect")
@click.argument("bundle", metavar="DIR", type=folder_type)
@click.option(
    "--html",
    "page",
    metavar="FILE",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Also write all of it as one page that opens offline in any browser.",
)
@reports(show_contents)
def inspect_command(bundle: Path, page: Path | None) -> Inspected:
    """Show what the bundle in DIR holds: versions, sizes, licences, trust, and who needs it.

    Reads only the documents; `bastide bundle verify` reads every byte. The bundle has the same as
    a CycloneDX bill of materials (sbom.cdx.json), and the licences' texts in NOTICES.txt.
    """
    contents = read_contents(*_open(bundle))
    if page is not None:
        from bastide.render.bundle_page import html  # noqa: PLC0415 - loads jinja2

        try:
            write_atomic(page.absolute(), html(contents).encode())
        except OSError as error:
            raise BundleError(
                f"the page cannot be written to {page}: {error.strerror}",
                code=NOT_WRITTEN,
                hint="name a file in a folder that you may write",
            ) from error
    return Inspected(contents, page)


@click.command("diff")
@click.argument("before", metavar="DIR", type=folder_type)
@click.argument("after", metavar="DIR2", type=folder_type)
@reports(show_diff)
def diff_command(before: Path, after: Path) -> BundleDiff:
    """Show what changes from the bundle in DIR to the one in DIR2.

    Artifacts that came, went, or have another version, other bytes or another licence; sizes; and
    how many bytes a site that has the first still lacks. Only the documents are read.
    """
    (first, _), (second, _) = _open(before), _open(after)
    return compare(
        (first.verified.digest, first.manifest), (second.verified.digest, second.manifest)
    )
