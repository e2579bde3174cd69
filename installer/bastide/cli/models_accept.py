"""``bastide models accept``: somebody agrees to a model's licence, and that is written down."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import click

from bastide import resources
from bastide.advice.words import words
from bastide.bundle.catalogue import Catalogue
from bastide.cli.models import catalogue_option, model_argument
from bastide.cli.output import reports, stdout
from bastide.cli.recording import recorded
from bastide.errors import ConfigError
from bastide.layout import Home
from bastide.schema.model_card import CatalogueCard
from bastide.trust.acceptance import Acceptance, record_acceptance

NO_TERMS = "BAS-2034"
LARGEST = 4 << 20  # bytes of a licence's text


@dataclass(frozen=True)
class Accepted:
    """What was accepted, and where it is written."""

    model: str
    path: Path
    acceptance: Acceptance
    conditions: dict[str, str]


def _view(result: Accepted) -> None:
    console, given = stdout(), result.acceptance
    console.print(f"Accepted: {given.licence}, for {result.model}", markup=False)
    for name, text in result.conditions.items():
        console.print(f"  {name.replace('_', ' ')}: {text}", markup=False)
    terms = f"the text with SHA-256 {given.terms_sha256}" if given.terms_sha256 else "by name only"
    console.print(f"  by {given.by} on {given.at:%Y-%m-%d}, {terms}", markup=False)
    console.print(f"  written to {result.path}", markup=False)


def _digest(path: Path) -> str:
    try:
        content = path.read_bytes()
    except OSError as error:
        raise _no_terms(path, error.strerror or "cannot be read") from error
    if not content.strip():
        raise _no_terms(path, "is empty")
    if len(content) > LARGEST:
        raise _no_terms(path, f"has {len(content):,} bytes: no licence is that long")
    return hashlib.sha256(content).hexdigest()


def _no_terms(path: Path, what: str) -> ConfigError:
    return ConfigError(
        f"{path}: {what}",
        code=NO_TERMS,
        hint="give the file with the licence's text that was read",
    )


def _conditions(card: CatalogueCard) -> dict[str, str]:
    return {name: words(value) for name, value in dict(card.terms).items()}


@click.command("accept")
@model_argument
@click.option("--by", required=True, metavar="WHO", help="Who accepts, for the record.")
@click.option("--reason", required=True, help="Why, and for what use.")
@click.option("--terms", metavar="FILE", type=click.Path(path_type=Path, dir_okay=False),
              help="The licence's text as it was read; the record then holds for exactly "
              "it.")  # fmt: skip
@catalogue_option
@reports(_view)
@recorded("models accept", lambda result: {"licence": result.acceptance.licence})
def command(
    model: str, by: str, reason: str, terms: Path | None, catalogue: Path | None
) -> Accepted:
    """Record that somebody accepted the licence of MODEL.

    The record is your organisation's own. It lies in Bastide's home, and builds with a licence
    policy look there.
    """
    card = Catalogue(catalogue or resources.catalogue()).card(model).value
    path = Home.default().acceptances
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    acceptance = record_acceptance(
        path,
        licence=card.licence.label,
        terms_sha256=_digest(terms) if terms else None,
        by=by,
        reason=reason,
        now=datetime.now(UTC),
    )
    return Accepted(card.name, path, acceptance, _conditions(card))
