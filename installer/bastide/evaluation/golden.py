"""Golden questions to a generation: what a host is asked, and what its answers are worth. Pure.

The asking itself is the host agent's (``bastide_host/evaluate.py``).
"""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from bastide.evaluation.prompts import prompt, speed_prompts
from bastide.evaluation.scoring import (
    Judgement,
    Vector,
    cosine,
    hit_rate,
    judge,
    mean_reciprocal_rank,
    rank_of,
    without_echo,
)
from bastide.evaluation.suites import LoadedSuite
from bastide.schema.scores import GenerationScores, QuestionScore, SearchScore, ShareScore
from bastide.schema.suite import Question, Similar

ROUNDS = 2  # how often each question is asked: answers on the edge are then known as such
SPEED_PROMPTS = 5
SPEED_TOKENS = 32
REFUSAL = "refusal"

Raw = Mapping[str, Any]


def job_of(loaded: LoadedSuite, *, parallel: int, seconds: float) -> dict[str, Any]:
    """Return what a host is asked: the host agent's ``evaluate`` takes it as its ``given``.

    Args:
        loaded: The suite.
        parallel: Questions at once; speed is always measured one by one.
        seconds: How long all of it may take; what is left then counts as not answered.
    """
    suite = loaded.suite
    texts: dict[str, str] = {}
    if suite.retrieval:
        texts |= {f"p:{k}": suite.retrieval.passage_prefix + t for k, t in loaded.corpus.items()}
        texts |= {f"q:{s.id}": suite.retrieval.query_prefix + s.question for s in loaded.searches}
    similar = [each for each in suite.questions if isinstance(each.expect, Similar)]
    texts |= {f"expected:{q.id}": q.expect.to for q in similar if isinstance(q.expect, Similar)}
    return {
        "questions": [_asked(q.id, prompt(q, loaded), q.max_tokens) for q in suite.questions],
        "speed": [
            _asked(f"speed{place}", text, SPEED_TOKENS)
            for place, text in enumerate(speed_prompts(loaded, SPEED_PROMPTS))
        ],
        "texts": [{"id": key, "text": text} for key, text in texts.items()],
        "compared": [each.id for each in similar],
        "rounds": ROUNDS,
        "parallel": parallel,
        "seconds": seconds,
    }


def _asked(name: str, text: str, max_tokens: int) -> dict[str, Any]:
    return {
        "id": name,
        "messages": [{"role": "user", "content": text}],
        "max_tokens": max_tokens,
    }


def scores_of(loaded: LoadedSuite, raw: Raw) -> GenerationScores:
    """Return what a host's answers are worth.

    Args:
        loaded: The suite that was asked.
        raw: What the host agent's ``evaluate`` gave back.
    """
    has_llm, has_embeddings = (bool(raw["models"][use]) for use in ("llm", "embeddings"))
    questions = _questions(loaded, raw) if has_llm else ()
    searches = _searches(loaded, raw["vectors"]) if has_embeddings else ()
    ranks = [each.rank or len(loaded.corpus) + 1 for each in searches]
    at = loaded.suite.retrieval.at if loaded.suite.retrieval else 1
    rate, wait = _speed(raw["speed"])
    return GenerationScores(
        host=raw["host"],
        generation=raw["generation"],
        content=raw["content"],
        release=raw["release"],
        suite=loaded.suite.name,
        suite_digest=loaded.digest,
        at=raw["at"],
        seconds=raw["seconds"],
        model=raw["models"]["llm"],
        embedding_model=raw["models"]["embeddings"],
        answers=_share([each for each in questions if each.kind != REFUSAL]),
        refusals=_share([each for each in questions if each.kind == REFUSAL]),
        hit_rate=hit_rate(ranks, at) if ranks else None,
        mean_reciprocal_rank=mean_reciprocal_rank(ranks) if ranks else None,
        tokens_per_second=rate,
        first_token_seconds=wait,
        questions=questions,
        searches=searches,
    )


