"""``bastide bundle delta``, and the part of ``bastide bundle build`` that makes a delta."""

from __future__ import annotations

import functools
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import click
from rich.table import Table

from bastide.bundle.delta import DeltaPlan, plan_delta, write_delta
from bastide.bundle.since import accept_key, hold, remember_bundle
from bastide.cli.output import progress, reports, stdout
from bastide.errors import ConfigError
from bastide.layout import Home, cache_directory
from bastide.progress import Progress, human_bytes
from bastide.schema.receipt import fingerprint
from bastide.sources.scratch import scratch
from bastide.store.delta import require_full
from bastide.store.opening import open_bundle
from bastide.store.receipt import load_receipt
from bastide.trust.text import printable
from bastide.trust.verifier import DigestOnly

WRONG_FINGERPRINT = "BAS-2076"
NO_RECEIPT = "BAS-2077"
F = TypeVar("F", bound=Callable[..., Any])


@dataclass(frozen=True)
class SinceOptions:
    """For whom a delta is made.

    Args:
        receipt: The site's receipt.
        key: Fingerprint of its receipt key, if the operator gave it.
        bases: Folders of bundles that the site may have.
        dry_run: Only say how large it would be.
    """

    receipt: Path
    key: str | None
    bases: tuple[Path, ...]
    dry_run: bool


@dataclass(frozen=True)
class PatchView:
    """One file that the site makes of one that it has."""

    makes: str
    size: int
    patch: int
    base: str


@dataclass(frozen=True)
class DeltaResult:
    """A delta, or what it would be.

    Args:
        path: Its folder; None if nothing was written.
        bundle: Digest of the bundle that it yields.
        release: That bundle's release.
        target: And target.
        site: Whose receipt it was made by.
        receipt_key: Fingerprint of the key that signed it.
        signed: Whether the bundle has its publisher's metadata.
        full_bytes: Size of the full bundle.
        bytes: Size of the delta.
        carried: How many blobs travel whole.
        carried_bytes: Their bytes.
        rebuilt_bytes: Of blobs that the site makes.
        patch_bytes: Of all patches.
        assumed: How many blobs the site has already.
        assumed_bytes: Their bytes, which cost nothing.
        patches: The files that the site makes.
    """

    path: Path | None
    bundle: str
    release: str
    target: str
    site: str
    receipt_key: str
    signed: bool
    full_bytes: int
    bytes: int
    carried: int
    carried_bytes: int
    rebuilt_bytes: int
    patch_bytes: int
    assumed: int
    assumed_bytes: int
    patches: tuple[PatchView, ...]


def make_delta(bundle_dir: Path, out: Path, since: SinceOptions, watcher: Progress) -> DeltaResult:
    """Make the delta of a full bundle for the site of a receipt.

    Raises:
        BundleError: Bundle or receipt cannot be used, or the delta cannot be written.
        TrustError: The receipt is not the site's.
    """
    receipt = load_receipt(since.receipt)
    accept_key(receipt, Home.default().known_receipt_keys, _fingerprint(since.key), watcher)
    bundle = open_bundle(bundle_dir, DigestOnly())
    require_full(bundle, "`bundle delta`")
    cache = cache_directory()
    held = hold(receipt, cache, since.bases)
    with scratch(cache, "delta-") as work:
        plan = plan_delta(bundle, held, work, watcher)
        if not since.dry_run:
            watcher.note(f"the delta will have {plan.size} bytes, the full bundle {plan.full_size}")
            write_delta(plan, out, watcher)
            remember_bundle(bundle_dir, cache)
    return _result(plan, None if since.dry_run else out, fingerprint(receipt.key_bytes))


def _result(plan: DeltaPlan, out: Path | None, key: str) -> DeltaResult:
    blobs = plan.bundle.blobs
    travelling = {*plan.delta.carried, *(each.blob.sha256 for each in plan.delta.rebuilt)}
    assumed = [blob for blob in blobs if blob.sha256 not in travelling]
    return DeltaResult(
        path=out,
        bundle=plan.delta.bundle,
        release=plan.bundle.manifest.release,
        target=plan.bundle.manifest.target,
        site=plan.delta.since.site,
        receipt_key=key,
        signed=bool(plan.bundle.verified.files),
        full_bytes=plan.full_size,
        bytes=plan.size,
        carried=len(plan.delta.carried),
        carried_bytes=plan.carried_size,
        rebuilt_bytes=plan.rebuilt_size,
        patch_bytes=plan.patch_size,
        assumed=len(assumed),
        assumed_bytes=sum(blob.size for blob in assumed),
        patches=tuple(
            PatchView(p.label, p.rebuilt.blob.size, p.rebuilt.patch.size, p.rebuilt.base.sha256)
            for p in plan.patches
        ),
    )


