"""A card says what is known, what is unknown, and where each fact was read."""

from __future__ import annotations

import contextlib
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bastide import resources
from bastide.bundle.catalogue import Catalogue
from bastide.errors import ConfigError
from bastide.schema.loading import parse_yaml
from bastide.schema.model_card import UNKNOWN, CatalogueCard, LicenceClass, ModelCard, Task

SHIPPED = Catalogue(resources.catalogue())
CARD = """\
name: tiny
title: Tiny
version: "1"
task: chat
family: Tiny
architecture: llama
parameters: 1000000
context_window: 4096
embedding_length: 64
languages: [en]
licence: {spdx: MIT}
"""


def read(text: str) -> CatalogueCard:
    return parse_yaml(text.encode(), CatalogueCard, where="tiny.yaml")


def problems(text: str) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        read(text)
    return [f"{p.where} {p.what} {p.hint}" for p in caught.value.problems]


def test_what_is_not_said_is_unknown_and_never_zero() -> None:
    card = read(CARD)
    assert card.shape is UNKNOWN
    assert card.training_data is UNKNOWN
    assert card.terms.gated is UNKNOWN
    assert card.dimensions is None
    assert card.pinned() is None
    assert card.licence_class is LicenceClass.UNKNOWN


def test_unknown_can_be_said() -> None:
    assert read(CARD.replace("1000000", "unknown")).parameters is UNKNOWN


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("4096", "-5", "context_window (Tokens of context that it was trained for): should be"),
        ("1000000", "0", "parameters (How many parameters it has): should be greater than 0"),
        ("1000000", "many", "parameters (How many parameters it has): should be a valid integer"),
        ("[en]", "[]", "languages (Languages that it is for"),
        ("family: Tiny", "family: Tiny\nterms: {gated: maybe}", "terms.gated (Whether its makers"),
        ("family: Tiny", "family: Tiny\nshape: {layers: 2}", "heads (Attention heads of a layer)"),
    ],
)
def test_a_mistake_in_a_fact_that_may_be_unknown_is_told_once(
    old: str, new: str, words: str
) -> None:
    found = problems(CARD.replace(old, new))
    assert any(words in each for each in found), found
    places = [each.partition(":")[2] for each in found]
    assert len(places) == len(set(places))
    assert not any(".known" in each or ".unknown" in each for each in found)


def test_evidence_must_cover_facts_that_exist() -> None:
    bad = "evidence: [{covers: [licens], what: x y, url: https://x.example/, read: 2026-11-22}]\n"
    assert any("'licens', which is no fact" in each for each in problems(CARD + bad))


def test_a_fact_without_evidence_is_not_checked() -> None:
    told = (
        "evidence:\n"
        "  - {covers: [version, architecture, terms], what: card, url: https://x.example/, "
        "read: 2026-11-22}\n"
    )
    card = read(CARD + "terms: {gated: true}\n" + told)
    assert "licence" in card.not_checked()
    assert "version" not in card.not_checked()
    assert "terms.gated" not in card.not_checked(), "a group's evidence is its parts'"
    assert card.source_of("terms.gated") is not None


def test_shipped_cards_are_enough_and_cover_the_tasks() -> None:
    cards = [entry.value for entry in SHIPPED.cards()]
    assert len(cards) >= 25
    assert {card.task for card in cards} == set(Task)
    assert any(card.active_parameters is not UNKNOWN for card in cards)
    assert sum(card.is_pinned for card in cards) >= 2


@pytest.mark.parametrize("entry", SHIPPED.cards(), ids=lambda entry: entry.value.name)
def test_every_shipped_fact_has_a_source_or_is_unknown(entry: Any) -> None:
    card = entry.value
    assert card.not_checked() == ()
    for fact, value in card.facts().items():
        if value is not UNKNOWN and value != ():
            assert card.source_of(fact).url
    assert all(figure.source for figure in card.quality)
    assert card.licence.text or card.licence.spdx


def test_known_shapes() -> None:
    mixtral = SHIPPED.card("mixtral-8x7b-instruct").value
    shape = mixtral.dimensions
    assert shape is not None
    assert (shape.experts, shape.experts_used, shape.kv_heads) == (8, 2, 8)
    assert shape.parameters == 46_702_792_704
    assert shape.active_parameters == 12_879_925_248
    gemma = SHIPPED.card("gemma-3-270m-it").value.dimensions
    assert gemma is not None
    assert gemma.sliding_window is not None
    assert gemma.sliding_window.global_every == 6
    dense = SHIPPED.card("phi-4").value.dimensions
    assert dense is not None
    assert dense.active_parameters == dense.parameters


def test_the_catalogue_is_read_in_a_moment() -> None:
    start = time.perf_counter()
    one = SHIPPED.card("phi-4")
    single = time.perf_counter() - start
    start = time.perf_counter()
    assert one in SHIPPED.cards()
    whole = time.perf_counter() - start
    assert whole < 200 * max(single, 0.001), "each card is read once"


def test_a_bundle_refuses_a_model_that_pins_no_file() -> None:
    with pytest.raises(ConfigError, match="pins no file") as caught:
        SHIPPED.model("phi-4")
    assert caught.value.code == "BAS-2031"
    assert "bastide models pin phi-4" in caught.value.hint
    assert isinstance(SHIPPED.model("smollm2-135m-instruct-q4_1").value, ModelCard)


def test_other_names_and_close_names() -> None:
    assert SHIPPED.card("smollm2-135m-instruct").value.name == "smollm2-135m-instruct-q4_1"
    with pytest.raises(ConfigError) as caught:
        SHIPPED.card("mixtral-8x7b-instuct")
    assert caught.value.hint == 'did you mean "mixtral-8x7b-instruct"?'


def test_sources_without_a_file_are_a_mistake() -> None:
    source = f"sources: [{{kind: local, path: /x.gguf, sha256: {'a' * 64}}}]\n"
    assert any('"sources" needs "file"' in each for each in problems(CARD + source))


@given(st.binary(max_size=300) | st.text(max_size=300).map(str.encode))
def test_no_bytes_break_the_reader(content: bytes) -> None:
    with contextlib.suppress(ConfigError):  # the only error that may come out
        parse_yaml(content, CatalogueCard, where="f")


@pytest.mark.parametrize("text", ["[" * 3_000_000, "- " * 500_000, "a: {" * 100_000])
def test_deep_nesting_is_refused_not_a_crash(text: str, tmp_path: Path) -> None:
    assert any("nested too deeply" in each for each in problems(text))
    assert list(tmp_path.iterdir()) == []
