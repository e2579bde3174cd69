"""``bastide receipt``: what a site holds, signed, for the builder of the next bundle."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import click
from rich.table import Table

from bastide.cli.output import reports, stdout
from bastide.cli.recording import recorded
from bastide.errors import BundleError, ConfigError
from bastide.host.files import write_atomic
from bastide.layout import Home, SiteFolder
from bastide.progress import human_bytes
from bastide.schema.receipt import (
    AnyReceipt,
    CompactReceipt,
    Statement,
    bundle_digests,
    fingerprint,
)
from bastide.site.config import load_site
from bastide.store import Store
from bastide.store.receipt import (
    load_receipt,
    receipt_key,
    sign_compact,
    sign_receipt,
    state_holdings,
)
from bastide.trust.state import load_state
from bastide.trust.text import printable

WRONG_IMAGE = "BAS-2075"
NOT_WRITABLE = "BAS-3064"
UNNAMED = "unnamed"


@dataclass(frozen=True)
class ReceiptView:
    """A receipt, as it is shown.

    Args:
        path: Its file.
        site: Who says it.
        key: Fingerprint of the site's receipt key.
        issued_at: By the site's clock, ISO 8601.
        trusted_root: Version of the root that the site trusts.
        imports: How many imports there were: orders receipts whatever clocks say.
        bundles: Their digests, the newest import last.
        releases: Release and target of each, as far as the receipt says.
        blobs: How many files it lists; None for a QR code's, which lists none.
        blob_bytes: Their bytes.
        size: Of the file.
        qr: The image of the compact form, if one was made.
        qr_text: What the image says.
    """

    path: Path
    site: str
    key: str
    issued_at: str
    trusted_root: int | None
    imports: int
    bundles: tuple[str, ...]
    releases: tuple[str, ...]
    blobs: int | None
    blob_bytes: int | None
    size: int
    qr: Path | None = None
    qr_text: str | None = None


def view_receipt(path: Path, receipt: AnyReceipt) -> ReceiptView:
    """Return what is shown of a receipt with a right signature."""
    said = receipt if isinstance(receipt, CompactReceipt) else receipt.statement
    full = None if isinstance(receipt, CompactReceipt) else receipt.statement
    held = full.bundles if full else ()
    return ReceiptView(
        path=path,
        site=said.site,
        key=fingerprint(receipt.key_bytes),
        issued_at=said.issued_at.isoformat(timespec="seconds"),
        trusted_root=said.trusted_root,
        imports=said.imports,
        bundles=bundle_digests(receipt),
        releases=tuple(f"{each.release} for {each.target}" for each in held),
        blobs=len(full.blobs) if full else None,
        blob_bytes=sum(each.size for each in full.blobs) if full else None,
        size=path.stat().st_size,
    )


def show(result: ReceiptView) -> None:
    """Print a receipt for a person."""
    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_column(style="dim")
    table.add_column(overflow="fold")
    table.add_row("receipt", f"{result.path}, {human_bytes(result.size)}")
    table.add_row("site", printable(result.site))
    table.add_row("issued", f"{result.issued_at} by the control node's clock")
    table.add_row("imports", str(result.imports))
    table.add_row("trusted root", str(result.trusted_root or "none pinned"))
    for number, digest in enumerate(result.bundles):
        release = f"{result.releases[number]}, " if result.releases else ""
        table.add_row("bundle", f"{release}{digest}")
    if result.blobs is not None:
        table.add_row("files", f"{result.blobs}, {human_bytes(result.blob_bytes or 0)}")
    table.add_row("receipt key", _groups(result.key))
    if result.qr is not None:
        table.add_row("QR code", str(result.qr))
    stdout().print(table)
    stdout().print(
        "The signature fits this key. Whether it is the site's key, its operator can tell: "
        "`bastide receipt export` shows it there."
    )


def _groups(digest: str) -> str:
    return " ".join(digest[n : n + 8] for n in range(0, len(digest), 8))


@click.group("receipt")
def command() -> None:
    """Say, signed, what this site holds, so that the next bundle is a delta.

    The receipt travels to the builder: as a file, or as a QR code where only a picture may leave.
    There `bastide bundle build --since RECEIPT` ships only what this site lacks.
    """


@command.command("export")
@click.option("--out", required=True, metavar="FILE", type=click.Path(path_type=Path),
              help="File to write.")  # fmt: skip
@click.option("--qr", metavar="FILE", type=click.Path(path_type=Path),
              help="Also draw the compact form as a QR code: FILE.png or FILE.svg.")  # fmt: skip
@click.option("--site", "site_dir", metavar="DIR", type=click.Path(path_type=Path),
              default=Path(), envvar="BASTIDE_SITE",
              help="Folder that holds site.yaml, for the site's name; a site without one is "
              "'unnamed'.")  # fmt: skip
@reports(show)
@recorded("receipt export", lambda result: {"site": result.site})
def export_command(out: Path, qr: Path | None, site_dir: Path) -> ReceiptView:
    """Write what the store holds, signed with this site's own receipt key.

    The key is made on first use and stays on this machine. The receipt names bundles and files by
    digest; there is no host, address or user in it.
    """
    if qr is not None and qr.suffix not in {".png", ".svg"}:
        raise ConfigError(
            f"a QR code is drawn as .png or .svg, not as {qr.name!r}",
            code=WRONG_IMAGE,
            hint="--qr receipt.png",
        )
    home = Home.default()
    key = receipt_key(home.receipt_key)
    statement = state_holdings(Store(home.store), _statement(home, site_dir))
    receipt, compact = sign_receipt(statement, key), sign_compact(statement, key)
    try:
        write_atomic(out, receipt.canonical())
        if qr is not None:
            _draw(compact.text(), qr)
    except OSError as error:
        raise BundleError(
            f"the receipt cannot be written: {error}",
            code=NOT_WRITABLE,
            hint="choose a folder that this user may write",
        ) from error
    view = view_receipt(out, receipt)
    if qr is None:
        return view
    return ReceiptView(**{**vars(view), "qr": qr, "qr_text": compact.text()})


@command.command("show")
@click.argument("receipt", metavar="FILE", type=click.Path(path_type=Path, dir_okay=False))
@reports(show)
def show_command(receipt: Path) -> ReceiptView:
    """Check the signature of the receipt in FILE, and print what it says.

    FILE may also hold the text that a scanner reads from the QR code.
    """
    return view_receipt(receipt, load_receipt(receipt))


def _statement(home: Home, site_dir: Path) -> Statement:
    trust = load_state(home.site_trust)
    has_site = SiteFolder(site_dir).config.is_file()
    return Statement(
        site=load_site(site_dir).name if has_site else UNNAMED,
        issued_at=datetime.now(UTC).replace(microsecond=0),
        time_floor=trust.floor if trust else None,
        trusted_root=_root_version(trust.root) if trust else None,
        imports=0,
        bundles=(),
        blobs=(),
    )


def _root_version(root: str) -> int | None:
    version = json.loads(root).get("signed", {}).get("version")
    return version if isinstance(version, int) else None


def _draw(text: str, path: Path) -> None:
    import segno  # noqa: PLC0415 - only this command draws

    segno.make_qr(text, error="m").save(str(path), scale=6, border=4)