def merged(one: GenerationScores, other: GenerationScores) -> GenerationScores:
    """Return two evaluations of one generation as one: all rounds, and the better speed.

    Whatever else goes on at a host makes it slower, never faster.
    """
    pairs = zip(one.questions, other.questions, strict=True)
    questions = tuple(
        (each if each.good < each.rounds else again).replace(
            good=each.good + again.good, rounds=each.rounds + again.rounds
        )
        for each, again in pairs
    )
    rates = [x for x in (one.tokens_per_second, other.tokens_per_second) if x is not None]
    waits = [x for x in (one.first_token_seconds, other.first_token_seconds) if x is not None]
    return other.replace(
        seconds=one.seconds + other.seconds,
        answers=_share([each for each in questions if each.kind != REFUSAL]),
        refusals=_share([each for each in questions if each.kind == REFUSAL]),
        tokens_per_second=max(rates, default=None),
        first_token_seconds=min(waits, default=None),
        questions=questions,
    )


# --- answers -----------------------------------------------------------------------------------
def _questions(loaded: LoadedSuite, raw: Raw) -> tuple[QuestionScore, ...]:
    given: dict[str, list[Raw]] = {each.id: [] for each in loaded.suite.questions}
    for answer in raw["answers"]:
        given[answer["id"]].append(answer)
    told, vectors = loaded.suite.instruction, raw["vectors"]
    has_judge = bool(raw["models"]["embeddings"])
    found = []
    for question in loaded.suite.questions:
        judged = [
            (each["text"], _judged(question, each, told, vectors if has_judge else None))
            for each in given[question.id]
        ]
        found.append(_question_score(question, judged))
    return tuple(found)


def _judged(
    question: Question, answer: Raw, told: str, vectors: Mapping[str, Vector] | None
) -> Judgement:
    if answer["error"]:
        return Judgement(good=False, value=0.0, why=answer["error"])
    similarity = None
    if isinstance(question.expect, Similar) and vectors is not None:
        said = vectors.get(f"answer:{question.id}:{answer['round']}")
        good = vectors.get(f"expected:{question.id}")
        similarity = cosine(said, good) if said and good else 0.0
    return judge(question.expect, without_echo(answer["text"], told), similarity)


def _question_score(question: Question, judged: Sequence[tuple[str, Judgement]]) -> QuestionScore:
    known = [each for each in judged if each[1].good is not None]
    bad = [each for each in judged if each[1].good is not True]
    answer, judgement = next(iter(bad or judged), ("", Judgement(None, None, "not asked")))
    return QuestionScore(
        id=question.id,
        kind=question.expect.kind,
        question=question.question,
        answer=answer,
        good=sum(each[1].good is True for each in known),
        rounds=len(known),
        reason=judgement.why,
    )


def _share(questions: Sequence[QuestionScore]) -> ShareScore | None:
    judged = [each for each in questions if each.rounds]
    if not judged:
        return None
    return ShareScore(
        value=sum(each.good / each.rounds for each in judged) / len(judged),
        low=sum(each.outcome == "good" for each in judged) / len(judged),
        high=sum(each.outcome != "bad" for each in judged) / len(judged),
    )


# --- vectors and speed -------------------------------------------------------------------------
def _searches(loaded: LoadedSuite, vectors: Mapping[str, Vector]) -> tuple[SearchScore, ...]:
    if loaded.suite.retrieval is None:
        return ()
    passages = {k: vectors[f"p:{k}"] for k in loaded.corpus if f"p:{k}" in vectors}
    found = []
    for each in loaded.searches:
        asked = vectors.get(f"q:{each.id}")
        known = asked is not None and each.passage in passages
        rank = rank_of(asked, passages, each.passage) if asked is not None and known else None
        found.append(
            SearchScore(
                id=each.id,
                question=each.question,
                passage=each.passage,
                rank=rank,
                found=rank is not None and rank <= loaded.suite.retrieval.at,
            )
        )
    return tuple(found)


def _speed(answers: Sequence[Raw]) -> tuple[float | None, float | None]:
    """Return tokens a second and the wait for the first token, each the median."""
    good = [a for a in answers if not a["error"] and a["first_seconds"] is not None]
    waits = [each["first_seconds"] for each in good]
    rates = [
        (each["tokens"] - 1) / (each["seconds"] - each["first_seconds"])
        for each in good
        if each["tokens"] > 1 and each["seconds"] > each["first_seconds"]
    ]
    rate = round(statistics.median(rates), 2) if rates else None
    return rate, round(statistics.median(waits), 4) if waits else None
