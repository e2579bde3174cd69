"""Places of bars and lines on a plot, from the numbers of a comparison; a template draws them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from bastide.advice.comparison import Comparison
from bastide.advice.words import gigabytes
from bastide.sizing.subject import FORMAT_BITS

LEFT, RIGHT = 250.0, 860.0
TOP, HEIGHT = 34.0, 380.0
BOTTOM = HEIGHT - 54.0
BAR, GAP, BETWEEN = 20.0, 5.0, 18.0
STEPS = (1, 2, 2.5, 5, 10)


@dataclass(frozen=True)
class Tick:
    """A labelled place on an axis."""

    place: float
    label: str


@dataclass(frozen=True)
class Bar:
    """One bar; ``kind`` chooses its colour."""

    y: float
    width: float
    label: str
    kind: int
    estimated: bool


@dataclass(frozen=True)
class BarGroup:
    """The bars of one model."""

    name: str
    y: float
    bars: tuple[Bar, ...]


@dataclass(frozen=True)
class BarPlot:
    """Horizontal bars with a legend."""

    height: float
    ticks: tuple[Tick, ...]
    groups: tuple[BarGroup, ...]
    kinds: tuple[str, ...]


@dataclass(frozen=True)
class Curve:
    """One model's line, the places of its points with their values, and its label's place."""

    name: str
    points: str
    marks: tuple[tuple[float, float, str], ...]
    label_x: float
    label_y: float


@dataclass(frozen=True)
class LinePlot:
    """Lines over tokens of context, both axes by powers of two and ten."""

    x_ticks: tuple[Tick, ...]
    y_ticks: tuple[Tick, ...]
    curves: tuple[Curve, ...]


def nice_top(value: float) -> float:
    """Return a round number that is not below ``value``."""
    if value <= 0:
        return 1.0
    power = 10.0 ** math.floor(math.log10(value))
    return next(step * power for step in STEPS if step * power >= value * (1 - 1e-9))


def weights_plot(comparison: Comparison) -> BarPlot | None:
    """Return the sizes of weights by model and format; None if none is known."""
    known = [w for model in comparison.models for w in model.weights if w.size]
    if not known:
        return None
    top = nice_top(max(each.size or 0 for each in known))
    kinds = sorted({each.format for each in known}, key=lambda each: -FORMAT_BITS[each])
    groups, y = [], TOP
    for model in comparison.models:
        sizes = [each for each in model.weights if each.size]
        bars = tuple(
            Bar(
                y=round(y + index * (BAR + GAP), 1),
                width=round((each.size or 0) / top * (RIGHT - LEFT), 1),
                label=f"{'≈ ' if each.estimated else ''}{gigabytes(each.size or 0)}",
                kind=kinds.index(each.format),
                estimated=each.estimated,
            )
            for index, each in enumerate(sizes)
        )
        height = max(len(bars), 1) * (BAR + GAP)
        groups.append(BarGroup(model.title, round(y + height / 2, 1), bars))
        y += height + BETWEEN
    ticks = tuple(
        Tick(round(LEFT + part * (RIGHT - LEFT), 1), gigabytes(part * top) if part else "0")
        for part in (0, 0.25, 0.5, 0.75, 1)
    )
    return BarPlot(round(y + 20, 1), ticks, tuple(groups), tuple(kind.value for kind in kinds))


@dataclass(frozen=True)
class _Scale:
    """Both axes: tokens by powers of two, bytes by powers of ten."""

    fewest: int
    most: int
    low: int
    high: int

    def x(self, tokens: int) -> float:
        share = math.log2(tokens / self.fewest) / max(math.log2(self.most / self.fewest), 1e-9)
        return round(LEFT + share * (RIGHT - LEFT), 1)

    def y(self, size: float) -> float:
        level = (math.log10(size) - self.low) / (self.high - self.low)
        return round(BOTTOM - level * (BOTTOM - TOP), 1)


def cache_plot(comparison: Comparison) -> LinePlot | None:
    """Return memory of the context over its tokens; None if no model keeps a known cache."""
    models = [m for m in comparison.models if any(point.size for point in m.cache)]
    if not models:
        return None
    points = [point for model in models for point in model.cache if point.size]
    low = math.floor(math.log10(min(p.size for p in points)))
    high = max(math.ceil(math.log10(max(p.size for p in points))), low + 1)
    scale = _Scale(min(p.tokens for p in points), max(p.tokens for p in points), low, high)
    curves = []
    for model in models:
        marks = tuple(
            (scale.x(p.tokens), scale.y(p.size), f"{p.tokens:,} tokens: {gigabytes(p.size)}")
            for p in model.cache
        )
        line = " ".join(f"{x},{y}" for x, y, _ in marks)
        curves.append(Curve(model.title, line, marks, marks[-1][0], marks[-1][1]))
    numbers = [2**power for power in range(8, 22) if scale.fewest <= 2**power <= scale.most]
    return LinePlot(
        x_ticks=tuple(Tick(scale.x(number), _short(number)) for number in numbers),
        y_ticks=tuple(Tick(scale.y(10.0**p), gigabytes(10.0**p)) for p in range(low, high + 1)),
        curves=_apart(curves),
    )


def _short(tokens: int) -> str:
    return f"{tokens // 1024} Ki" if tokens >= 1024 else str(tokens)


def _apart(curves: Sequence[Curve], space: float = 17.0) -> tuple[Curve, ...]:
    """Return the curves with labels that do not lie upon each other."""
    placed: dict[str, float] = {}
    y = -math.inf
    for curve in sorted(curves, key=lambda each: each.label_y):
        y = max(curve.label_y, y + space)
        placed[curve.name] = y
    excess = max(0.0, y - BOTTOM)
    return tuple(replace(c, label_y=round(placed[c.name] - excess, 1)) for c in curves)
