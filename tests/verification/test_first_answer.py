"""The whole path: a handbook is indexed, questions find their passage, the model answers.

The handbook's plant does not exist, so no model can know the answers by heart.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import openai
import pytest
from qdrant_client import QdrantClient, models

from bastide.schema.expectations import Expectations
from bastide.verify.suite import Measured, Saw

pytestmark = pytest.mark.area("First answer")

CORPUS = Path(__file__).parent / "corpus"
BATCH = 10  # passages in one request
TOP = 3
ENOUGH = 18  # of 20 questions must find their passage among the first three
TOKENS = 48
BUDGET = 8.0  # s for the answers that are information only; a slow machine gives fewer of them
FIRST = "Q01"  # the question that is shown, and whose answer must state its fact

Record = Callable[[str, object], None]


@dataclass(frozen=True)
class Passage:
    id: str
    title: str
    text: str


@dataclass(frozen=True)
class Question:
    id: str
    question: str
    passage: str
    facts: tuple[str, ...]

    def stated_in(self, answer: str) -> bool:
        """Whether ``answer`` states the fact, in any of its spellings."""
        return any(fact.lower() in answer.lower() for fact in self.facts)


@dataclass(frozen=True)
class Library:
    """The indexed handbook."""

    collection: str
    vectordb: QdrantClient
    chat: openai.OpenAI
    expected: Expectations
    seconds: float

    def embed(self, texts: list[str]) -> list[list[float]]:
        answer = self.chat.embeddings.create(model=self.expected.embedding_model, input=texts)
        return [each.embedding for each in sorted(answer.data, key=lambda each: each.index)]

    def nearest(self, vector: list[float]) -> list[tuple[Passage, float]]:
        found = self.vectordb.query_points(self.collection, query=vector, limit=TOP).points
        return [(Passage(**(point.payload or {})), point.score) for point in found]


def _lines(name: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (CORPUS / name).read_text("utf-8").splitlines()]


PASSAGES = tuple(Passage(**line) for line in _lines("handbook.jsonl"))
QUESTIONS = tuple(
    Question(**{**line, "facts": tuple(line["facts"])}) for line in _lines("questions.jsonl")
)


@pytest.fixture(scope="module")
def library(
    expected: Expectations, chat: openai.OpenAI, vectordb: QdrantClient, collection: str
) -> Library:
    """The handbook, embedded and stored in a collection of its own."""
    started = time.monotonic()
    vectordb.create_collection(
        collection,
        vectors_config=models.VectorParams(
            size=expected.dimensions, distance=models.Distance.COSINE
        ),
    )
    empty = Library(collection, vectordb, chat, expected, 0.0)
    for at in range(0, len(PASSAGES), BATCH):
        batch = PASSAGES[at : at + BATCH]
        vectors = empty.embed([f"{each.title}. {each.text}" for each in batch])
        points = [
            models.PointStruct(id=at + number, vector=vector, payload=vars(each))
            for number, (each, vector) in enumerate(zip(batch, vectors, strict=True))
        ]
        vectordb.upsert(collection, points=points, wait=True)
    return Library(collection, vectordb, chat, expected, time.monotonic() - started)


def _prompt(passage: Passage, question: str) -> str:
    return (
        f"{passage.title}\n{passage.text}\n\n"
        f"Using only the text above, answer in one sentence: {question}"
    )


def _stream(library: Library, prompt: str) -> tuple[str, float, float, int]:
    """Return the answer, s to its first token, s to its last, and how many pieces it had."""
    started = time.monotonic()
    pieces: list[str] = []
    first = 0.0
    for chunk in library.chat.chat.completions.create(
        model=library.expected.chat_model,
        messages=[{"role": "user", "content": prompt}],
        max_tokens=TOKENS,
        temperature=0,
        stream=True,
    ):
        text = chunk.choices[0].delta.content if chunk.choices else None
        if text:
            first = first or time.monotonic() - started
            pieces.append(text)
    return "".join(pieces).strip(), first, time.monotonic() - started, len(pieces)


def test_handbook_is_indexed(library: Library, saw: Saw, measured: Measured) -> None:
    """The handbook's passages are embedded and stored"""
    stored = library.vectordb.count(library.collection, exact=True).count
    saw(f"{stored} passages in {library.seconds:.1f} s")
    measured("index_rate", "Passages embedded and stored", stored / library.seconds, "passages/s")
    assert stored == len(PASSAGES)


