"""Asks candidate models the questions of a suite, on this machine, and scores them."""

from __future__ import annotations

import hashlib
import statistics
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bastide.evaluation.engine import Engine, Event
from bastide.evaluation.journal import Journal
from bastide.evaluation.prompts import prompt
from bastide.evaluation.scoring import (
    Judgement,
    cosine,
    hit_rate,
    judge,
    mean_reciprocal_rank,
    rank_of,
    without_echo,
)
from bastide.evaluation.suites import LoadedSuite
from bastide.progress import Progress
from bastide.schema.suite import Question, Similar

FORM = 2  # of prompts and events: results of another form are not taken up again


@dataclass(frozen=True)
class Candidate:
    """A model to be asked.

    Args:
        name: For people.
        path: Its GGUF file.
        sha256: The file's digest: results belong to these bytes.
        embedding: Whether it makes vectors rather than text.
        window: Tokens of context that it was made for.
    """

    name: str
    path: Path
    sha256: str
    embedding: bool
    window: int


@dataclass(frozen=True)
class Answer:
    """One question, what the model said, and what that is worth."""

    id: str
    kind: str
    question: str
    answer: str
    judgement: Judgement
    seconds: float
    first_seconds: float
    tokens: int


@dataclass(frozen=True)
class Retrieved:
    """How well an embedding model finds passages."""

    questions: int
    at: int
    hit_rate_at_1: float
    hit_rate: float
    mean_reciprocal_rank: float
    missed: tuple[str, ...]


@dataclass(frozen=True)
class Outcome:
    """All about one model.

    Args:
        model: Its name.
        sha256: Digest of its file.
        task: chat or embedding.
        good: Questions answered well; for an embedding model found among the first.
        judged: Questions that could be judged.
        not_judged: Questions that could not (similarity without an embedding model).
        by_kind: Good and judged for each kind of expectation.
        retrieved: For an embedding model.
        tokens_per_second: Median over answers (chat: written; embedding: read).
        first_token_seconds: Median time to the first token; none for an embedding model.
        memory: Most resident memory in bytes.
        chat_template: Whether the file has a chat template; without one it is a base model that
            goes on with a text. None for an embedding model.
        resumed: Answers taken from an earlier run that did not end.
        answers: One by one; empty for an embedding model.
    """

    model: str
    sha256: str
    task: str
    good: int
    judged: int
    not_judged: int
    by_kind: dict[str, tuple[int, int]]
    retrieved: Retrieved | None
    tokens_per_second: float | None
    first_token_seconds: float | None
    memory: int
    chat_template: bool | None
    resumed: int
    answers: tuple[Answer, ...]

    @property
    def quality(self) -> float | None:
        """Share of the judged questions that were answered well."""
        return self.good / self.judged if self.judged else None


@dataclass(frozen=True)
class Evaluation:
    """Candidates side by side on one suite."""

    suite: str
    title: str
    digest: str
    engine: str
    threads: int
    folder: Path
    outcomes: tuple[Outcome, ...]


@dataclass(frozen=True)
class Trial:
    """How candidates are asked.

    Args:
        engine: What runs them.
        loaded: The suite.
        folder: Where results are kept, so that a run can go on after it was killed.
        seed: For what little chance there is: answers are the most likely tokens.
        embedder: Embedding model for expectations of similarity; none: not judged.
    """

    engine: Engine
    loaded: LoadedSuite
    folder: Path
    seed: int = 1
    embedder: Candidate | None = None


def evaluate(candidates: tuple[Candidate, ...], trial: Trial, progress: Progress) -> Evaluation:
    """Return how ``candidates`` do; each runs in a process of its own, one after the other.

    Raises:
        VerifyError: The engine cannot run one of them. What was answered is kept.
    """
    outcomes = tuple(
        _embedding(each, trial, progress) if each.embedding else _chat(each, trial, progress)
        for each in candidates
    )
    suite = trial.loaded.suite
    return Evaluation(
        suite.name,
        suite.title,
        trial.loaded.digest,
        f"llama-cpp-python {trial.engine.version}",
        trial.engine.threads,
        trial.folder,
        outcomes,
    )


