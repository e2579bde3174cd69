"""From which volume on servers of one's own are cheaper than paying by token.

Paying by token costs ``fixed + variable x m`` at ``m`` times the workload's volume. Servers cost
the same whether they are busy or not, and one more is bought when those there are full: a
staircase. Both lines may therefore cross more than once; `first` is where the staircase first runs
below, `lasting` where it stays below.
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal

from bastide.costing.estimate import (
    SECONDS_A_YEAR,
    OptionCost,
    busy_seconds,
    cost,
    server_lines,
    servers_for,
    tokens_of,
    work_of,
)
from bastide.schema.prices import PriceBook
from bastide.schema.workload import OnPremOption, Scenario, Workload

MOST_STEPS = 2000  # servers beyond which nothing new happens: the last step decides
POINTS = 60  # of a curve that is drawn


@dataclass(frozen=True)
class Staircase:
    """What servers of one's own cost at any volume.

    Args:
        name: The option.
        minimum: Servers at least.
        capacity: Multiples of the workload's volume that one server can do.
        each: A year of one server.
        rest: What else the option costs, whatever the volume.
    """

    name: str
    minimum: int
    capacity: Decimal
    each: Decimal
    rest: Decimal

    def servers(self, times: Decimal) -> int:
        """Return how many servers ``times`` the volume needs."""
        needed = times / self.capacity
        whole = int(needed) + (needed != int(needed))
        return max(self.minimum, whole)

    def at(self, times: Decimal) -> Decimal:
        """Return the cost of a year at ``times`` the volume."""
        return self.servers(times) * self.each + self.rest


@dataclass(frozen=True)
class Slope:
    """What paying by token costs at any volume: fixed + variable x times."""

    name: str
    fixed: Decimal
    variable: Decimal

    def at(self, times: Decimal) -> Decimal:
        """Return the cost of a year at ``times`` the volume."""
        return self.fixed + self.variable * times


@dataclass(frozen=True)
class BreakEven:
    """Where servers of one's own begin to pay, against one service paid by token.

    Args:
        on_prem: The option with servers.
        api: The service.
        first: Multiple of the workload's volume at which servers are first cheaper; none: never.
        lasting: Multiple from which they stay cheaper at every larger volume; none: never.
        tokens: Tokens a year at ``first``.
        servers: Servers at ``first``.
        yearly: Cost of a year at ``first``.
    """

    on_prem: str
    api: str
    first: Decimal | None
    lasting: Decimal | None
    tokens: Decimal | None
    servers: int | None
    yearly: Decimal | None


def slope_of(option: OptionCost) -> Slope:
    """Return the curve of an option that is paid by token (or flat, if nothing of it grows)."""
    return Slope(option.name, option.fixed, option.total - option.fixed)


def staircase_of(
    workload: Workload, scenario: Scenario, option: OnPremOption, book: PriceBook
) -> Staircase | None:
    """Return the curve of servers, or none if the workload asks nothing of them."""
    work = work_of(scenario, workload.tokens_per_word)
    busy = busy_seconds(option, work)
    if not busy:
        return None
    each = sum((line.amount for line in server_lines(book.servers[option.price], 1)), Decimal(0))
    total = cost(workload, scenario, option, book).total
    rest = total - each * servers_for(option, work)
    capacity = SECONDS_A_YEAR * option.utilisation / busy
    return Staircase(option.name, option.minimum, capacity, each, rest)


def _first(stairs: Staircase, slope: Slope) -> Decimal | None:
    """Return the least volume at which the staircase is not above the slope."""
    if not slope.variable:
        zero = Decimal(0)
        return zero if stairs.at(zero) <= slope.fixed else None
    for count in range(stairs.minimum, stairs.minimum + MOST_STEPS):
        begins = stairs.capacity * (count - 1) if count > stairs.minimum else Decimal(0)
        level = count * stairs.each + stairs.rest
        crossing = max((level - slope.fixed) / slope.variable, begins)
        if crossing <= stairs.capacity * count:
            return crossing
    return None


def _lasting(stairs: Staircase, slope: Slope) -> Decimal | None:
    """Return the volume from which the staircase never again runs above the slope."""
    gain = slope.variable * stairs.capacity - stairs.each  # of each further step
    if gain < 0 or not slope.variable:
        return None
    first = _first(stairs, slope)
    if first is None:
        return None
    answer = first
    # Where a step begins (n servers are full, one more is bought) the staircase is worst off.
    for count in range(stairs.servers(first), stairs.minimum + MOST_STEPS):
        level = (count + 1) * stairs.each + stairs.rest
        crossing = (level - slope.fixed) / slope.variable
        if crossing <= stairs.capacity * count:
            return answer  # and gain ≥ 0: every later step begins even further below
        answer = crossing
    return None


def break_even(stairs: Staircase, slope: Slope, tokens: Decimal) -> BreakEven:
    """Return where ``stairs`` begin to pay against ``slope``.

    Args:
        stairs: Servers of one's own.
        slope: The service.
        tokens: Tokens a year of the workload as it is, at one times its volume.
    """
    first = _first(stairs, slope)
    if first is None:
        return BreakEven(stairs.name, slope.name, None, None, None, None, None)
    return BreakEven(
        stairs.name,
        slope.name,
        first,
        _lasting(stairs, slope),
        tokens * first,
        stairs.servers(first),
        stairs.at(first),
    )


def yearly_tokens(workload: Workload, scenario: Scenario) -> Decimal:
    """Return the tokens that a scenario reads and writes in a year."""
    return tokens_of(work_of(scenario, workload.tokens_per_word))
