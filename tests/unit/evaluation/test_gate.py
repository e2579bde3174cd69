"""The evaluation gate: scores in, verdict out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bastide.errors import VerifyError
from bastide.evaluation.gate import (
    OF_EMBEDDINGS,
    changes,
    decide,
    in_one_sentence,
    measures_of,
)
from bastide.schema.release import EvaluationFloors, EvaluationGate, EvaluationTolerance
from bastide.schema.scores import (
    GateVerdict,
    GenerationScores,
    Measure,
    QuestionScore,
    SearchScore,
    ShareScore,
)
from bastide.schema.site import Group

MEASURES: tuple[Measure, ...] = get_args(Measure)
SHARES = ("answers", "refusals")


def scores(**changes_: Any) -> GenerationScores:
    base: dict[str, Any] = {
        "host": "host1",
        "generation": 2,
        "content": "a" * 64,
        "suite": "golden",
        "suite_digest": "b" * 64,
        "at": "2026-11-26T08:00:00Z",
        "seconds": 20.0,
        "model": "chat",
        "embedding_model": "vectors",
        "answers": share(0.8),
        "refusals": share(0.5),
        "hit_rate": 0.9,
        "mean_reciprocal_rank": 0.8,
        "tokens_per_second": 40.0,
        "first_token_seconds": 0.5,
    }
    return GenerationScores.model_validate({**base, **changes_})


def share(value: float, low: float | None = None, high: float | None = None) -> ShareScore:
    return ShareScore(
        value=value, low=value if low is None else low, high=value if high is None else high
    )


def gate(floors: Mapping[str, float] | None = None, /, **tolerance: float) -> EvaluationGate:
    return EvaluationGate(
        suite="golden",
        floors=EvaluationFloors.model_validate(floors or {}),
        tolerance=EvaluationTolerance.model_validate(tolerance),
    )


def of(verdict: GateVerdict, measure: Measure) -> bool:
    return next(each.ok for each in verdict.findings if each.measure == measure)


@pytest.mark.parametrize(
    ("measure", "good", "bad"),
    [
        ("answers", share(0.6), share(0.59)),
        ("refusals", share(0.6), share(0.59)),
        ("hit_rate", 0.6, 0.59),
        ("mean_reciprocal_rank", 0.6, 0.59),
        ("tokens_per_second", 0.6, 0.59),
        ("first_token_seconds", 0.6, 0.61),
    ],
)
def test_a_floor_must_be_reached(measure: Measure, good: object, bad: object) -> None:
    with_floor = gate({measure: 0.6})
    assert of(decide(with_floor, scores(**{measure: good}), None), measure)
    verdict = decide(with_floor, scores(**{measure: bad}), None)
    assert not verdict.passed
    assert [each.measure for each in verdict.failed] == [measure]
    assert "asked for" in verdict.failed[0].words


@pytest.mark.parametrize(
    ("measure", "tolerance", "old", "good", "bad"),
    [
        ("answers", "answers", share(0.8), share(0.7), share(0.69)),
        ("refusals", "refusals", share(0.8), share(0.7), share(0.69)),
        ("hit_rate", "hit_rate", 0.8, 0.7, 0.69),
        ("mean_reciprocal_rank", "mean_reciprocal_rank", 0.8, 0.7, 0.69),
        ("tokens_per_second", "speed", 40.0, 36.0, 35.9),
        ("first_token_seconds", "speed", 0.9, 1.0, 1.01),
    ],
)
def test_no_measure_may_lose_more_than_its_tolerance(
    measure: Measure, tolerance: str, old: object, good: object, bad: object
) -> None:
    limits = gate(None, **{tolerance: 0.1})
    before = scores(**{measure: old})
    assert decide(limits, scores(**{measure: good}), before).passed
    verdict = decide(limits, scores(**{measure: bad}), before)
    assert [each.measure for each in verdict.failed] == [measure]
    assert "before" in verdict.failed[0].words


def test_a_tolerance_of_one_asks_for_no_speed() -> None:
    limits = gate(speed=1.0)
    assert decide(limits, scores(tokens_per_second=0.1, first_token_seconds=1e3), scores()).passed


def test_an_answer_on_the_edge_is_held_against_neither_side() -> None:
    strict = gate(answers=0.0)
    steady, worse = share(0.8), share(0.7)
    assert not decide(strict, scores(answers=worse), scores(answers=steady)).passed
    edge_now, edge_before = share(0.7, 0.6, 0.8), share(0.8, 0.7, 0.9)
    assert decide(strict, scores(answers=edge_now), scores(answers=steady)).passed
    assert decide(strict, scores(answers=worse), scores(answers=edge_before)).passed


def test_what_nobody_measured_fails_only_a_floor() -> None:
    without = scores(hit_rate=None, mean_reciprocal_rank=None, embedding_model="")
    verdict = decide(gate(), without, without)
    assert verdict.passed
    assert "not measured" in {each.words for each in verdict.findings}
    assert not decide(gate({"hit_rate": 0.1}), without, None).passed


def test_a_host_is_judged_by_what_it_serves() -> None:
    floors = gate({"hit_rate": 0.9, "answers": 0.5, "tokens_per_second": 1.0})
    without = scores(hit_rate=None, mean_reciprocal_rank=None, embedding_model="")
    assert not decide(floors, without, None).passed
    verdict = decide(floors, without, None, measures_of([Group.LLM, Group.GATEWAY]))
    assert verdict.passed
    told = {each.measure: each.words for each in verdict.findings}
    assert told["hit_rate"] == "not served on this host"
    assert told["answers"] == "reaches the floor"
    both = measures_of([Group.LLM, Group.EMBEDDINGS])
    assert both == {*MEASURES}
    assert not decide(floors, without, None, both).passed
    assert measures_of([Group.EMBEDDINGS]) == OF_EMBEDDINGS
    assert measures_of([Group.VECTORDB]) == frozenset()


def test_what_could_be_measured_before_must_still_be() -> None:
    assert not decide(gate(), scores(tokens_per_second=None), scores()).passed
    moved_away = scores(hit_rate=None, mean_reciprocal_rank=None, embedding_model="")
    assert decide(gate(), moved_away, scores()).passed


@pytest.mark.parametrize("other", [{"suite_digest": "c" * 64}, {"host": "host2"}])
def test_other_questions_or_hosts_are_not_compared(other: dict[str, str]) -> None:
    with pytest.raises(VerifyError, match="cannot be compared"):
        decide(gate(), scores(), scores(**other))


def test_a_verdict_in_one_sentence_names_its_measures() -> None:
    assert in_one_sentence(decide(gate(), scores(), None)).startswith("good answers 80%, right")
    failed = decide(gate({"hit_rate": 0.95}), scores(), None)
    assert in_one_sentence(failed) == "passages found: 90%, at least 95% is asked for"


# --- properties --------------------------------------------------------------------------------
UNIT = st.floats(0, 1)
NUMBERS: dict[str, st.SearchStrategy[float]] = {
    "hit_rate": UNIT,
    "mean_reciprocal_rank": UNIT,
    "tokens_per_second": st.floats(0.01, 1e4),
    "first_token_seconds": st.floats(0.001, 1e3),
}


@st.composite
def some_shares(draw: st.DrawFn) -> ShareScore:
    low, value, high = sorted(draw(st.tuples(UNIT, UNIT, UNIT)))
    return share(value, low, high)


@st.composite
def some_scores(draw: st.DrawFn) -> GenerationScores:
    found: dict[str, Any] = {name: draw(st.none() | strategy) for name, strategy in NUMBERS.items()}
    found |= {name: draw(st.none() | some_shares()) for name in SHARES}
    return scores(**found)


@st.composite
def some_gates(draw: st.DrawFn) -> EvaluationGate:
    floors = {
        name: draw(st.none() | NUMBERS.get(name, UNIT)) for name in EvaluationFloors.model_fields
    }
    tolerance = {name: draw(UNIT) for name in EvaluationTolerance.model_fields}
    return gate({k: v for k, v in floors.items() if v is not None}, **tolerance)


@st.composite
def better(draw: st.DrawFn, than: GenerationScores) -> GenerationScores:
    """Return scores of which no measure is worse, and none is missing."""
    found: dict[str, Any] = {}
    for name, strategy in NUMBERS.items():
        was, now = getattr(than, name), draw(strategy)
        pick = min if name == "first_token_seconds" else max
        found[name] = now if was is None else pick(was, now)
    for name in SHARES:
        before: ShareScore | None = getattr(than, name)
        score = draw(some_shares())
        if before is not None:
            parts = ("value", "low", "high")
            score = share(*(max(getattr(before, each), getattr(score, each)) for each in parts))
        found[name] = score
    return scores(**found)


@given(st.data(), some_gates(), some_scores(), st.none() | some_scores())
def test_better_scores_never_turn_a_pass_into_a_fail(
    data: st.DataObject, limits: EvaluationGate, new: GenerationScores, old: GenerationScores | None
) -> None:
    if decide(limits, new, old).passed:
        assert decide(limits, data.draw(better(new)), old).passed


@given(some_gates(), some_scores())
def test_the_same_again_passes_if_the_floors_hold(
    limits: EvaluationGate, both: GenerationScores
) -> None:
    assert decide(limits, both, both).passed == decide(limits, both, None).passed


@given(some_gates(), some_scores(), some_scores())
def test_floors_do_not_depend_on_the_old_generation(
    limits: EvaluationGate, new: GenerationScores, old: GenerationScores
) -> None:
    alone, compared = decide(limits, new, None), decide(limits, new, old)
    for one, other in zip(alone.findings, compared.findings, strict=True):
        assert one.ok or not other.ok


@given(some_gates(), some_scores(), st.none() | some_scores())
def test_verdicts_keep_their_form(
    limits: EvaluationGate, new: GenerationScores, old: GenerationScores | None
) -> None:
    verdict = decide(limits, new, old)
    assert GateVerdict.model_validate_json(verdict.model_dump_json()) == verdict
    assert GenerationScores.model_validate_json(new.model_dump_json()) == new
    assert verdict.passed == (not verdict.failed)
    assert [each.measure for each in verdict.findings] == list(MEASURES)


# --- side by side ------------------------------------------------------------------------------
def question(name: str, good: int) -> QuestionScore:
    return QuestionScore(
        id=name, kind="exact", question=f"{name}?", answer=f"{good}", good=good, rounds=2
    )


def test_changed_questions_come_with_losses_first() -> None:
    old = scores(
        questions=[question("a", 0), question("b", 2), question("c", 2), question("d", 1)],
        searches=[SearchScore(id="s", question="s?", passage="P", rank=1, found=True)],
    )
    new = scores(
        questions=[question("a", 2), question("b", 1), question("c", 2), question("d", 0)],
        searches=[SearchScore(id="s", question="s?", passage="P", rank=None, found=False)],
    )
    found = changes(new, old)
    assert [(each.id, each.old, each.new) for each in found] == [
        ("d", "unsteady", "bad"),
        ("s", "good", "bad"),
        ("b", "good", "unsteady"),
        ("a", "bad", "good"),
    ]
    assert found[1].new_answer == "no vector"
    assert frozenset({"hit_rate", "mean_reciprocal_rank"}) == OF_EMBEDDINGS
