"""Filters keep only what is known to satisfy them; the order puts what is unknown last."""

from __future__ import annotations

import pytest

from bastide import resources
from bastide.advice.selection import Order, Wish, missing, select
from bastide.bundle.catalogue import Catalogue
from bastide.schema.model_card import LicenceClass, Task, Unknown

CARDS = [entry.value for entry in Catalogue(resources.catalogue()).cards()]
BY_NAME = {card.name: card for card in CARDS}


def names(wish: Wish, order: Order = Order.NAME) -> list[str]:
    return [row.name for row in select(CARDS, wish, order)]


@pytest.mark.parametrize(
    ("wish", "kept", "gone"),
    [
        (Wish(task=Task.CODE), "qwen2.5-coder-7b-instruct", "phi-4"),
        (Wish(licence_class=LicenceClass.PERMISSIVE), "phi-4", "llama-3.1-8b-instruct"),
        (
            Wish(licence_class=LicenceClass.CONDITIONAL),
            "llama-3.1-8b-instruct",
            "qwen2.5-72b-instruct",
        ),
        (Wish(licence_class=LicenceClass.CONDITIONAL), "phi-4", "qwen2.5-72b-instruct"),
        (Wish(language="de"), "mixtral-8x7b-instruct", "phi-4"),
        (Wish(language="de"), "gemma-3-4b-it", "mistral-7b-instruct-v0.3"),
        (Wish(context=100_000), "llama-3.1-8b-instruct", "phi-4"),
        (Wish(memory=5 * 10**9), "llama-3.1-8b-instruct", "phi-4"),
        (Wish(memory=5 * 10**9), "bge-m3", "e5-base-v2"),
        (Wish(pinned=True), "all-minilm-l6-v2-q8_0", "phi-4"),
    ],
)
def test_filters(wish: Wish, kept: str, gone: str) -> None:
    found = names(wish)
    assert kept in found
    assert gone not in found
    assert missing(BY_NAME[gone], wish)


@pytest.mark.parametrize("order", list(Order))
def test_unknown_comes_last(order: Order) -> None:
    rows = select(CARDS, Wish(), order)
    assert len(rows) == len(CARDS)
    if order is Order.PARAMETERS:
        values = [row.parameters for row in rows]
        known = [value for value in values if not isinstance(value, Unknown)]
        assert values[: len(known)] == known == sorted(known)
        assert len(known) < len(values)


def test_reasons_name_what_is_missing() -> None:
    wish = Wish(task=Task.CHAT, language="de", context=32_000)
    reasons = "; ".join(missing(BY_NAME["phi-4"], wish))
    assert "it is for en, not de" in reasons
    assert "16,384 tokens, not 32,000" in reasons


def test_a_published_size_is_taken_before_a_reckoned_one() -> None:
    row = next(r for r in select(CARDS, Wish(), Order.NAME) if r.name == "llama-3.1-8b-instruct")
    assert row.weights is not None
    assert (row.weights.size, row.weights.estimated) == (4_920_000_000, False)
    other = next(r for r in select(CARDS, Wish(), Order.NAME) if r.name == "qwen2.5-7b-instruct")
    assert other.weights is not None
    assert other.weights.estimated
