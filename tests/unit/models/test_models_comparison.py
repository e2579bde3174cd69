"""Side by side: unknown and unchecked are visible, and plots are drawn from the numbers."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bastide import resources
from bastide.advice.comparison import Comparison, compare
from bastide.advice.plot import LEFT, RIGHT, cache_plot, nice_top, weights_plot
from bastide.advice.words import count, gigabytes
from bastide.bundle.catalogue import Catalogue
from bastide.render.models_page import html

SHELF = Catalogue(resources.catalogue())
NAMES = [entry.value.name for entry in SHELF.cards()]


def side_by_side(*names: str) -> Comparison:
    return compare([SHELF.card(name).value for name in names])


def text(comparison: Comparison, label: str) -> list[str]:
    return [c.text for line in comparison.lines if line.label == label for c in line.cells]


def test_facts_of_two_models() -> None:
    found = side_by_side("mixtral-8x7b-instruct", "phi-4")
    assert text(found, "parameters") == ["46.7 B", "14.7 B"]
    assert text(found, "active for a token") == ["12.9 B", "all"]
    assert text(found, "experts") == ["8, 2 a token", "none"]
    assert text(found, "training data")[0] == "unknown"
    known = [c for line in found.lines for c in line.cells if c.known and line.group != "file"]
    assert all(c.source in found.sources for c in known)


def test_what_was_not_checked_is_shown_as_such() -> None:
    card = SHELF.card("phi-4").value.replace(evidence=())
    found = compare([card, SHELF.card("bge-m3").value])
    assert "licence" in found.models[0].not_checked
    page = html(found, made="now")
    assert "not checked" in page
    assert 'class="unchecked"' in page
    assert 'class="unchecked"' not in html(side_by_side("phi-4", "bge-m3"), made="now")


@pytest.mark.parametrize("name", NAMES)
def test_every_card_can_be_compared(name: str) -> None:
    found = side_by_side(name, "phi-4")
    assert len(found.models) == 2
    html(found, made="now")


def test_only_the_same_benchmark_in_the_same_setting_is_shared() -> None:
    llamas = side_by_side("llama-3.2-1b-instruct", "llama-3.2-3b-instruct")
    assert ("GSM8K", (44.4, 77.7)) in [(s.benchmark, s.values) for s in llamas.shared]
    mixed = side_by_side("llama-3.1-8b-instruct", "phi-4")
    assert mixed.shared == (), "MMLU of one setting says nothing about MMLU of another"


def test_the_page_needs_nothing_else() -> None:
    page = html(side_by_side("llama-3.1-8b-instruct", "gemma-3-27b-it"), made="today")
    assert not re.search(r"<(script|link|img|iframe|object)\b", page)
    assert "url(" not in page
    assert "@import" not in page
    assert not re.search(r'(?:src|href)="(?!#)', page), "addresses are text, links stay inside"
    assert page.count("<svg") >= 2
    assert "prefers-color-scheme: dark" in page
    assert "@media print" in page
    for anchor in set(re.findall(r'href="#(s\d+)"', page)):
        assert f'id="{anchor}"' in page


def test_text_from_cards_cannot_become_markup() -> None:
    found = side_by_side("phi-4", "bge-m3")
    evil = replace(found.models[0], title='<script>alert("x")</script>')
    page = html(replace(found, models=(evil, found.models[1])), made="<b>now</b>")
    assert "<script" not in page
    assert "<b>now" not in page


def test_bars_and_lines_stay_on_the_plot() -> None:
    found = side_by_side("llama-3.3-70b-instruct", "smollm2-135m-instruct", "e5-base-v2")
    bars = weights_plot(found)
    assert bars is not None
    for group in bars.groups:
        for bar in group.bars:
            assert 0 < bar.width <= RIGHT - LEFT
            assert bar.y < bars.height
    assert bars.groups[2].bars == (), "unknown has no bar"
    lines = cache_plot(found)
    assert lines is not None
    assert len(lines.curves) == 2
    labels = sorted(curve.label_y for curve in lines.curves)
    assert labels[1] - labels[0] >= 17
    for curve in lines.curves:
        for x, y, _ in curve.marks:
            assert LEFT <= x <= RIGHT
            assert 0 <= y <= 380


def test_no_plot_without_numbers() -> None:
    encoders = side_by_side("bge-m3", "gte-base")
    assert cache_plot(encoders) is None, "they keep no cache"
    assert weights_plot(side_by_side("e5-base-v2", "bge-small-en-v1.5")) is None


@given(st.floats(min_value=1e-6, max_value=1e18))
def test_the_axis_is_round_and_long_enough(value: float) -> None:
    top = nice_top(value)
    assert value * (1 - 1e-6) <= top <= value * 3


@pytest.mark.parametrize(
    ("number", "told"), [(134_515_008, "135 M"), (999_885_952, "1 B"), (8_030_261_248, "8.03 B")]
)
def test_numbers_for_people(number: int, told: str) -> None:
    assert count(number) == told


def test_sizes_for_people() -> None:
    assert gigabytes(98_362_432) == "98.4 MB"
    assert gigabytes(4.92e9) == "4.92 GB"
