"""The whole answer of ``bastide cost``: bills, published figures beside ours, break-even."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from typing import Any

from pydantic import BaseModel

from bastide.costing.break_even import (
    BreakEven,
    Slope,
    Staircase,
    break_even,
    slope_of,
    staircase_of,
    yearly_tokens,
)
from bastide.costing.estimate import OptionCost, cents, cost
from bastide.errors import ConfigError
from bastide.schema.prices import PriceBook
from bastide.schema.workload import Figure, OnPremOption, Published, Scenario, Workload

UNKNOWN_LINE = "BAS-2053"


@dataclass(frozen=True)
class Beside:
    """A published figure beside ours, both in the book's currency, ours rounded to cents."""

    option: str
    what: str
    published: Decimal
    ours: Decimal
    difference: Decimal
    exact: bool
    explanation: str

    @property
    def agrees(self) -> bool:
        """Whether they are the same to the cent."""
        return self.difference == 0


@dataclass(frozen=True)
class Assumption:
    """One value that the answer rests on, and where to change it."""

    where: str
    value: str
    meaning: str


@dataclass(frozen=True)
class ScenarioReport:
    """One scenario's answer; ``tokens_per_year`` counts read and written ones."""

    name: str
    title: str
    tokens_per_year: Decimal
    options: tuple[OptionCost, ...]
    published: tuple[Beside, ...]
    break_even: tuple[BreakEven, ...]
    stairs: tuple[Staircase, ...]
    slopes: tuple[Slope, ...]


@dataclass(frozen=True)
class CostReport:
    """The whole answer. Amounts are a year's, unrounded."""

    workload: str
    title: str
    notes: tuple[str, ...]
    currency: str
    price_book: str
    price_date: date
    example_prices: bool
    scenarios: tuple[ScenarioReport, ...]
    assumptions: tuple[Assumption, ...]


def report(workload: Workload, book: PriceBook) -> CostReport:
    """Return what ``workload`` costs at the prices of ``book``.

    Raises:
        ConfigError: The book lacks a price, or a published figure is of an unknown line.
    """
    return CostReport(
        workload=workload.name,
        title=workload.title,
        notes=workload.notes,
        currency=book.currency,
        price_book=book.name,
        price_date=book.date,
        example_prices=book.example,
        scenarios=tuple(_scenario(workload, each, book) for each in workload.scenarios),
        assumptions=tuple(_assumptions(workload, book)),
    )


def _scenario(workload: Workload, scenario: Scenario, book: PriceBook) -> ScenarioReport:
    options = tuple(cost(workload, scenario, option, book) for option in scenario.options)
    tokens = yearly_tokens(workload, scenario)
    stairs = tuple(
        found
        for option in scenario.options
        if isinstance(option, OnPremOption)
        and (found := staircase_of(workload, scenario, option, book))
    )
    slopes = tuple(slope_of(each) for each in options if each.kind == "api")
    return ScenarioReport(
        name=scenario.name,
        title=scenario.title,
        tokens_per_year=tokens,
        options=options,
        published=tuple(_beside(each, options) for each in scenario.published),
        break_even=tuple(break_even(s, a, tokens) for s in stairs for a in slopes),
        stairs=stairs,
        slopes=slopes,
    )


def _beside(published: Published, options: tuple[OptionCost, ...]) -> Beside:
    option = next(each for each in options if each.name == published.option)
    ours = option.total if published.figure is Figure.TOTAL else _figure(published, option)
    rounded = cents(ours)
    what = "total" if published.figure is Figure.TOTAL else published.line
    if published.figure is Figure.UNIT:
        what = f"{published.line}, one"
    return Beside(
        option=option.name,
        what=what,
        published=published.amount,
        ours=rounded,
        difference=rounded - published.amount,
        exact=published.exact,
        explanation=published.explanation,
    )


def _figure(published: Published, option: OptionCost) -> Decimal:
    line = next((each for each in option.lines if each.name == published.line), None)
    found = None
    if line is not None:
        found = line.unit if published.figure is Figure.UNIT else line.amount
    if found is None:
        names = ", ".join(each.name for each in option.lines)
        raise ConfigError(
            f"a published figure is of line '{published.line}' of option '{option.name}', which "
            f"has no {published.figure} of that name; its lines: {names}",
            code=UNKNOWN_LINE,
            hint="correct 'line' and 'figure' under published in the workload file",
        )
    return found


# --- every value that the answer rests on ------------------------------------------------------
def _assumptions(workload: Workload, book: PriceBook) -> Iterator[Assumption]:
    for field in ("tokens_per_word", "scenarios"):
        info = type(workload).model_fields[field]
        yield from _leaves(getattr(workload, field), f"workload: {field}", info.description or "")
    for kind in ("api", "gpus", "stores", "servers"):
        used = _named(workload)
        for name, price in getattr(book, kind).items():
            if name in used:
                yield from _leaves(price, f"prices: {kind}.{name}", "")


def _leaves(value: Any, where: str, meaning: str) -> Iterator[Assumption]:  # noqa: ANN401
    if isinstance(value, BaseModel):
        for name, info in type(value).model_fields.items():
            if name not in {"published", "name", "title", "kind"}:
                yield from _leaves(getattr(value, name), f"{where}.{name}", info.description or "")
    elif isinstance(value, tuple):
        for index, item in enumerate(value):
            label = getattr(item, "name", index)
            yield from _leaves(item, f"{where}[{label}]", meaning)
    elif value is not None:
        yield Assumption(where, str(value), meaning.rstrip("."))


def _named(workload: Workload) -> set[str]:
    names = set()
    for scenario in workload.scenarios:
        parts = (scenario.embeddings, scenario.storage, scenario.fine_tuning, *scenario.options)
        names |= {part.price for part in parts if part is not None}
    return names