def test_first_answer(library: Library, saw: Saw, record_property: Record) -> None:
    """A question finds its passage, and the model's answer states the passage's fact"""
    question = next(each for each in QUESTIONS if each.id == FIRST)
    begin = time.monotonic()
    vector = library.embed([question.question])[0]
    embedded = time.monotonic()
    passage, score = library.nearest(vector)[0]
    searched = time.monotonic()
    answer, first, last, tokens = _stream(library, _prompt(passage, question.question))
    record = {
        "question": question.question,
        "passage_id": passage.id,
        "passage_title": passage.title,
        "passage": passage.text,
        "score": score,
        "answer": answer,
        "fact": question.facts[0],
        "embed_seconds": embedded - begin,
        "search_seconds": searched - embedded,
        "first_token_seconds": first,
        "answer_seconds": last,
        "tokens": tokens,
    }
    record_property("first_answer", json.dumps(record))
    saw(f"{question.question} → {answer}")
    assert passage.id == question.passage, f"expected {question.passage}, found {passage.id}"
    assert question.stated_in(answer), f"expected '{question.facts[0]}' in: {answer!r}"


def test_questions_find_their_passage(
    library: Library, saw: Saw, measured: Measured, record_property: Record
) -> None:
    """At least 18 of 20 questions have the right passage among the first three"""
    vectors = library.embed([each.question for each in QUESTIONS])
    nearest = [library.nearest(vector) for vector in vectors]
    found = [[passage.id for passage, _ in each] for each in nearest]
    ranks = [
        ids.index(question.passage) + 1 if question.passage in ids else None
        for question, ids in zip(QUESTIONS, found, strict=True)
    ]
    hits = len(ranks) - ranks.count(None)
    saw(f"{hits} of {len(ranks)} among the first {TOP}, {ranks.count(1)} in the first place")
    measured("hit_rate", f"Right passage among the first {TOP}", hits / len(ranks) * 100, "%")
    answers = _answers(library, [each[0][0] for each in nearest])
    for question, rank, answer in zip(QUESTIONS, ranks, answers, strict=True):
        record = {
            "question": question.question,
            "expected_passage": question.passage,
            "rank": rank,
            "answer": answer,
            "has_fact": answer is not None and question.stated_in(answer),
        }
        record_property("question", json.dumps(record))
    given = [(q, a) for q, a in zip(QUESTIONS, answers, strict=True) if a is not None]
    stated = sum(question.stated_in(answer) for question, answer in given)
    # Not a gate: how well a model reads is its own affair; that it answers is the site's.
    saw(f"{stated} of {len(given)} answers state the passage's fact")
    measured("answers_with_fact", "Answers that state the fact", stated / len(given) * 100, "%")
    empty = [question.id for question, answer in given if not answer]
    assert hits >= ENOUGH, f"expected {ENOUGH} of {len(ranks)}, found {hits}"
    assert not empty, f"no answer to {', '.join(empty)}"


def _answers(library: Library, passages: list[Passage]) -> list[str | None]:
    """Ask the questions, as many at once as the site answers at once; None: no time was left."""
    deadline = time.monotonic() + BUDGET

    def ask(pair: tuple[Question, Passage]) -> str | None:
        question, passage = pair
        if time.monotonic() > deadline:
            return None
        return _stream(library, _prompt(passage, question.question))[0]

    with ThreadPoolExecutor(min(library.expected.parallel, 8)) as pool:
        return list(pool.map(ask, zip(QUESTIONS, passages, strict=True)))
