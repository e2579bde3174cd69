"""A workload and a price book → what each option costs a year, line by line.

Everything is decimal and unrounded; only `cents` rounds (half up), where a person reads it.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import ROUND_HALF_UP, Decimal
from typing import TypeVar

from bastide.errors import ConfigError
from bastide.schema.prices import ApiPrice, PriceBook, ServerPrice
from bastide.schema.workload import (
    ApiOption,
    HostedOption,
    OnPremOption,
    Option,
    Scenario,
    Workload,
)

UNKNOWN_PRICE = "BAS-2052"
MILLION = Decimal(1_000_000)
HOURS_A_YEAR = Decimal(8760)
SECONDS_A_YEAR = HOURS_A_YEAR * 3600
MONTHS = Decimal(12)

V = TypeVar("V")


def cents(amount: Decimal) -> Decimal:
    """Return ``amount`` rounded to cents, half up, as invoices do."""
    return amount.quantize(Decimal("0.01"), rounding=ROUND_HALF_UP)


@dataclass(frozen=True)
class Work:
    """One kind of request, a year's worth.

    Args:
        name: What it is.
        times: Requests a year.
        read: Tokens that the model reads for each.
        written: Tokens that it writes for each.
    """

    name: str
    times: Decimal
    read: Decimal
    written: Decimal


@dataclass(frozen=True)
class Line:
    """One line of an option's bill.

    Args:
        name: What is paid for.
        amount: What it costs a year.
        basis: The arithmetic, in words and numbers.
        unit: Price of one document, where there are documents.
        fixed: Whether it stays the same when the volume of requests grows.
    """

    name: str
    amount: Decimal
    basis: str
    unit: Decimal | None = None
    fixed: bool = False


@dataclass(frozen=True)
class OptionCost:
    """What one option costs a year.

    Args:
        name: Its name.
        kind: api, hosted or on-prem.
        lines: Its bill.
        total: The sum of the unrounded lines.
        machines: Rented GPUs or servers of one's own.
    """

    name: str
    kind: str
    lines: tuple[Line, ...]
    total: Decimal
    machines: int = 0

    @property
    def fixed(self) -> Decimal:
        """The part that does not grow with the volume of requests."""
        return sum((line.amount for line in self.lines if line.fixed), Decimal(0))


def work_of(scenario: Scenario, tokens_per_word: Decimal) -> tuple[Work, ...]:
    """Return all requests of a scenario."""
    batches = [
        Work(
            each.name,
            each.documents * each.times_per_year,
            each.input.in_tokens(tokens_per_word),
            each.output.in_tokens(tokens_per_word),
        )
        for each in scenario.batches
    ]
    users = [
        Work(
            each.name,
            each.count * each.requests_per_day * each.days_per_year,
            each.input.in_tokens(tokens_per_word),
            each.output.in_tokens(tokens_per_word),
        )
        for each in scenario.users
    ]
    return (*batches, *users)


def tokens_of(work: tuple[Work, ...]) -> Decimal:
    """Return the tokens read and written in a year."""
    return sum((each.times * (each.read + each.written) for each in work), Decimal(0))


def cost(workload: Workload, scenario: Scenario, option: Option, book: PriceBook) -> OptionCost:
    """Return what ``option`` costs a year.

    Raises:
        ConfigError: The book lacks a price that workload or option names.
    """
    work = work_of(scenario, workload.tokens_per_word)
    machines = 0
    if isinstance(option, ApiOption):
        price = _price(book.api, option.price, "api", book)
        lines = [_by_token(each, price) for each in work]
    elif isinstance(option, HostedOption):
        rent = _price(book.gpus, option.price, "gpus", book).per_hour
        machines = option.count
        amount = rent * machines * option.hours_per_year
        basis = f"{machines} x {option.hours_per_year} h x {rent}"
        lines = [Line("rented GPUs", amount, basis, fixed=True)]
    else:
        server = _price(book.servers, option.price, "servers", book)
        machines = servers_for(option, work)
        lines = list(server_lines(server, machines))
    lines += _around(workload, scenario, option, book)
    total = sum((line.amount for line in lines), Decimal(0))
    return OptionCost(option.name, option.kind, tuple(lines), total, machines)


def _by_token(work: Work, price: ApiPrice) -> Line:
    unit = (work.read * price.input_per_million + work.written * price.output_per_million) / MILLION
    basis = (
        f"{plain(work.times)} x ({plain(work.read)} tokens in at {price.input_per_million} + "
        f"{plain(work.written)} out at {price.output_per_million} a million)"
    )
    return Line(work.name, unit * work.times, basis, unit=unit)


def _around(workload: Workload, scenario: Scenario, option: Option, book: PriceBook) -> list[Line]:
    """Return embeddings, store and training: own servers make and hold vectors themselves."""
    lines = []
    bought = not isinstance(option, OnPremOption)
    if scenario.embeddings and bought:
        tokens = scenario.embeddings.input.in_tokens(workload.tokens_per_word)
        price = _price(book.api, scenario.embeddings.price, "api", book).input_per_million
        once = tokens * price / MILLION
        basis = f"{plain(tokens)} tokens at {price} a million"
        lines.append(Line("embeddings, first time", once, basis, fixed=True))
        times = scenario.embeddings.refreshes_per_year
        if times:
            basis = f"{plain(times)} x {plain(once)}"
            lines.append(Line("embeddings, made again", once * times, basis, fixed=True))
    if scenario.storage and bought:
        month = _price(book.stores, scenario.storage.price, "stores", book).per_month
        basis = f"{plain(scenario.storage.months)} months x {month}"
        amount = month * scenario.storage.months
        lines.append(Line("vector store", amount, basis, fixed=True))
    if scenario.fine_tuning:
        tuning = scenario.fine_tuning
        hour = _price(book.gpus, tuning.price, "gpus", book).per_hour
        basis = f"{plain(tuning.runs_per_year)} x {plain(tuning.gpu_hours)} GPU hours x {hour}"
        amount = hour * tuning.gpu_hours * tuning.runs_per_year
        lines.append(Line("fine-tuning", amount, basis, fixed=True))
    return lines


def busy_seconds(option: OnPremOption, work: tuple[Work, ...]) -> Decimal:
    """Return how long one server would be busy with a year's requests.

    Tokens read ÷ prefill speed + tokens written ÷ decode speed.
    """
    read = sum((each.times * each.read for each in work), Decimal(0))
    written = sum((each.times * each.written for each in work), Decimal(0))
    return read / option.prefill_tokens_per_second + written / option.decode_tokens_per_second


def servers_for(option: OnPremOption, work: tuple[Work, ...], times: Decimal = Decimal(1)) -> int:
    """Return how many servers ``times`` the workload needs.

    Busy seconds ÷ (seconds of a year x utilisation), rounded up, at least ``minimum``.
    """
    needed = busy_seconds(option, work) * times / (SECONDS_A_YEAR * option.utilisation)
    whole = int(needed) + (needed != int(needed))
    return max(option.minimum, whole)


def server_lines(price: ServerPrice, count: int) -> tuple[Line, ...]:
    """Return what ``count`` servers of one's own cost a year."""
    kwh = price.watts / 1000 * HOURS_A_YEAR * price.pue
    year = {
        "servers, written off": (
            price.purchase / price.years,
            f"{price.purchase} over {price.years} years",
        ),
        "electricity": (
            kwh * price.kwh,
            f"{price.watts} W x 8760 h x PUE {price.pue} x {price.kwh} a kWh",
        ),
        "maintenance": (
            price.purchase * price.maintenance,
            f"{plain(price.maintenance * 100)} % of {price.purchase}",
        ),
        "rack and network": (
            price.hosting_per_month * MONTHS,
            f"12 x {price.hosting_per_month}",
        ),
        "work": (
            price.staff_hours_per_month * MONTHS * price.staff_per_hour,
            f"12 x {price.staff_hours_per_month} h x {price.staff_per_hour}",
        ),
    }
    return tuple(
        Line(name, amount * count, f"{count} x {basis}", fixed=True)
        for name, (amount, basis) in year.items()
    )


def _price(prices: Mapping[str, V], name: str, kind: str, book: PriceBook) -> V:
    if name in prices:
        return prices[name]
    close = difflib.get_close_matches(name, prices, n=1)
    raise ConfigError(
        f"the price book {book.name} has no price '{name}' under {kind}; "
        f"it has: {', '.join(prices) or 'none'}",
        code=UNKNOWN_PRICE,
        hint=f"did you mean '{close[0]}'?" if close else "add it to a copy of the price book",
    )


def plain(number: Decimal) -> str:
    """Return a number without a needless exponent or trailing zeros, thousands apart."""
    text = f"{number:,f}"
    return text.rstrip("0").rstrip(".") if "." in text else text
