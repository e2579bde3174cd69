"""Is an answer good? Pure: texts and vectors in, scores out; no model, no file, no clock.

Hit rate and mean reciprocal rank as in Voorhees, The TREC-8 Question Answering Track Report (1999).
"""

from __future__ import annotations

import math
import re
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from bastide.schema.suite import Contains, Exact, Expectation, Matches, Refuses, Similar

Vector = Sequence[float]

REFUSALS = (
    "i cannot", "i can't", "i can not", "i am not able", "i'm not able", "i am unable",
    "i'm unable", "i do not know", "i don't know", "i'm sorry", "i am sorry", "i do not have",
    "i don't have", "i won't", "i will not", "not possible to say", "no information",
    "not mentioned", "not specified", "not stated", "not provided", "not given",
    "do not say", "does not say", "don't say", "doesn't say", "do not mention",
    "does not mention", "do not contain", "does not contain", "do not provide",
    "does not provide", "do not specify", "does not specify", "cannot be determined", "unknown",
)  # fmt: skip


@dataclass(frozen=True)
class Judgement:
    """What an answer is worth.

    Args:
        good: Whether it has what was expected; none if that could not be judged.
        value: 0 to 1; the cosine for similarity.
        why: The reason, in words.
    """

    good: bool | None
    value: float | None
    why: str


def plain(text: str) -> str:
    """Return a text without what answers may differ in: case, spaces, typographic marks."""
    text = unicodedata.normalize("NFKC", text).casefold().replace("’", "'")  # noqa: RUF001
    text = re.sub(r"[*_`\"“”]", "", text)
    return re.sub(r"\s+", " ", text).strip()


def without_echo(answer: str, instruction: str) -> str:
    """Return an answer without sentences that only repeat what the model was told.

    A weak model recites its instruction; "say that you do not know" in it is no refusal.
    """
    told = {plain(each) for each in re.split(r"(?<=[.!?])\s+|\n", instruction)}
    kept = [s for s in re.split(r"(?<=[.!?])\s+|\n", answer) if plain(s) not in told]
    return " ".join(kept).strip()


def judge(expectation: Expectation, answer: str, similarity: float | None = None) -> Judgement:
    """Return whether ``answer`` is what was expected.

    Args:
        expectation: What a good answer has.
        answer: What the model said.
        similarity: Cosine of the answer's and the good answer's vectors, where one is needed.
    """
    if isinstance(expectation, Similar):
        return _by_meaning(expectation, similarity)
    said = plain(answer)
    if not said:
        return Judgement(good=False, value=0.0, why="the answer is empty")
    match expectation:
        case Exact(answers=answers):
            good = said.rstrip(".!") in {plain(each).rstrip(".!") for each in answers}
            return _of(good, f"expected exactly: {' / '.join(answers)}")
        case Contains(any=texts):
            return _of(any(_has(said, each) for each in texts), f"expected: {' / '.join(texts)}")
        case Matches(pattern=pattern):
            return _of(bool(re.search(pattern, answer, re.IGNORECASE)), f"expected /{pattern}/")
        case Refuses(phrases=phrases):
            good = any(plain(each) in said for each in (*REFUSALS, *phrases))
            return _of(good, "expected it to say that it cannot answer")


def _by_meaning(expectation: Similar, similarity: float | None) -> Judgement:
    if similarity is None:
        return Judgement(None, None, "not judged: no embedding model was given")
    why = f"cosine {similarity:.2f}, at least {expectation.threshold:.2f} expected"
    return Judgement(similarity >= expectation.threshold, similarity, why)


def _of(good: bool, expected: str) -> Judgement:  # noqa: FBT001
    return Judgement(good, float(good), "" if good else expected)


def _has(said: str, text: str) -> bool:
    """Return whether a text stands in an answer, not as part of a longer word or number."""
    return bool(re.search(rf"(?<![\w.,])(?<!\w-){re.escape(plain(text))}(?!\w|[.,]\d)", said))


# --- retrieval ---------------------------------------------------------------------------------
def cosine(one: Vector, other: Vector) -> float:
    """Return the cosine of two vectors; 0 if one has no length."""
    length = math.sqrt(sum(x * x for x in one)) * math.sqrt(sum(x * x for x in other))
    return sum(x * y for x, y in zip(one, other, strict=True)) / length if length else 0.0


def rank_of(question: Vector, passages: Mapping[str, Vector], wanted: str) -> int:
    """Return the place (from 1) of the wanted passage; equals stand before it, to be strict."""
    mark = cosine(question, passages[wanted])
    ahead = (cosine(question, v) >= mark for name, v in passages.items() if name != wanted)
    return 1 + sum(ahead)


def hit_rate(ranks: Sequence[int], at: int) -> float:
    """Return the share of questions whose passage is among the first ``at``."""
    return sum(rank <= at for rank in ranks) / len(ranks) if ranks else 0.0


def mean_reciprocal_rank(ranks: Sequence[int]) -> float:
    """Return the mean of 1 ÷ rank."""
    return sum(1 / rank for rank in ranks) / len(ranks) if ranks else 0.0