def _journal(candidate: Candidate, trial: Trial, what: str) -> Journal:
    """Return the journal of exactly this: model, suite, engine and setting."""
    parts = (candidate.sha256, trial.loaded.digest, trial.engine.version, trial.seed, what, FORM)
    key = hashlib.sha256(repr((*parts, trial.engine.threads)).encode()).hexdigest()[:16]
    return Journal(trial.folder / f"{candidate.name}-{what}-{key}.jsonl")


def _work(
    candidate: Candidate, trial: Trial, job: dict[str, Any], items: str, progress: Progress
) -> tuple[Journal, int]:
    """Have the engine do what of a job is not done yet; return all answers, and the old ones."""
    journal = _journal(candidate, trial, job["action"])
    before = journal.done()
    left = [item for item in job[items] if item["id"] not in before]
    label = f"{job['action']} {candidate.name}"
    with progress.task(label, total=len(job[items]), unit="steps") as task:
        task.advance(len(job[items]) - len(left))

        def on_event(event: Event) -> None:
            if event["event"] in {"ready", "done"}:
                journal.add({**event, "event": "memory"})
            elif "id" in event:
                journal.add(event)
                task.describe(str(event["id"]))
                task.advance(1)

        if left:
            base = {"model": str(candidate.path), "seed": trial.seed}
            trial.engine.run({**base, **job, items: left}, on_event)
    return journal, len(job[items]) - len(left)


