"""The outcome of a verification: every check, and the first answer. Pure data."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from bastide.schema.base import Name, Sha256, Value
from bastide.schema.site import Group

Outcome = Literal["passed", "failed", "skipped"]


class Check(Value):
    """One check on one host, or on the site as a whole."""

    id: str = Field(description="pytest's own id, by which `-k` finds it again.")
    area: str = Field(description="What it belongs to, such as Gateway.")
    title: str = Field(description="What holds if it passes, in words.")
    host: str = Field(default="", description="The host it looked at; empty: the whole site.")
    outcome: Outcome
    seconds: float
    details: tuple[str, ...] = Field(default=(), description="What it saw.")
    message: str = Field(default="", description="Why it failed or was skipped.")


class Figure(Value):
    """A measured value."""

    name: str = Field(description="Such as time_to_first_token.")
    label: str = Field(description="In words.")
    value: float
    unit: str


class QuestionResult(Value):
    """One question of the bundled corpus, asked through the whole path."""

    question: str
    expected_passage: str = Field(description="Id of the passage that has the answer.")
    rank: int | None = Field(description="Its place among the retrieved ones; None: not there.")
    answer: str | None = Field(default=None, description="None: no time was left to ask.")
    has_fact: bool = Field(default=False, description="Whether the answer states the right fact.")


class FirstAnswer(Value):
    """One question from end to end, with what it took."""

    question: str
    passage_id: str
    passage_title: str
    passage: str
    score: float = Field(description="Cosine similarity of question and passage.")
    answer: str
    fact: str = Field(description="What the answer must state.")
    embed_seconds: float
    search_seconds: float
    first_token_seconds: float
    answer_seconds: float = Field(description="From sending the prompt to the last token.")
    tokens: int


class VerificationReport(Value):
    """Everything that one run of `bastide verify` found."""

    format: Literal["bastide.verification/1"] = "bastide.verification/1"
    site: Name
    release: str
    bundle: Sha256
    gateway: str = Field(description="The gateway's address.")
    models: tuple[str, ...] = Field(description="Names of the models that the site serves.")
    started: str = Field(description="RFC 3339, UTC.")
    seconds: float
    hosts: dict[Name, tuple[str, tuple[Group, ...]]] = Field(
        description="Address and groups of each host."
    )
    checks: tuple[Check, ...]
    figures: tuple[Figure, ...] = ()
    first_answer: FirstAnswer | None = None
    questions: tuple[QuestionResult, ...] = ()

    def count(self, outcome: Outcome) -> int:
        """Return how many checks ended with ``outcome``."""
        return sum(check.outcome == outcome for check in self.checks)

    @property
    def failed(self) -> tuple[Check, ...]:
        """The checks that failed."""
        return tuple(check for check in self.checks if check.outcome == "failed")

    @property
    def good(self) -> bool:
        """Whether the site is proved: at least one check passed and none failed."""
        return not self.failed and self.count("passed") > 0

    def areas(self) -> dict[str, tuple[Check, ...]]:
        """Return the checks by area, in the order in which the areas came up."""
        names = dict.fromkeys(check.area for check in self.checks)
        return {name: tuple(c for c in self.checks if c.area == name) for name in names}
