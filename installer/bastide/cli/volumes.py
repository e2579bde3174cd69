"""``bastide bundle split``, and what import and verify do when they are given volumes."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import click
from rich.table import Table

from bastide.bundle.media import DISCS, Media, parse_media, parse_parity, parse_size
from bastide.bundle.split import SplitResult, split_bundle
from bastide.cli.output import progress, reports, stderr, stdout
from bastide.errors import BundleError, ConfigError, Problem
from bastide.host.files import write_atomic
from bastide.progress import human_bytes
from bastide.store.opening import incomplete
from bastide.store.results import Wanted
from bastide.store.volume import find_volumes
from bastide.store.volume_check import VolumeCheck, check_volume
from bastide.trust.verifier import RootVerifier

WRONG_OPTIONS = "BAS-2015"
SHEET = "contents.html"


@dataclass(frozen=True)
class SplitSummary(SplitResult):
    """The volumes, and the sheet to print.

    Args:
        sheet: Contents and chain of custody, as a page.
    """

    sheet: Path


@dataclass(frozen=True)
class VolumesCheck:
    """Volumes that are whole."""

    volumes: tuple[VolumeCheck, ...]


def _show_split(result: SplitSummary) -> None:
    table = Table(box=None, pad_edge=False)
    for heading in ("volume", "carries", "size"):
        table.add_column(heading, justify="right" if heading == "size" else "left")
    for volume in result.volumes:
        kind = "parity" if volume.parity else "data"
        table.add_row(volume.name, kind, human_bytes(volume.size))
    stdout().print(table)
    lost = f"any {result.parity} of them may be lost" if result.parity else "all are needed"
    stdout().print(
        f"{len(result.volumes)} volumes in {result.out}, {human_bytes(result.size)}: {lost}.\n"
        f"To print and sign: {result.sheet}\n"
        f"Copy each folder to its medium. There: bastide bundle verify VOLUME; "
        "on the isolated side: bastide import VOLUME",
        markup=False,
    )


@click.command("split")
@click.argument("bundle", metavar="DIR",
                type=click.Path(path_type=Path, exists=True, file_okay=False))  # fmt: skip
@click.option("--size", metavar="SIZE",
              help=f"Largest volume, such as 4GiB or 700MB; or {', '.join(DISCS)}.")  # fmt: skip
@click.option("--media", metavar="MEDIA",
              help="The media at hand, such as '3x32GB fat32'; instead of --size.")  # fmt: skip
@click.option("--parity", metavar="N|P%",
              help="Add parity: so many volumes, or a share of data (two at least).")  # fmt: skip
@click.option("--out", required=True, metavar="DIR", type=click.Path(path_type=Path),
              help="Folder to make, with one folder for each volume in it.")  # fmt: skip
@reports(_show_split)
def split_command(
    bundle: Path, size: str | None, media: str | None, parity: str | None, out: Path
) -> SplitSummary:
    """Cut the bundle in DIR into volumes that fit on your media.

    Each volume goes into a folder of its own, says what it is, carries the signed documents and can
    be verified alone; no file is too large for FAT32. No keys are needed.

    With --parity N any N volumes may be lost or destroyed, or any parts of several as long as no
    place is bad in more than N of them, and the import still succeeds. A share such as 10% gives
    two parity volumes at least: one for a lost volume, one for a scratch on another.

    Beside the volumes you find a page to print: contents, digests, and lines to sign for every
    hand that the media pass through.
    """
    from bastide.render.custody import html  # noqa: PLC0415 - templates only when they are needed

    wish = parse_parity(parity)
    result = split_bundle(bundle, out.absolute(), _media(size, media), wish, progress())
    sheet = result.out / SHEET
    write_atomic(sheet, html(result).encode())
    return SplitSummary(**vars(result), sheet=sheet)


def _media(size: str | None, media: str | None) -> Media:
    if (size is None) is (media is None):
        raise ConfigError(
            "say either --size or --media",
            code=WRONG_OPTIONS,
            hint="such as --size 4GiB, --size dvd or --media '3x32GB fat32'",
        )
    return parse_size(size) if size is not None else parse_media(media or "")


def check_volumes(folders: Sequence[Path], verifier: RootVerifier) -> VolumesCheck:
    """Check each volume by itself, and name everything that is wrong with any of them.

    Raises:
        BundleError: One at least is damaged.
        TrustError: The verifier refuses one.
    """
    whole: list[VolumeCheck] = []
    problems: list[Problem] = []
    for folder in folders:
        try:
            whole.append(check_volume(folder, verifier=verifier, progress=progress()))
        except BundleError as error:
            if len(folders) == 1:
                raise
            found = error.problems or (Problem("volume", str(error)),)
            problems += [Problem(f"{folder.name}/{each.where}", each.what) for each in found]
    if problems:
        raise incomplete(folders[0].parent, problems)
    return VolumesCheck(tuple(whole))


def show_checked(result: VolumesCheck) -> None:
    """Print what the volumes are."""
    for each in result.volumes:
        rate = human_bytes(each.bytes_read / max(each.seconds, 1e-3))
        kind = "parity" if each.parity else "data"
        stdout().print(
            f"{each.volume} ({kind}) of {each.release} for {each.target}: whole; "
            f"{human_bytes(each.bytes_read)} read, {rate}/s",
            markup=False,
        )
    first = result.volumes[0]
    stdout().print(f"bundle {first.bundle}\nTrust: {first.trust.statement}.", markup=False)


def asker(paths: Sequence[Path]) -> Callable[[Wanted], Sequence[Path]]:
    """Return how to ask for the next medium: on a terminal; elsewhere nobody is asked.

    Args:
        paths: What the command was given; the last one is offered again.
    """
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        return lambda _: ()
    last = [paths[-1]]

    def ask(wanted: Wanted) -> Sequence[Path]:
        console = stderr()
        for problem in wanted.problems:
            console.print(f"  {problem.where}: {problem.what}", markup=False)
        names = ", ".join(wanted.volumes)
        console.print(f"Wanted: {names} ({human_bytes(wanted.size)} are lacking).", markup=False)
        if wanted.parity:
            instead = ", ".join(wanted.parity)
            console.print(f"Instead of any of them: {instead}.", markup=False)
        while True:
            text = click.prompt(
                "Put in the next medium. Its folder (q to stop and go on later)",
                default=str(last[0]),
                err=True,
            )
            if text.strip().lower() == "q":
                return ()
            last[0] = Path(text.strip()).expanduser()
            if found := find_volumes([last[0]]):
                return found
            console.print(f"There is no volume in {last[0]}.", markup=False)

    return ask
