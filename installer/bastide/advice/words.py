"""How facts of a model card are said in one cell: known, unknown, or not checked."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from bastide.schema.model_card import CatalogueCard
from bastide.schema.model_facts import UNKNOWN, Evidence, Quantisation, Unknown

MANY = "mul"  # ISO 639: multiple languages, not listed one by one


@dataclass(frozen=True)
class Cell:
    """One fact of one model, as it is shown.

    Args:
        text: The fact in words; ``unknown`` if nobody could check it.
        known: Whether it is known.
        source: Where it was read; empty if unknown.
        checked: False for a statement without a source.
    """

    text: str
    known: bool
    source: str = ""
    checked: bool = True


def cell(card: CatalogueCard, fact: str, text: str | None = None) -> Cell:
    """Return a fact of ``card`` in words, with its source.

    Args:
        card: The card.
        fact: Path of the fact, such as ``terms.user_limit``.
        text: The words, if they are not simply the value's.
    """
    value = card.facts()[fact]
    if value is UNKNOWN or value == () or value is None:
        return Cell(Unknown.UNKNOWN.value, known=False)
    evidence = card.source_of(fact)
    return Cell(text or words(value), known=True, source=address(evidence), checked=bool(evidence))


def address(evidence: Evidence | None) -> str:
    """Return where something was read; empty if that is not known."""
    return evidence.url if evidence else ""


def words(value: object) -> str:
    """Return a fact's value in words."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, str):
        return str(value)
    if isinstance(value, Iterable):
        return ", ".join(words(item) for item in value)
    return str(value)


def count(number: int | Unknown) -> str:
    """Return a number of parameters for people: ``8.03 B``, ``135 M``."""
    if isinstance(number, Unknown):
        return number.value
    if number >= 999_500_000:
        return f"{number / 10**9:.3g} B"
    return f"{number / 10**6:.3g} M"


def tokens(number: int | Unknown) -> str:
    """Return a number of tokens, thousands apart."""
    return number.value if isinstance(number, Unknown) else f"{number:,}"


def gigabytes(size: float) -> str:
    """Return bytes for people: ``4.92 GB``, ``98.4 MB``."""
    return f"{size / 1e9:.3g} GB" if size >= 1e9 else f"{size / 1e6:.3g} MB"


def formats(quantisations: Iterable[Quantisation]) -> str:
    """Return weight formats with the sizes that are published."""
    return ", ".join(
        q.name.value
        if isinstance(q.size, Unknown)
        else f"{q.name.value} {'≈ ' if q.rounded else ''}{gigabytes(q.size)}"
        for q in quantisations
    )


def languages(codes: tuple[str, ...] | Unknown, most: int = 15) -> str:
    """Return ISO 639 codes; of a long list the first ``most`` and how many more there are."""
    if isinstance(codes, Unknown):
        return codes.value
    if codes == (MANY,):
        return "many"
    more = len(codes) - most
    return ", ".join(codes[:most]) + (f" and {more} more" if more > 0 else "")