# --- chat --------------------------------------------------------------------------------------
def _chat(candidate: Candidate, trial: Trial, progress: Progress) -> Outcome:
    questions = trial.loaded.suite.questions
    prompts = {each.id: prompt(each, trial.loaded) for each in questions}
    longest = max((len(text) // 3 for text in prompts.values()), default=0)
    most = max((each.max_tokens for each in questions), default=0)
    job = {
        "action": "ask",
        "n_ctx": min(max(1024, -(-(longest + most + 64) // 256) * 256), candidate.window),
        "questions": [
            {
                "id": each.id,
                "prompt": prompts[each.id],
                "max_tokens": each.max_tokens,
            }
            for each in questions
        ],
    }
    journal, resumed = _work(candidate, trial, job, "questions", progress)
    events = journal.done()
    cosines = _similarities(events, trial, progress)
    told = trial.loaded.suite.instruction
    answers = tuple(
        _answer(each, events[each.id], told, cosines.get(each.id)) for each in questions
    )
    judged = [each for each in answers if each.judgement.good is not None]
    every, good = (
        Counter(a.kind for a in judged),
        Counter(a.kind for a in judged if a.judgement.good),
    )
    spoken = [a for a in answers if a.tokens > 1 and a.seconds > a.first_seconds]
    rates = [(a.tokens - 1) / (a.seconds - a.first_seconds) for a in spoken]
    return Outcome(
        model=candidate.name,
        sha256=candidate.sha256,
        task="chat",
        good=sum(good.values()),
        judged=len(judged),
        not_judged=len(answers) - len(judged),
        by_kind={kind: (good[kind], every[kind]) for kind in sorted(every)},
        retrieved=None,
        tokens_per_second=statistics.median(rates) if rates else None,
        first_token_seconds=statistics.median(a.first_seconds for a in answers)
        if answers
        else None,
        memory=journal.peak_memory(),
        chat_template=any(event.get("template") for event in journal.events),
        resumed=resumed,
        answers=answers,
    )


def _answer(question: Question, event: Event, instruction: str, similarity: float | None) -> Answer:
    kind = question.expect.kind
    if event["event"] == "refused":
        verdict = Judgement(good=False, value=0.0, why=f"the engine: {event['what']}")
        return Answer(question.id, kind, question.question, "", verdict, 0.0, 0.0, 0)
    return Answer(
        question.id,
        kind,
        question.question,
        event["text"],
        judge(question.expect, without_echo(event["text"], instruction), similarity),
        event["seconds"],
        event["first_seconds"],
        event["tokens"],
    )


def _similarities(
    events: dict[str, dict[str, Any]], trial: Trial, progress: Progress
) -> dict[str, float]:
    """Return the cosine of each answer that is judged by similarity."""
    asked = [q for q in trial.loaded.suite.questions if isinstance(q.expect, Similar)]
    if trial.embedder is None or not asked:
        return {}
    texts = {}
    for question in asked:
        assert isinstance(question.expect, Similar)  # noqa: S101 - for the type checker
        for text in (question.expect.to, events[question.id].get("text", "")):
            texts[_text_id(text)] = text
    vectors = _vectors(trial.embedder, trial, texts, progress)
    found = {}
    for question in asked:
        assert isinstance(question.expect, Similar)  # noqa: S101
        answer = vectors.get(_text_id(events[question.id].get("text", "")))
        good = vectors.get(_text_id(question.expect.to))
        found[question.id] = cosine(answer, good) if answer and good else 0.0
    return found


def _text_id(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:24]


def _vectors(
    candidate: Candidate, trial: Trial, texts: dict[str, str], progress: Progress
) -> dict[str, list[float]]:
    items = [{"id": key, "text": text or " "} for key, text in texts.items()]
    job = {"action": "embed", "n_ctx": min(candidate.window, 512), "texts": items}
    journal, _ = _work(candidate, trial, job, "texts", progress)
    return {key: event["vector"] for key, event in journal.done().items() if "vector" in event}


# --- embeddings --------------------------------------------------------------------------------
def _embedding(candidate: Candidate, trial: Trial, progress: Progress) -> Outcome:
    loaded, retrieval = trial.loaded, trial.loaded.suite.retrieval
    texts = {}
    if retrieval:
        texts = {f"p:{k}": retrieval.passage_prefix + t for k, t in loaded.corpus.items()}
        texts |= {f"q:{s.id}": retrieval.query_prefix + s.question for s in loaded.searches}
    items = [{"id": key, "text": text} for key, text in texts.items()]
    job = {"action": "embed", "n_ctx": min(candidate.window, 512), "texts": items}
    journal, resumed = _work(candidate, trial, job, "texts", progress)
    events = journal.done()
    found = _retrieved(events, loaded) if retrieval else None
    rates = [e["tokens"] / e["seconds"] for e in events.values() if e.get("seconds")]
    good = round(found.hit_rate * found.questions) if found else 0
    judged = found.questions if found else 0
    return Outcome(
        model=candidate.name,
        sha256=candidate.sha256,
        task="embedding",
        good=good,
        judged=judged,
        not_judged=0,
        by_kind={"retrieval": (good, judged)} if found else {},
        retrieved=found,
        tokens_per_second=statistics.median(rates) if rates else None,
        first_token_seconds=None,
        memory=journal.peak_memory(),
        chat_template=None,
        resumed=resumed,
        answers=(),
    )


def _retrieved(events: dict[str, dict[str, Any]], loaded: LoadedSuite) -> Retrieved:
    vectors = {key: e["vector"] for key, e in events.items() if "vector" in e}
    passages = {k.removeprefix("p:"): v for k, v in vectors.items() if k.startswith("p:")}
    last = len(loaded.corpus) + 1  # a text that the engine refused is not found at all
    ranks = {
        each.id: rank_of(vectors[f"q:{each.id}"], passages, each.passage)
        if f"q:{each.id}" in vectors and each.passage in passages
        else last
        for each in loaded.searches
    }
    at = loaded.suite.retrieval.at if loaded.suite.retrieval else 1
    return Retrieved(
        questions=len(ranks),
        at=at,
        hit_rate_at_1=hit_rate(list(ranks.values()), 1),
        hit_rate=hit_rate(list(ranks.values()), at),
        mean_reciprocal_rank=mean_reciprocal_rank(list(ranks.values())),
        missed=tuple(key for key, rank in ranks.items() if rank > at),
    )
