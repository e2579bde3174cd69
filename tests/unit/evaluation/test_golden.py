"""What a host is asked, and what its answers are worth."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from bastide.evaluation.golden import ROUNDS, job_of, merged, scores_of
from bastide.evaluation.suites import LoadedSuite, load_suite
from bastide.run.evaluate import KeptScores

SUITE = """
name: small
title: A small suite
corpus: corpus.jsonl
questions:
  - {id: sum, question: "1 + 1?", expect: {kind: exact, answers: ["2"]}}
  - {id: sea, question: "What is pumped?", passages: [A], expect: {kind: contains, any: [water]}}
  - {id: alike, question: "Say it.", expect: {kind: similar, to: "good words", threshold: 0.9}}
  - {id: menu, question: "The menu?", expect: {kind: refusal}}
retrieval: {questions: asked.jsonl, at: 1, query_prefix: "query: "}
"""
CORPUS = '{"id": "A", "text": "water"}\n{"id": "B", "text": "oil"}\n'
ASKED = (
    '{"id": "S1", "question": "wet?", "passage": "A"}\n'
    '{"id": "S2", "question": "fat?", "passage": "B"}\n'
)


@pytest.fixture
def loaded(tmp_path: Path) -> LoadedSuite:
    (tmp_path / "suite.yaml").write_text(SUITE)
    (tmp_path / "corpus.jsonl").write_text(CORPUS)
    (tmp_path / "asked.jsonl").write_text(ASKED)
    return load_suite(tmp_path / "suite.yaml")


def said(name: str, text: str, turn: int = 0, error: str = "") -> dict[str, Any]:
    return {
        "id": name, "round": turn, "text": text, "error": error,
        "tokens": 11, "first_seconds": 0.5, "seconds": 1.5,
    }  # fmt: skip


def raw(**changes: Any) -> dict[str, Any]:
    good = {"sum": "2", "sea": "The water.", "alike": "good words", "menu": "I do not know."}
    base: dict[str, Any] = {
        "host": "host1", "generation": 3, "content": "a" * 64, "release": "starter-2026.11.0",
        "at": "2026-11-26T08:00:00Z", "seconds": 12.5,
        "models": {"llm": "chat", "embeddings": "vectors"},
        "answers": [said(name, text, turn) for turn in (0, 1) for name, text in good.items()],
        "speed": [said("speed0", "x"), said("speed1", "x")],
        "vectors": {
            "p:A": [1.0, 0.0], "p:B": [0.0, 1.0], "q:S1": [0.9, 0.1], "q:S2": [0.1, 0.9],
            "expected:alike": [1.0, 1.0], "answer:alike:0": [1.0, 1.0],
            "answer:alike:1": [1.0, 0.9],
        },
        "errors": {},
    }  # fmt: skip
    return {**base, **changes}


def test_a_host_is_asked_everything_that_is_judged(loaded: LoadedSuite) -> None:
    job = job_of(loaded, parallel=4, seconds=60.0)
    assert [each["id"] for each in job["questions"]] == ["sum", "sea", "alike", "menu"]
    assert job["rounds"] == ROUNDS
    assert job["compared"] == ["alike"]
    texts = {each["id"]: each["text"] for each in job["texts"]}
    assert set(texts) == {"p:A", "p:B", "q:S1", "q:S2", "expected:alike"}
    assert texts["q:S1"] == "query: wet?"
    assert "water" in job["questions"][1]["messages"][0]["content"]
    assert "water" in job["speed"][0]["messages"][0]["content"]  # questions with passages first


def test_good_answers_are_worth_everything(loaded: LoadedSuite) -> None:
    scores = scores_of(loaded, raw())
    assert scores.answers is not None
    assert scores.answers.value == scores.answers.low == 1
    assert scores.measured("refusals") == 1
    assert (scores.hit_rate, scores.mean_reciprocal_rank) == (1, 1)
    assert (scores.tokens_per_second, scores.first_token_seconds) == (10, 0.5)
    assert {each.outcome for each in scores.questions} == {"good"}


def test_rounds_that_differ_make_a_range(loaded: LoadedSuite) -> None:
    answers = raw()["answers"]
    answers[0] = said("sum", "3")
    scores = scores_of(loaded, raw(answers=answers))
    assert scores.answers is not None
    assert scores.answers.value == pytest.approx(5 / 6)
    assert scores.answers.low == pytest.approx(2 / 3)
    assert scores.answers.high == 1
    first = scores.questions[0]
    assert (first.outcome, first.answer, first.reason) == ("unsteady", "3", "expected exactly: 2")


def test_a_service_that_fails_scores_nothing(loaded: LoadedSuite) -> None:
    dead = [{**said(q.id, "", t, "refused"), "first_seconds": None, "tokens": 0}
            for t in (0, 1) for q in loaded.suite.questions]  # fmt: skip
    scores = scores_of(loaded, raw(answers=dead, speed=[], vectors={}))
    assert scores.measured("answers") == 0
    assert scores.measured("refusals") == 0
    assert scores.hit_rate == 0
    assert scores.tokens_per_second is None
    assert scores.questions[0].reason == "refused"
    assert scores.searches[0].rank is None


def test_a_host_without_a_service_has_no_such_measure(loaded: LoadedSuite) -> None:
    no_vectors = raw(models={"llm": "chat", "embeddings": ""}, vectors={})
    scores = scores_of(loaded, no_vectors)
    assert scores.hit_rate is None
    assert {q.id: q.outcome for q in scores.questions}["alike"] == "not judged"
    assert scores.measured("answers") == 1  # of those that could be judged
    no_chat = raw(models={"llm": "", "embeddings": "vectors"}, answers=[], speed=[])
    scores = scores_of(loaded, no_chat)
    assert scores.answers is None
    assert scores.questions == ()
    assert scores.hit_rate == 1


def test_two_looks_count_together(loaded: LoadedSuite) -> None:
    answers = [{**each, "text": "3"} if each["id"] == "sum" else each for each in raw()["answers"]]
    slow = [{**said("speed0", "x"), "first_seconds": 2.0, "seconds": 7.0}]
    bad, good = scores_of(loaded, raw(answers=answers, speed=slow)), scores_of(loaded, raw())
    for one, other in ((bad, good), (good, bad)):
        both = merged(one, other)
        assert (both.questions[0].good, both.questions[0].rounds) == (2, 4)
        assert both.questions[0].answer == "3"
        assert (both.tokens_per_second, both.first_token_seconds) == (10, 0.5)
        assert both.seconds == 25


def test_scores_are_kept_by_host_content_and_suite(tmp_path: Path, loaded: LoadedSuite) -> None:
    kept, scores = KeptScores(tmp_path / "evaluations"), scores_of(loaded, raw())
    key = (scores.host, scores.content, scores.suite_digest)
    assert kept.find(*key) is None
    kept.keep(scores)
    assert kept.find(*key) == scores
    assert kept.find("host2", *key[1:]) is None
    assert kept.find("host1", "b" * 64, key[2]) is None
    kept.path(*key).write_text("{}")
    assert kept.find(*key) is None  # of another version: measured anew
