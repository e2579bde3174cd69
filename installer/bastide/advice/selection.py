"""Which cards of the catalogue satisfy a wish, and in which order to show them."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import StrEnum

from bastide.advice.weights import Weights, usual_weights
from bastide.advice.words import MANY
from bastide.schema.model_card import CatalogueCard, LicenceClass, Task, Unknown


class Order(StrEnum):
    """By what a list is sorted."""

    NAME = "name"
    PARAMETERS = "parameters"
    CONTEXT = "context"
    MEMORY = "memory"
    LICENCE = "licence"


@dataclass(frozen=True)
class Wish:
    """What a model must satisfy; None means that anything will do.

    Args:
        task: What it is for.
        licence_class: How much its licence may ask, at most.
        language: ISO 639 code of a language that it must be for.
        context: Tokens of context that it must take.
        memory: Bytes into which its weights must go.
        pinned: Whether its file must be pinned.
    """

    task: Task | None = None
    licence_class: LicenceClass | None = None
    language: str | None = None
    context: int | None = None
    memory: int | None = None
    pinned: bool = False


@dataclass(frozen=True)
class Row:
    """One model in a list.

    Args:
        name: Its name in the catalogue.
        title: Its name as its makers write it.
        task: What it is for.
        parameters: How many it has, and how many a token uses.
        active_parameters: As many of them as a token uses.
        context_window: Tokens.
        languages: ISO 639 codes.
        licence: SPDX expression or name.
        licence_class: How much it asks.
        weights: The weights that one would usually take.
        pinned: Whether a bundle can take it as it is.
        not_checked: Facts that it states without a source.
    """

    name: str
    title: str
    task: Task
    parameters: int | Unknown
    active_parameters: int | Unknown
    context_window: int | Unknown
    languages: tuple[str, ...] | Unknown
    licence: str
    licence_class: LicenceClass
    weights: Weights | None
    pinned: bool
    not_checked: tuple[str, ...]


def missing(card: CatalogueCard, wish: Wish) -> list[str]:
    """Return what ``card`` lacks of ``wish``, in words; nothing if it satisfies all of it.

    What is unknown satisfies nothing: who must be sure cannot build on it.
    """
    checks: list[tuple[object, Callable[[], str | None]]] = [
        (wish.task, lambda: _task(card, wish.task)),
        (wish.licence_class, lambda: _licence(card, wish.licence_class)),
        (wish.language, lambda: _language(card, wish.language)),
        (wish.context, lambda: _context(card, wish.context)),
        (wish.memory, lambda: _memory(card, wish.memory)),
        (wish.pinned or None, lambda: None if card.is_pinned else "no file of it is pinned"),
    ]
    found = (check() for asked, check in checks if asked is not None)
    return [reason for reason in found if reason]


def _task(card: CatalogueCard, task: Task | None) -> str | None:
    return None if card.task is task else f"it is for {card.task}, not {task}"


def _licence(card: CatalogueCard, most: LicenceClass | None) -> str | None:
    has = card.licence_class
    if has is most or (most is LicenceClass.CONDITIONAL and has is LicenceClass.PERMISSIVE):
        return None
    return f"its licence, {card.licence.label}, is {has}, not {most}"


def _language(card: CatalogueCard, language: str | None) -> str | None:
    if isinstance(card.languages, Unknown):
        return f"whether it is for {language} is unknown"
    if language in card.languages or MANY in card.languages:
        return None
    return f"it is for {', '.join(card.languages)}, not {language}"


def _context(card: CatalogueCard, tokens: int | None) -> str | None:
    if isinstance(card.context_window, Unknown):
        return "its context window is unknown"
    if tokens is None or card.context_window >= tokens:
        return None
    return f"its context window has {card.context_window:,} tokens, not {tokens:,}"


def _memory(card: CatalogueCard, most: int | None) -> str | None:
    found = usual_weights(card)
    if found is None or found.size is None:
        return "the size of its weights is unknown"
    if most is None or found.size <= most:
        return None
    return f"its weights take {found.size / 1e9:.1f} GB as {found.format}"


def row(card: CatalogueCard) -> Row:
    """Return the card as one line of a list."""
    return Row(
        name=card.name,
        title=card.title,
        task=card.task,
        parameters=card.parameters,
        active_parameters=card.active_parameters,
        context_window=card.context_window,
        languages=card.languages,
        licence=card.licence.label,
        licence_class=card.licence_class,
        weights=usual_weights(card),
        pinned=card.is_pinned,
        not_checked=card.not_checked(),
    )


def _number(value: int | Unknown | None) -> tuple[bool, int]:
    """Return a sort key that puts what is unknown last."""
    return (True, 0) if value is None or isinstance(value, Unknown) else (False, value)


_KEYS: dict[Order, Callable[[Row], tuple[object, ...]]] = {
    Order.NAME: lambda r: (r.name,),
    Order.PARAMETERS: lambda r: (*_number(r.parameters), r.name),
    Order.CONTEXT: lambda r: (*_number(r.context_window), r.name),
    Order.MEMORY: lambda r: (*_number(r.weights.size if r.weights else None), r.name),
    Order.LICENCE: lambda r: (list(LicenceClass).index(r.licence_class), r.licence, r.name),
}


def select(cards: Iterable[CatalogueCard], wish: Wish, order: Order) -> tuple[Row, ...]:
    """Return the cards that satisfy ``wish``, sorted; what is unknown comes last."""
    rows = [row(card) for card in cards if not missing(card, wish)]
    return tuple(sorted(rows, key=_KEYS[order]))