def show_delta(result: DeltaResult) -> None:
    """Print what travels and what does not."""
    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_column(style="dim")
    table.add_column(overflow="fold")
    table.add_row("bundle", f"{result.release} for {result.target}, {result.bundle}")
    table.add_row("for site", f"{printable(result.site)} (receipt key {result.receipt_key})")
    part = 100 * result.bytes / max(result.full_bytes, 1)
    table.add_row(
        "size",
        f"{human_bytes(result.bytes)} ({result.bytes} bytes), {part:.2f} % of the full bundle's "
        f"{human_bytes(result.full_bytes)}",
    )
    table.add_row("whole files", f"{result.carried}, {human_bytes(result.carried_bytes)}")
    for patch in result.patches:
        row = f"{patch.makes}: {human_bytes(patch.size)} from {human_bytes(patch.patch)}"
        table.add_row("patch", printable(row))
    table.add_row("already there", f"{result.assumed}, {human_bytes(result.assumed_bytes)}")
    stdout().print(table)
    if result.path is None:
        stdout().print("Nothing was written: this was a dry run.")
    else:
        if not result.signed:
            stdout().print(
                "The bundle is not signed, so sites will not take it: `bastide trust sign` it, "
                "then make the delta.",
            )
        stdout().print(f"Next, at the site: bastide import {result.path}", markup=False)


def since_option(*, required: bool) -> Callable[[F], F]:
    """Return the option that names the receipt."""
    return click.option(
        "--since",
        "receipt",
        metavar="RECEIPT",
        required=required,
        type=click.Path(path_type=Path, exists=True, dir_okay=False),
        help="Make a delta: only what the site of this receipt lacks. RECEIPT is the file of "
        "`bastide receipt export`, or a file with the text of its QR code.",
    )


def since_options(command: F) -> F:
    """Add the options of a delta to a command, but for the receipt itself."""
    for option in (
        click.option("--dry-run", is_flag=True,
                     help="Only say how large the delta would be; to the byte."),
        click.option("--base", "bases", metavar="DIR", multiple=True,
                     type=click.Path(path_type=Path, exists=True, file_okay=False),
                     help="Folder of a bundle that the site has, if this machine did not build it. "
                     "May be given several times."),
        click.option("--receipt-key", metavar="FINGERPRINT",
                     help="The site's receipt key, as `bastide receipt export` shows it there; "
                     "without it the key of the first receipt is remembered."),
    ):  # fmt: skip
        command = option(command)
    return command


def with_since(action: Callable[..., Any]) -> Callable[..., Any]:
    """Gather the options of a delta, and ``--since`` itself, into one argument ``since``."""

    @functools.wraps(action)
    def body(
        *args: object,
        receipt: Path | None,
        receipt_key: str | None,
        bases: tuple[Path, ...],
        dry_run: bool,
        **others: object,
    ) -> object:
        if receipt is None and (receipt_key or bases or dry_run):
            raise ConfigError(
                "--receipt-key, --base and --dry-run are about a delta",
                code=NO_RECEIPT,
                hint="give --since RECEIPT with them",
            )
        since = SinceOptions(receipt, receipt_key, bases, dry_run) if receipt else None
        return action(*args, since=since, **others)

    return body


@click.command("delta")
@click.argument(
    "bundle", metavar="BUNDLE", type=click.Path(path_type=Path, exists=True, file_okay=False)
)
@since_option(required=True)
@click.option("--out", required=True, metavar="DIR", type=click.Path(path_type=Path),
              help="Folder to make; it appears only once it is whole.")  # fmt: skip
@since_options
@reports(show_delta)
@with_since
def delta_command(bundle: Path, out: Path, since: SinceOptions) -> DeltaResult:
    """Make of the full bundle in BUNDLE what one site lacks.

    Files that the site has do not travel. Of large files that have changed only a little, a patch
    travels, where that pays. The bundle stays what it is and keeps its signatures; the delta is
    only a way to carry it.
    """
    return make_delta(bundle, out.absolute(), since, progress())


def _fingerprint(text: str | None) -> str | None:
    if text is None:
        return None
    plain = re.sub(r"\s|:", "", text.lower())
    if not re.fullmatch("[0-9a-f]{64}", plain):
        raise ConfigError(
            "--receipt-key wants a fingerprint: 64 hexadecimal digits",
            code=WRONG_FINGERPRINT,
            hint="`bastide receipt export` shows it on the site",
        )
    return plain
