"""Models side by side: every fact with its source, and the numbers that plots are drawn from."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from bastide.advice.weights import Weights, formats_of, usual_weights, weights
from bastide.advice.words import Cell, cell, count, formats, languages, tokens
from bastide.schema.model_card import UNKNOWN, CatalogueCard, Task, Unknown
from bastide.schema.model_facts import QualityFigure, Tuning, WeightFormat
from bastide.sizing.memory import Setting, cache_part
from bastide.sizing.subject import from_card

CONTEXTS = (1024, 2048, 4096, 8192, 16384, 32768, 65536, 131072)
PLOTTED = (WeightFormat.Q4_K_M, WeightFormat.Q8_0, WeightFormat.F16)


@dataclass(frozen=True)
class Line:
    """One fact of all models, under its heading."""

    group: str
    label: str
    cells: tuple[Cell, ...]


@dataclass(frozen=True)
class CachePoint:
    """Memory that a context of so many tokens takes, in bytes."""

    tokens: int
    size: int


@dataclass(frozen=True)
class Compared:
    """One model's numbers.

    Args:
        name: Its name in the catalogue.
        title: Its name as its makers write it.
        task: What it is for.
        summary: For whom it is good.
        pinned: Whether a bundle can take it as it is.
        licence_class: How much its licence asks.
        weights: The size of its weights, by format.
        cache: Memory of its context, by tokens; empty if its shape is unknown.
        quality: Published figures.
        not_checked: Facts that it states without a source.
    """

    name: str
    title: str
    task: Task
    summary: str
    pinned: bool
    licence_class: str
    weights: tuple[Weights, ...]
    cache: tuple[CachePoint, ...]
    quality: tuple[QualityFigure, ...]
    not_checked: tuple[str, ...]


@dataclass(frozen=True)
class SharedFigure:
    """A benchmark in the same setting, published for more than one of the models."""

    benchmark: str
    setting: str
    values: tuple[float | None, ...]


@dataclass(frozen=True)
class Comparison:
    """Models side by side, in the order in which they were asked for."""

    models: tuple[Compared, ...]
    lines: tuple[Line, ...]
    shared: tuple[SharedFigure, ...]
    sources: tuple[str, ...]


def compare(cards: Sequence[CatalogueCard]) -> Comparison:
    """Return ``cards`` side by side."""
    lines = tuple(_lines(cards))
    urls = [c.source for line in lines for c in line.cells if c.source]
    urls += [figure.source for card in cards for figure in card.quality]
    return Comparison(
        models=tuple(_compared(card) for card in cards),
        lines=lines,
        shared=tuple(_shared(cards)),
        sources=tuple(dict.fromkeys(urls)),
    )


def _compared(card: CatalogueCard) -> Compared:
    shown = [f for f in formats_of(card) if f in PLOTTED or f is card.quantisation]
    return Compared(
        name=card.name,
        title=card.title,
        task=card.task,
        summary=card.summary,
        pinned=card.is_pinned,
        licence_class=card.licence_class.value,
        weights=tuple(weights(card, each) for each in shown),
        cache=tuple(_cache(card)),
        quality=card.quality,
        not_checked=card.not_checked(),
    )


def _cache(card: CatalogueCard) -> Iterable[CachePoint]:
    usual = usual_weights(card)
    if isinstance(card.context_window, Unknown) or card.dimensions is None or usual is None:
        return
    subject = from_card(card, usual.format)
    reached = [each for each in CONTEXTS if each < card.context_window]
    for number in (*reached, card.context_window):
        yield CachePoint(number, cache_part(subject, Setting(context=number)).size)


def _shared(cards: Sequence[CatalogueCard]) -> Iterable[SharedFigure]:
    found: dict[tuple[str, str], list[float | None]] = {}
    for index, card in enumerate(cards):
        for figure in (each for each in card.quality if each.setting):
            key = (figure.benchmark, figure.setting)
            found.setdefault(key, [None] * len(cards))[index] = figure.value
    for (benchmark, setting), values in found.items():
        if sum(value is not None for value in values) > 1:
            yield SharedFigure(benchmark, setting, tuple(values))


def _lines(cards: Sequence[CatalogueCard]) -> Iterable[Line]:
    for group, label, fact in _FACTS:
        yield Line(group, label, tuple(_cell(card, fact) for card in cards))
    yield Line("quality", "published figures", tuple(_quality(card) for card in cards))
    yield Line("file", "file", tuple(_file(card) for card in cards))


def _cell(card: CatalogueCard, fact: str) -> Cell:
    name, _, part = fact.partition(".")
    if name == "shape":
        if isinstance(card.shape, Unknown) or getattr(card.shape, part) is None:
            known = not isinstance(card.shape, Unknown)
            return cell(card, "shape", "none") if known else cell(card, "shape")
        return _shape_cell(card, part)
    if fact == "active_parameters" and card.active_parameters is UNKNOWN and _is_dense(card):
        return cell(card, "parameters", "all")
    if fact == "domain" and card.tuning not in (UNKNOWN, Tuning.DOMAIN):
        return cell(card, "tuning", "general")
    texts = {
        "languages": languages(card.languages),
        "parameters": count(card.parameters),
        "active_parameters": count(card.active_parameters),
        "licence": card.licence.label,
        "quantisations": formats(card.quantisations),
        "context_window": tokens(card.context_window),
    }
    return cell(card, fact, texts.get(fact))


def _is_dense(card: CatalogueCard) -> bool:
    return not isinstance(card.shape, Unknown) and card.shape.experts == 0


def _shape_cell(card: CatalogueCard, part: str) -> Cell:
    value = getattr(card.shape, part)
    if isinstance(value, Unknown):
        return Cell(value.value, known=False)
    if part == "sliding_window":
        every = f", every {value.global_every}th layer sees all" if value.global_every else ""
        return cell(card, "shape", f"{value.tokens:,} tokens{every}")
    if part == "experts":
        used = getattr(card.shape, "experts_used", 0)
        return cell(card, "shape", f"{value}, {used} a token" if value else "none")
    return cell(card, "shape", f"{value:,}")


def _quality(card: CatalogueCard) -> Cell:
    if not card.quality:
        return Cell(Unknown.UNKNOWN.value, known=False)
    told = (
        f"{each.benchmark} {each.value:g}" + (f" ({each.setting})" if each.setting else "")
        for each in card.quality
    )
    return Cell("; ".join(told), known=True, source=card.quality[0].source)


def _file(card: CatalogueCard) -> Cell:
    if card.file is None:
        return Cell("not pinned: a bundle refuses it", known=False)
    size = f"{card.file.size / 1e6:,.1f} MB"
    return Cell(f"{card.file.name}, {size}, {card.quantisation}", known=True)


_FACTS = (
    ("use", "input", "modality"),
    ("use", "tuned for", "tuning"),
    ("use", "domain", "domain"),
    ("use", "languages", "languages"),
    ("size", "parameters", "parameters"),
    ("size", "active for a token", "active_parameters"),
    ("size", "context, tokens", "context_window"),
    ("size", "formats and files", "quantisations"),
    ("shape", "architecture", "architecture"),
    ("shape", "layers", "shape.layers"),
    ("shape", "heads", "shape.heads"),
    ("shape", "key-value heads", "shape.kv_heads"),
    ("shape", "width of a head", "shape.head_dim"),
    ("shape", "embedding width", "embedding_length"),
    ("shape", "feed-forward width", "shape.feed_forward_length"),
    ("shape", "vocabulary", "shape.vocabulary"),
    ("shape", "experts", "shape.experts"),
    ("shape", "sliding window", "shape.sliding_window"),
    ("licence", "licence", "licence"),
    ("licence", "commercial use", "terms.commercial_use"),
    ("licence", "limit by users", "terms.user_limit"),
    ("licence", "notices", "terms.notices"),
    ("licence", "naming", "terms.naming"),
    ("licence", "use policy", "terms.use_policy"),
    ("licence", "gated", "terms.gated"),
    ("making", "training data", "training_data"),
    ("making", "hosting", "hosting"),
    ("making", "LoRA adapters as GGUF", "fine_tuning.lora_gguf"),
    ("making", "fine-tuning", "fine_tuning.note"),
    ("making", "responsible use", "responsible_use"),
)
