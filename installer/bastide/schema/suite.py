"""Question suites: what a candidate model is asked, and what a good answer has."""

from __future__ import annotations

import re
from typing import Annotated, Literal

from pydantic import Field, field_validator, model_validator

from bastide.schema.base import Name, Value

Text = Annotated[str, Field(min_length=1, max_length=20_000)]


class Exact(Value):
    """The answer is one of these, apart from case, spaces and a closing mark."""

    kind: Literal["exact"]
    answers: tuple[Text, ...] = Field(description="Answers that count.", min_length=1)


class Contains(Value):
    """The answer has one of these in it, apart from case and spaces."""

    kind: Literal["contains"]
    any: tuple[Text, ...] = Field(description="Texts of which one must be there.", min_length=1)


class Matches(Value):
    """The answer matches a regular expression somewhere."""

    kind: Literal["regex"]
    pattern: Text = Field(description="A Python regular expression; case is ignored.")

    @field_validator("pattern")
    @classmethod
    def _compiles(cls, value: str) -> str:
        try:
            re.compile(value)
        except re.error as error:
            raise ValueError(f"should be a regular expression ({error})") from error
        return value


class Similar(Value):
    """The answer means much the same: cosine of the vectors of an embedding model."""

    kind: Literal["similar"]
    to: Text = Field(description="A good answer.")
    threshold: Annotated[float, Field(gt=0, le=1)] = Field(
        default=0.7, description="Least cosine that counts."
    )


class Refuses(Value):
    """The model says that it cannot answer: because it is not there, or should not be told."""

    kind: Literal["refusal"]
    phrases: tuple[Text, ...] = Field(
        default=(), description="Further words of refusal, besides the usual English ones."
    )


Expectation = Annotated[Exact | Contains | Matches | Similar | Refuses, Field(discriminator="kind")]


class Question(Value):
    """One question to a chat model."""

    id: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")] = Field(
        description="Its name in results."
    )
    question: Text = Field(description="What is asked.")
    passages: tuple[str, ...] = Field(
        default=(), description="Passages of the corpus that are put before the question."
    )
    max_tokens: Annotated[int, Field(ge=1, le=4096)] = Field(
        default=96, description="Longest answer."
    )
    expect: Expectation = Field(description="What a good answer has.")


class Retrieval(Value):
    """Questions to an embedding model: does it find the passage that answers?"""

    questions: str = Field(
        description="File of lines {id, question, passage}, beside the suite.", min_length=1
    )
    query_prefix: str = Field(default="", description="What the model wants before a question.")
    passage_prefix: str = Field(default="", description="What it wants before a passage.")
    at: Annotated[int, Field(ge=1, le=100)] = Field(
        default=3, description="The passage must be among the first so many."
    )


class Suite(Value):
    """What candidate models are asked."""

    name: Name = Field(description="Name of the suite.")
    title: str = Field(description="What it is about, in words.")
    instruction: str = Field(
        default="Answer in one short sentence. If the passages do not say it, say that you do not "
        "know.",
        description="What every chat model is told before the question.",
    )
    corpus: str | None = Field(
        default=None, description="File of lines {id, title, text}, beside the suite."
    )
    questions: tuple[Question, ...] = Field(default=(), description="For chat models.")
    retrieval: Retrieval | None = Field(default=None, description="For embedding models.")

    @model_validator(mode="after")
    def _whole(self) -> Suite:
        if not self.questions and self.retrieval is None:
            raise ValueError('should have "questions" or "retrieval", or both')
        ids = [question.id for question in self.questions]
        twice = sorted({each for each in ids if ids.count(each) > 1})
        if twice:
            raise ValueError(f"two questions have the same id: {', '.join(twice)}")
        if self.corpus is None and (self.retrieval or any(q.passages for q in self.questions)):
            raise ValueError('passages and retrieval need a "corpus"')
        return self
