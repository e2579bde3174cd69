"""Which model to take for a task on a machine: ranked, with reasons, and why others fell out.

The rule is simple and said with every answer: of the models that satisfy all wishes, fit into
memory and answer in time, the one with most parameters comes first (for a mixture of experts the
geometric mean of all and active ones counts; embedding models go by their published average where
there is one). Size is a rule of thumb, not a proof: only questions of one's own decide.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from bastide.advice.load import Load, Pace, pace
from bastide.advice.selection import Wish, missing
from bastide.advice.site_fragment import fragment
from bastide.advice.weights import formats_of
from bastide.advice.words import gigabytes
from bastide.schema.model_card import CatalogueCard, LicenceClass, Task, Unknown
from bastide.schema.model_facts import CommercialUse, WeightFormat
from bastide.sizing.fit import Place, Room, place_cpu, place_gpu
from bastide.sizing.speed import Machine
from bastide.sizing.subject import FORMAT_BITS, Subject, from_card

# Formats below 4 bits lose too much to be recommended; finer ones than 8 bits gain too little.
TOO_COARSE = ("Q2", "Q3")
FINEST = 8.6
SMALL = 2_000_000_000  # parameters up to which 16 bits are no waste
MTEB = "MTEB (English, 56 tasks)"
READERS = frozenset({Task.EMBEDDING, Task.RERANK})  # which write no answer
RULE = (
    "Ranked by size among those that fit; size is a rule of thumb. Let your own questions decide: "
    "bastide models evaluate."
)


@dataclass(frozen=True)
class Choice:
    """One recommended model.

    Args:
        name: Its name in the catalogue.
        title: Its name as its makers write it.
        format: The weight format to take.
        needed: Bytes of memory that it takes under this load.
        available: Bytes that there are for it.
        tokens_per_second: For each user, with all at once; None if it writes none.
        seconds: Until a usual answer is whole; None if not known.
        licence_class: How much its licence asks.
        pinned: Whether a bundle can take it as it is, in this format.
        why: Reasons for it.
        mind: What to mind.
    """

    name: str
    title: str
    format: WeightFormat
    needed: int
    available: int
    tokens_per_second: float | None
    seconds: float | None
    licence_class: LicenceClass
    pinned: bool
    why: tuple[str, ...]
    mind: tuple[str, ...]


@dataclass(frozen=True)
class FellOut:
    """A model that was not recommended, and why."""

    name: str
    reasons: tuple[str, ...]


@dataclass(frozen=True)
class Recommendation:
    """The answer: the best first; ``site`` is a fragment of site.yaml for the best one.

    Models for other tasks are only counted.
    """

    choices: tuple[Choice, ...]
    fell_out: tuple[FellOut, ...]
    other_tasks: int
    site: str | None
    notes: tuple[str, ...]


@dataclass(frozen=True)
class _Fit:
    format: WeightFormat
    subject: Subject
    place: Place
    pace: Pace


def recommend(
    cards: Sequence[CatalogueCard], wish: Wish, load: Load, room: Room, machine: Machine
) -> Recommendation:
    """Return a ranked, explained choice.

    Args:
        cards: The catalogue.
        wish: What a model must be; its task is the load's.
        load: What users ask for.
        room: Memory of the machine: a GPU's if it names one, else main memory.
        machine: How fast that memory and the processor are.
    """
    found: list[tuple[CatalogueCard, _Fit]] = []
    fell_out = []
    candidates = [card for card in cards if card.task is load.task]
    for card in candidates:
        reasons = missing(card, wish)
        outcome = _try(card, load, room, machine) if not reasons else tuple(reasons)
        if isinstance(outcome, _Fit):
            found.append((card, outcome))
        else:
            fell_out.append(FellOut(card.name, outcome))
    found.sort(key=lambda each: (*_rank(each[0]), each[0].name))
    choices = tuple(_choice(card, fit, load) for card, fit in found)
    site, notes = fragment(cards, choices[0].name if choices else None, load)
    return Recommendation(
        choices=choices,
        fell_out=tuple(fell_out),
        other_tasks=len(cards) - len(candidates),
        site=site,
        notes=(*notes, *_notes(machine, load)),
    )


def _try(card: CatalogueCard, load: Load, room: Room, machine: Machine) -> _Fit | tuple[str, ...]:
    if card.dimensions is None:
        return ("its memory cannot be reckoned: not all numbers of its architecture are known",)
    fits = [_fit(card, each, load, room, machine) for each in _candidates(card)]
    if not fits:
        return ("it is not offered in a format of 4 to 8 bits",)
    held = [each for each in fits if _holds(each)]
    if not held:
        least = min(fits, key=lambda each: each.place.needed)
        there = gigabytes(max(least.place.available or 0, 0))
        return (f"it needs {gigabytes(least.place.needed)} as {least.format}; {there} are free",)
    for each in held:
        if _in_time(each, load):
            return each
    fastest = min(held, key=lambda each: each.pace.seconds or math.inf)
    if fastest.pace.seconds is None:
        return ("how long an answer takes is not known: give --flops",)
    limit = f"not {load.latency:g} s"
    return (f"an answer takes {fastest.pace.seconds:,.1f} s as {fastest.format}, {limit}",)


def _candidates(card: CatalogueCard) -> list[WeightFormat]:
    small = isinstance(card.parameters, int) and card.parameters <= SMALL
    finest = 16.1 if small and card.task in READERS else FINEST
    offered = [
        each
        for each in formats_of(card)
        if FORMAT_BITS[each] <= finest and not each.value.startswith(TOO_COARSE)
    ]
    if card.quantisation in offered:  # a pinned file is worth more than a finer format
        offered.sort(key=lambda each: each is not card.quantisation)
    return offered


def _fit(
    card: CatalogueCard, wanted: WeightFormat, load: Load, room: Room, machine: Machine
) -> _Fit:
    subject = from_card(card, wanted.value)
    if room.vram is not None:
        place = place_gpu(subject, load.setting, room.vram, room.cards)
    else:
        place = place_cpu(subject, load.setting, room.ram)
    return _Fit(wanted, subject, place, pace(subject, machine, load))


def _holds(fit: _Fit) -> bool:
    return fit.place.available is not None and fit.place.needed <= fit.place.available


def _in_time(fit: _Fit, load: Load) -> bool:
    if load.latency is None:
        return True
    return fit.pace.seconds is not None and fit.pace.seconds <= load.latency


def _strength(card: CatalogueCard) -> float:
    total, active = card.parameters, card.active_parameters
    if isinstance(total, Unknown):
        return 0.0
    return math.sqrt(total * active) if isinstance(active, int) else float(total)


def _published(card: CatalogueCard) -> float:
    return next((each.value for each in card.quality if each.benchmark == MTEB), 0.0)


def _rank(card: CatalogueCard) -> tuple[float, float, int, bool]:
    average = _published(card) if card.task is Task.EMBEDDING else 0.0
    licence = list(LicenceClass).index(card.licence_class)
    return (-average, -_strength(card), licence, not card.is_pinned)


def _choice(card: CatalogueCard, fit: _Fit, load: Load) -> Choice:
    available = fit.place.available or 0
    return Choice(
        name=card.name,
        title=card.title,
        format=fit.format,
        needed=fit.place.needed,
        available=available,
        tokens_per_second=fit.pace.tokens_per_second,
        seconds=fit.pace.seconds,
        licence_class=card.licence_class,
        pinned=card.is_pinned and card.quantisation is fit.format,
        why=tuple(_why(card, fit, load)),
        mind=tuple(_mind(card, fit)),
    )


def _why(card: CatalogueCard, fit: _Fit, load: Load) -> list[str]:
    share = fit.place.needed / max(fit.place.available or 1, 1)
    reasons = [f"{gigabytes(fit.place.needed)} of memory, {share:.0%} of what there is"]
    if fit.place.most_context and fit.place.most_context > load.context:
        reasons.append(f"room for {fit.place.most_context:,} tokens a request at the same load")
    if fit.pace.seconds is not None:
        limit = f" of {load.latency:g} s" if load.latency else ""
        what = "text read" if load.task in READERS else "answer"
        reasons.append(f"a usual {what} in {fit.pace.seconds:,.1f} s{limit}")
    if isinstance(card.active_parameters, int):
        reasons.append("a mixture of experts: few of its parameters work for a token")
    if card.task is Task.EMBEDDING and _published(card):
        reasons.append(f"{MTEB}: {_published(card):g}")
    if card.licence_class is LicenceClass.PERMISSIVE:
        reasons.append(f"permissive licence ({card.licence.label})")
    return reasons


def _mind(card: CatalogueCard, fit: _Fit) -> list[str]:
    notes = []
    if not (card.is_pinned and card.quantisation is fit.format):
        notes.append("no file of it in this format is pinned: bastide models pin")
    if card.terms.commercial_use is CommercialUse.CONDITIONAL:
        notes.append(f"conditions bind: {card.licence.label}; bastide models show {card.name}")
    if card.licence_class is LicenceClass.UNKNOWN:
        notes.append(f"whether {card.licence.label} allows your use is unknown: read it")
    if card.task is Task.VISION:
        notes.append("its part that sees is a second file (mmproj), which is not counted here")
    if not fit.subject.exact:
        notes.append(f"its size is not exact: {fit.subject.origin}")
    if card.not_checked():
        notes.append(f"not checked: {', '.join(card.not_checked())}")
    return notes


def _notes(machine: Machine, load: Load) -> list[str]:
    notes = [RULE]
    if load.latency is not None:
        notes.append(f"Speed reckoned for {load.users} at once on memory {machine.measured}.")
    return notes
