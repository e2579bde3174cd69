"""Workloads: what a stack would have to do in a year; the small file that `bastide cost` reads."""

from __future__ import annotations

from decimal import Decimal
from enum import StrEnum
from typing import Annotated, Literal

from pydantic import Field, model_validator

from bastide.schema.base import Name, Value
from bastide.schema.prices import Amount, Money

Count = Annotated[int, Field(ge=0, le=10**12)]
Hours = Annotated[Decimal, Field(ge=0, le=8784)]


class Volume(Value):
    """An amount of text, in words or in tokens."""

    words: Amount | None = Field(default=None, description="Words.")
    tokens: Amount | None = Field(default=None, description="Tokens.")

    @model_validator(mode="after")
    def _one_of(self) -> Volume:
        if (self.words is None) == (self.tokens is None):
            raise ValueError('should have either "words" or "tokens"')
        return self

    def in_tokens(self, tokens_per_word: Decimal) -> Decimal:
        """Return the amount in tokens."""
        return self.tokens if self.tokens is not None else (self.words or 0) * tokens_per_word


class Batch(Value):
    """Documents that a model reads and writes about, some times a year."""

    name: str = Field(description="What is done, in words.", min_length=1)
    documents: Count = Field(description="How many documents (or calls, or questions).")
    times_per_year: Amount = Field(default=Decimal(1), description="How often a year.")
    input: Volume = Field(description="What the model reads for each.")
    output: Volume = Field(description="What it writes for each.")


class Users(Value):
    """People who ask."""

    name: str = Field(default="questions of users", description="What it is called in the table.")
    count: Count = Field(description="How many people.")
    requests_per_day: Amount = Field(description="Requests of each on a working day.")
    days_per_year: Annotated[Decimal, Field(ge=0, le=366)] = Field(description="Working days.")
    input: Volume = Field(description="What the model reads for a request, context included.")
    output: Volume = Field(description="What it writes.")


class Embeddings(Value):
    """Text that is turned into vectors: once, and again as often as it changes."""

    input: Volume = Field(description="The whole corpus.")
    price: Name = Field(description="Name of an api price, for options that pay by token.")
    refreshes_per_year: Amount = Field(
        default=Decimal(0), description="How often a year all of it is embedded again."
    )


class Storage(Value):
    """The vectors' store, where it is rented; one's own servers hold it themselves."""

    price: Name = Field(description="Name of a store's price.")
    months: Annotated[Decimal, Field(ge=0, le=12)] = Field(
        default=Decimal(12), description="Months of the year."
    )


class FineTuning(Value):
    """Training on rented GPUs, whatever serves the model later."""

    price: Name = Field(description="Name of a GPU's price.")
    gpu_hours: Amount = Field(description="GPUs times hours of one training.")
    runs_per_year: Amount = Field(default=Decimal(1), description="Trainings a year.")


class ApiOption(Value):
    """Pay a service by token."""

    kind: Literal["api"]
    name: str = Field(description="Name in the table.", min_length=1)
    price: Name = Field(description="Name of an api price.")


class HostedOption(Value):
    """Rent GPUs and run the model there."""

    kind: Literal["hosted"]
    name: str = Field(description="Name in the table.", min_length=1)
    price: Name = Field(description="Name of a GPU's price.")
    count: Annotated[int, Field(ge=1, le=100_000)] = Field(description="GPUs.")
    hours_per_year: Hours = Field(default=Decimal(8760), description="Hours of the year.")


class OnPremOption(Value):
    """Buy servers; as many as the workload needs."""

    kind: Literal["on-prem"]
    name: str = Field(description="Name in the table.", min_length=1)
    price: Name = Field(description="Name of a server's price.")
    minimum: Annotated[int, Field(ge=1, le=100_000)] = Field(
        default=1, description="Servers at least, such as 2 to survive the loss of one."
    )
    prefill_tokens_per_second: Annotated[Decimal, Field(gt=0, le=10**9)] = Field(
        description="Tokens that one server reads in a second (`bastide models fit` predicts it)."
    )
    decode_tokens_per_second: Annotated[Decimal, Field(gt=0, le=10**9)] = Field(
        description="Tokens that one server writes in a second, all requests together."
    )
    utilisation: Annotated[Decimal, Field(gt=0, le=1)] = Field(
        description="Share of the year in which a server is busy; the rest is nights and reserve."
    )


Option = Annotated[ApiOption | HostedOption | OnPremOption, Field(discriminator="kind")]


class Figure(StrEnum):
    """Which of our numbers a published one stands beside."""

    TOTAL = "total"  # of an option
    AMOUNT = "amount"  # of a line
    UNIT = "unit"  # a line's price for one document


class Published(Value):
    """A figure that somebody published, printed beside ours."""

    option: str = Field(description="Name of the option.")
    figure: Figure = Field(description="total of the option; amount or unit price of a line.")
    line: str = Field(default="", description="Name of the line; not for a total.")
    amount: Money = Field(description="The published amount.")
    exact: bool = Field(description="Whether it should be ours to the cent.")
    explanation: str = Field(default="", description="Why ours differs, where it does.")


class Scenario(Value):
    """One thing to do, and the ways to have it done."""

    name: Name = Field(description="Name of the scenario.")
    title: str = Field(description="What is done, in words.")
    batches: tuple[Batch, ...] = Field(default=(), description="Documents to work through.")
    users: tuple[Users, ...] = Field(default=(), description="People who ask.")
    embeddings: Embeddings | None = Field(default=None, description="Text to make vectors of.")
    storage: Storage | None = Field(default=None, description="Rented vector store.")
    fine_tuning: FineTuning | None = Field(default=None, description="Training.")
    options: tuple[Option, ...] = Field(description="What to compare.", min_length=1)
    published: tuple[Published, ...] = Field(default=(), description="Figures to print beside.")

    @model_validator(mode="after")
    def _names_once(self) -> Scenario:
        lines = [each.name for each in self.batches] + [each.name for each in self.users]
        for what, names in (
            ("option", [each.name for each in self.options]),
            ("line", lines),
        ):
            twice = sorted({name for name in names if names.count(name) > 1})
            if twice:
                raise ValueError(f"two have the same {what} name: {', '.join(twice)}")
        known = {each.name for each in self.options}
        strange = sorted({each.option for each in self.published} - known)
        if strange:
            raise ValueError(f"published figures are of unknown options: {', '.join(strange)}")
        return self


class Workload(Value):
    """What would have to be done in a year. All amounts are a year's."""

    name: Name = Field(description="Name of the workload.")
    title: str = Field(description="What it is, in words.")
    prices: Name = Field(description="Name of the price book that is used if none is given.")
    tokens_per_word: Annotated[Decimal, Field(gt=0, le=20)] = Field(
        description="Tokens for each word; 1.25 to 1.4 for English, more for other languages."
    )
    notes: tuple[str, ...] = Field(default=(), description="Assumptions, in words.")
    scenarios: tuple[Scenario, ...] = Field(description="What to do.", min_length=1)
