"""Geometry of the break-even plot: curves in the pixels of one SVG; the template draws them."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from decimal import Decimal

from bastide.costing.break_even import Slope, Staircase
from bastide.costing.report import ScenarioReport

WIDTH, HEIGHT = 860, 400
LEFT, RIGHT, TOP, BOTTOM = 84, 20, 26, 58
SAMPLES = 240


@dataclass(frozen=True)
class Tick:
    """A mark on an axis: its place in pixels and its label."""

    place: float
    label: str


@dataclass(frozen=True)
class Curve:
    """One option's cost by volume: points for an SVG polyline, and where its end is."""

    name: str
    on_prem: bool
    points: str


@dataclass(frozen=True)
class Mark:
    """A break-even point."""

    x: float
    y: float
    label: str
    title: str
    anchor: str


@dataclass(frozen=True)
class Plot:
    """Everything that the template draws."""

    width: int
    height: int
    left: int
    right: int
    top: int
    bottom: int
    x_ticks: tuple[Tick, ...]
    y_ticks: tuple[Tick, ...]
    curves: tuple[Curve, ...]
    marks: tuple[Mark, ...]
    now: float


@dataclass(frozen=True)
class _Scale:
    most_x: float
    most_y: float

    def x(self, value: float) -> float:
        return round(LEFT + value / self.most_x * (WIDTH - LEFT - RIGHT), 1)

    def y(self, value: float) -> float:
        return round(HEIGHT - BOTTOM - value / self.most_y * (HEIGHT - TOP - BOTTOM), 1)


def break_even_plot(scenario: ScenarioReport) -> Plot | None:
    """Return the plot of a scenario, or none if there is nothing to compare in it."""
    if not scenario.stairs or not scenario.slopes:
        return None
    volumes = [float(each.first) for each in scenario.break_even if each.first]
    most_x = 1.15 * max([2.0, *(min(2 * each, 40.0) for each in volumes)])
    steps = [most_x * index / SAMPLES for index in range(SAMPLES + 1)]
    everything: tuple[Staircase | Slope, ...] = (*scenario.stairs, *scenario.slopes)
    most_y = 1.05 * max(float(each.at(Decimal(most_x))) for each in everything)
    scale = _Scale(most_x, most_y or 1.0)
    curves = [
        Curve(
            each.name,
            isinstance(each, Staircase),
            _line(scale, [(x, float(each.at(Decimal(x)))) for x in steps]),
        )
        for each in everything
    ]
    tokens = float(scenario.tokens_per_year)
    return Plot(
        WIDTH, HEIGHT, LEFT, WIDTH - RIGHT, TOP, HEIGHT - BOTTOM,
        x_ticks=tuple(
            Tick(scale.x(value), short(value * tokens)) for value in _round_steps(most_x, 6, tokens)
        ),
        y_ticks=tuple(Tick(scale.y(value), f"{value:,.0f}") for value in _round_steps(most_y, 5)),
        curves=tuple(curves),
        marks=_marks(scenario, scale),
        now=scale.x(1.0),
    )  # fmt: skip


def _marks(scenario: ScenarioReport, scale: _Scale) -> tuple[Mark, ...]:
    marks = []
    for each in scenario.break_even:
        if each.first is None or each.yearly is None or float(each.first) > scale.most_x:
            continue
        x = scale.x(float(each.first))
        label = f"{float(each.first):.2f} times this workload"
        title = f"{each.on_prem} begins to cost less than {each.api}"
        marks.append(
            Mark(
                x, scale.y(float(each.yearly)), label, title, "end" if x > WIDTH * 0.7 else "start"
            )
        )
    return tuple(marks)


def _line(scale: _Scale, points: list[tuple[float, float]]) -> str:
    """Return the points of a polyline; a step of a staircase is drawn upright."""
    placed = [(scale.x(x), scale.y(y)) for x, y in points]
    line = [placed[0]]
    slopes = [b[1] - a[1] for a, b in itertools.pairwise(placed)]
    level = slopes.count(0.0) > len(slopes) / 2
    for before, after in itertools.pairwise(placed):
        if level and after[1] != before[1]:
            line.append((after[0], before[1]))
        line.append(after)
    kept = [p for i, p in enumerate(line) if i in (0, len(line) - 1) or not _straight(line, i)]
    return " ".join(f"{x},{y}" for x, y in kept)


def _straight(line: list[tuple[float, float]], index: int) -> bool:
    (ax, ay), (bx, by), (cx, cy) = line[index - 1 : index + 2]
    return ay == by == cy or ax == bx == cx


def _round_steps(most: float, count: int, unit: float = 1.0) -> list[float]:
    """Return about ``count`` round values up to ``most``; round when multiplied by ``unit``."""
    rough = most * unit / count
    if rough <= 0:
        return [0.0]
    power = 10 ** int(f"{rough:e}".partition("e")[2])
    step = next(power * each for each in (1, 2, 2.5, 5, 10) if power * each >= rough)
    return [step * index / unit for index in range(int(most * unit / step) + 1)]


def short(number: float) -> str:
    """Return a large number for people: 9.2 billion."""
    for size, word in ((1e12, "trillion"), (1e9, "billion"), (1e6, "million"), (1e3, "thousand")):
        if abs(number) >= size:
            return f"{number / size:.3g} {word}"
    return f"{number:.3g}"
