"""Is an answer good? Texts in, judgements out."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter

from bastide.evaluation.scoring import (
    cosine,
    hit_rate,
    judge,
    mean_reciprocal_rank,
    rank_of,
    without_echo,
)
from bastide.schema.suite import Expectation

EXPECTATION: TypeAdapter[Expectation] = TypeAdapter(Expectation)


def good(expect: Mapping[str, object], answer: str, similarity: float | None = None) -> bool | None:
    return judge(EXPECTATION.validate_python(expect), answer, similarity).good


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ("Paris", True),
        (" paris.\n", True),
        ("**Paris**", True),
        ("It is Paris", False),
        ("", False),
    ],
)
def test_exact(answer: str, expected: bool) -> None:
    assert good({"kind": "exact", "answers": ["Paris"]}, answer) is expected


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ("At 62 bar.", True),
        ("At 62\u00a0bar", True),
        ("At 162 bar", False),
        ("At 62 bars", False),
        ("At 1.62 bar", False),
        ("At 62 barrels", False),
    ],
)
def test_contains_whole_words_and_numbers(answer: str, expected: bool) -> None:
    assert good({"kind": "contains", "any": ["62 bar", "6.2 MPa"]}, answer) is expected


def test_contains_a_number_before_a_full_stop_but_not_in_a_longer_one() -> None:
    expect = {"kind": "contains", "any": ["12"]}
    assert good(expect, "It is 12.")
    assert not good(expect, "It is 12.5.")


def test_regex_ignores_case() -> None:
    expect = {"kind": "regex", "pattern": r"\b(fourteen|14) weeks\b"}
    assert good(expect, "For Fourteen weeks.")
    assert not good(expect, "For 114 weeks.")


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ("I’m sorry, I do not know.", True),  # noqa: RUF001 - a typographic apostrophe
        ("The passages do not say it.", True),
        ("That is not mentioned.", True),
        ("Fish and chips.", False),
        ("Nein, dazu steht dort nichts.", True),
    ],
)
def test_refusal(answer: str, expected: bool) -> None:
    assert good({"kind": "refusal", "phrases": ["steht dort nichts"]}, answer) is expected


def test_reciting_the_instruction_is_no_refusal() -> None:
    told = "Answer in one sentence. If the passages do not say it, say that you do not know."
    recited = f"[INST] x\n{told} The menu is fish."
    assert good({"kind": "refusal"}, recited)  # what would happen
    assert not good({"kind": "refusal"}, without_echo(recited, told))
    assert good({"kind": "refusal"}, without_echo("I do not know.", told))


def test_similarity_needs_a_vector() -> None:
    expect = {"kind": "similar", "to": "x", "threshold": 0.7}
    assert good(expect, "y") is None
    assert good(expect, "y", 0.7) is True
    assert good(expect, "y", 0.69) is False


VECTORS = st.lists(st.floats(-10, 10), min_size=3, max_size=3)


@given(VECTORS, VECTORS)
def test_cosine_is_symmetric_and_bounded(one: list[float], other: list[float]) -> None:
    value = cosine(one, other)
    assert value == pytest.approx(cosine(other, one))
    assert -1.0001 <= value <= 1.0001


def test_ranks_hits_and_reciprocals() -> None:
    passages = {"a": [1.0, 0.0], "b": [0.0, 1.0], "c": [1.0, 1.0]}
    assert rank_of([1.0, 0.1], passages, "a") == 1
    assert rank_of([1.0, 0.1], passages, "b") == 3
    assert rank_of([1.0, 0.0], {"a": [1.0, 0.0], "b": [2.0, 0.0]}, "a") == 2  # equals stand before
    assert hit_rate([1, 2, 4], 2) == pytest.approx(2 / 3)
    assert mean_reciprocal_rank([1, 2, 4]) == pytest.approx((1 + 0.5 + 0.25) / 3)
    assert hit_rate([], 3) == 0
    assert mean_reciprocal_rank([]) == 0
