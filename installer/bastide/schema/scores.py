"""How a generation answered golden questions on one host, and what the evaluation gate says."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from bastide.schema.base import Name, Sha256, Value

Share = Annotated[float, Field(ge=0, le=1)]
Speed = Annotated[float, Field(ge=0)]
Measure = Literal[
    "answers",
    "refusals",
    "hit_rate",
    "mean_reciprocal_rank",
    "tokens_per_second",
    "first_token_seconds",
]


class QuestionScore(Value):
    """One question to the chat model, over all rounds in which it was asked."""

    id: str
    kind: str = Field(description="What was expected: exact, contains, regex, similar, refusal.")
    question: str
    answer: str = Field(description="The first bad answer; a good one if all were good.")
    good: int = Field(ge=0, description="Rounds with a good answer.")
    rounds: int = Field(ge=0, description="Rounds that could be judged.")
    reason: str = Field(default="", description="Why an answer was bad, or was not judged.")

    @property
    def outcome(self) -> Literal["good", "bad", "unsteady", "not judged"]:
        """What the rounds say together."""
        if not self.rounds:
            return "not judged"
        if self.good == self.rounds:
            return "good"
        return "unsteady" if self.good else "bad"


class SearchScore(Value):
    """One question to the embedding model."""

    id: str
    question: str
    passage: str = Field(description="Id of the passage that answers it.")
    rank: int | None = Field(description="Its place, from 1; None: no vector came.")
    found: bool = Field(description="Whether that is among the first few.")

    @property
    def outcome(self) -> Literal["good", "bad"]:
        """Whether it was found."""
        return "good" if self.found else "bad"


class ShareScore(Value):
    """A share of good answers, and what it would be if unsteady ones went one way."""

    value: Share = Field(description="Mean over questions and rounds.")
    low: Share = Field(description="If every question that was answered both ways were bad.")
    high: Share = Field(description="If every such question were good.")


class GenerationScores(Value):
    """How one generation did on one host. A measure that the host cannot have is None."""

    format: Literal["bastide.scores/1"] = "bastide.scores/1"
    host: Name
    generation: int
    content: Sha256 = Field(description="The generation's content digest.")
    release: str = Field(default="", description="Its release; empty if unknown.")
    suite: Name
    suite_digest: Sha256 = Field(description="Of the suite and all files beside it.")
    at: str = Field(description="When it ended, by the host's clock, RFC 3339.")
    seconds: Speed = Field(description="How long it took.")
    model: str = Field(description="The chat model; empty if the host serves none.")
    embedding_model: str = Field(description="The embedding model; empty if the host serves none.")
    answers: ShareScore | None = Field(description="Good answers, refusals left out.")
    refusals: ShareScore | None = Field(description="Right refusals.")
    hit_rate: Share | None = Field(description="Questions whose passage is among the first few.")
    mean_reciprocal_rank: Share | None
    tokens_per_second: Speed | None = Field(description="Median over single answers.")
    first_token_seconds: Speed | None = Field(description="Median wait, prompt included.")
    questions: tuple[QuestionScore, ...] = ()
    searches: tuple[SearchScore, ...] = ()

    def measured(self, measure: Measure) -> float | None:
        """Return a measure as a number."""
        value = getattr(self, measure)
        return value.value if isinstance(value, ShareScore) else value


class Finding(Value):
    """One measure, judged."""

    measure: Measure
    new: float | None
    old: float | None = Field(description="On the same host before; None: not known.")
    floor: float | None = Field(description="What must be reached, whatever was before.")
    tolerance: float | None = Field(description="How much worse than before it may be.")
    limit: float | None = Field(description="The stricter of floor and old less tolerance.")
    ok: bool
    words: str = Field(description="The finding in words.")


class GateVerdict(Value):
    """Whether a generation passes the evaluation gate."""

    format: Literal["bastide.evaluation-verdict/1"] = "bastide.evaluation-verdict/1"
    passed: bool
    findings: tuple[Finding, ...]

    @property
    def failed(self) -> tuple[Finding, ...]:
        """The findings that speak against it."""
        return tuple(each for each in self.findings if not each.ok)
