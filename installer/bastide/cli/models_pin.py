"""``bastide models pin``: from here on a bundle can take the model."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from pathlib import Path

import click

from bastide import resources
from bastide.bundle.pinning import NOT_PINNABLE, Pinned, PinRequest, own_catalogue, pin
from bastide.cli.output import progress, reports, stdout
from bastide.errors import ConfigError
from bastide.progress import human_bytes


def _view(result: Pinned) -> None:
    console, card = stdout(), result.card
    console.print(f"{card.name} is pinned in {result.path}", markup=False)
    console.print(f"  file     {card.file.name}, {human_bytes(card.file.size)}", markup=False)
    console.print(f"  sha256   {card.file.sha256}", markup=False)
    console.print(f"  format   {card.quantisation}", markup=False)
    place = getattr(card.sources[0], "url", None) or getattr(card.sources[0], "path", "")
    console.print(f"  from     {place}", markup=False)
    if result.taken_from_file:
        told = ", ".join(result.taken_from_file)
        console.print(f"  {told}: the card did not know it; taken from the file", markup=False)
    console.print(
        f"Next: name {card.name} in a release of that catalogue, then build with --catalogue "
        f"{result.path.parent.parent}",
        markup=False,
    )


@click.command("pin")
@click.argument("model", metavar="MODEL")
@click.argument("file", metavar="FILE", type=click.Path(path_type=Path, dir_okay=False))
@click.option("--catalogue", metavar="DIR", required=True,
              type=click.Path(path_type=Path, file_okay=False),
              help="Your own catalogue, whose card is changed; made as a copy of the shipped one "
              "if it is not there.")  # fmt: skip
@click.option("--as", "new_name", metavar="NAME", help="Write a card of this name beside MODEL's.")
@click.option("--url", help="Where builders get the file; this very path if not given.")
@click.option("--replace", is_flag=True, help="Put the file in the place of another pinned one.")
@reports(_view)
def command(
    model: str, file: Path, catalogue: Path, new_name: str | None, url: str | None, *, replace: bool
) -> Pinned:
    """Record FILE, a GGUF file that you downloaded and checked, in the card of MODEL.

    Reads the file's header and holds it against the card: architecture, shape, parameters, context
    window and weight format must agree. Then its size and SHA-256 are recorded, and a bundle takes
    this file and no other.
    """
    if new_name is not None and not re.fullmatch(r"[a-z0-9]([a-z0-9._-]{0,62}[a-z0-9])?", new_name):
        raise ConfigError(
            f"'{new_name}' is no name of a model",
            code=NOT_PINNABLE,
            hint="lower-case letters, digits, dot, dash and underscore; at most 64",
        )
    shelf = own_catalogue(catalogue.absolute(), resources.catalogue())
    today = datetime.now(UTC).date()
    return pin(shelf, PinRequest(model, file, new_name, url, replace), progress(), today=today)
