"""The bundled handbook and its questions are whole and honest."""

from __future__ import annotations

import json
from typing import Any

import pytest

from bastide import resources

CORPUS = resources.verification_suite() / "corpus"


def read(name: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (CORPUS / name).read_text("utf-8").splitlines()]


PASSAGES = {each["id"]: each for each in read("handbook.jsonl")}
QUESTIONS = read("questions.jsonl")


def test_there_are_enough_of_them() -> None:
    assert len(PASSAGES) == len(read("handbook.jsonl")) >= 60
    assert len(QUESTIONS) == len({each["id"] for each in QUESTIONS}) == 20


@pytest.mark.parametrize("passage", PASSAGES.values(), ids=lambda each: each["id"])
def test_passages_are_short(passage: dict[str, Any]) -> None:
    assert 40 <= len(passage["text"].split()) <= 90


@pytest.mark.parametrize("question", QUESTIONS, ids=lambda each: each["id"])
def test_questions_can_be_answered_from_their_passage_only(question: dict[str, Any]) -> None:
    text = PASSAGES[question["passage"]]["text"].lower()
    assert any(fact.lower() in text for fact in question["facts"])
    # The words of a question must not give its answer away, nor be the passage's own.
    assert not any(fact.lower() in question["question"].lower() for fact in question["facts"])
    words = question["question"].lower().split()
    runs = (" ".join(words[at : at + 5]) for at in range(len(words) - 4))
    assert not any(run in text for run in runs)
