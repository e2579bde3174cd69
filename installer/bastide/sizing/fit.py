"""Does it fit, and if not, with how much less context would it?"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, replace
from enum import StrEnum

from bastide.errors import ConfigError
from bastide.sizing.memory import (
    ABSURD,
    CELLS,
    GPU_CONTEXT_BYTES,
    MIB,
    Part,
    Setting,
    cpu_parts,
    gpu_parts,
    needed,
)
from bastide.sizing.subject import Subject

SYSTEM_BYTES = 512 * MIB  # what the OS itself keeps
CARD_SIZES = (24, 48, 80)  # GB of common GPUs, for which their number is told
_AMOUNT = re.compile(r"\s*(?:(\d+)\s*x\s*)?(\d+(?:\.\d+)?)\s*([kKMGT]i?)?(B?)(/s)?\s*")
_UNITS = {"": 1, "k": 10**3, "K": 10**3, "M": 10**6, "G": 10**9, "T": 10**12}


class Verdict(StrEnum):
    """The answer."""

    FITS = "fits"
    LESS_CONTEXT = "fits with less context"
    NO = "does not fit"


@dataclass(frozen=True)
class Place:
    """Where the model would be held.

    Args:
        kind: cpu or gpu.
        verdict: The answer; none if no memory was named.
        needed: Bytes that it takes, without those that the system can take back.
        available: Bytes that there are for it; none if no memory was named.
        parts: What the bytes are for.
        most_context: The longest context of a request that fits, with the same number of requests;
            none if not even the shortest does, or no memory was named.
    """

    kind: str
    verdict: Verdict | None
    needed: int
    available: int | None
    parts: tuple[Part, ...]
    most_context: int | None


@dataclass(frozen=True)
class Room:
    """Memory of a machine.

    Args:
        ram: Main memory in bytes; none if not asked for.
        vram: Memory of each GPU in bytes; none if not asked for.
        cards: How many GPUs.
    """

    ram: int | None = None
    vram: int | None = None
    cards: int = 1


def amount(text: str, what: str) -> tuple[int, float]:
    """Return (count, amount) of a text such as ``64GB``, ``2x80GB``, ``50GB/s`` or ``1.5T``.

    Raises:
        ConfigError: It is no positive amount.
    """
    match = _AMOUNT.fullmatch(text)
    if match is not None:
        count, number, unit = int(match[1] or 1), float(match[2]), match[3] or ""
        scale = (
            _UNITS[unit[:1]]
            if not unit.endswith("i")
            else 1024 ** ("KMGT".index(unit[0].upper()) + 1)
        )
        if count > 0 and 0 < number * scale < math.inf and count <= 10_000:
            return count, number * scale
    raise ConfigError(
        f"{what} should be an amount above 0 such as 64GB, 80GiB or 2x80GB; found '{text}'",
        code=ABSURD,
        hint="write the number with its unit, without spaces",
    )


def place_cpu(subject: Subject, setting: Setting, ram: int | None) -> Place:
    """Return whether a model fits into main memory, beside the system."""
    free = None if ram is None else ram - SYSTEM_BYTES
    return _place("cpu", subject, setting, free, 1)


def place_gpu(subject: Subject, setting: Setting, vram: int | None, cards: int = 1) -> Place:
    """Return whether a model fits into ``cards`` GPUs of ``vram`` bytes each, all layers there."""
    return _place("gpu", subject, setting, None if vram is None else vram * cards, cards)


def _parts(kind: str, subject: Subject, setting: Setting, cards: int) -> tuple[Part, ...]:
    return cpu_parts(subject, setting) if kind == "cpu" else gpu_parts(subject, setting, cards)


def _place(kind: str, subject: Subject, setting: Setting, free: int | None, cards: int) -> Place:
    parts = _parts(kind, subject, setting, cards)
    wanted = needed(parts)
    if free is None:
        return Place(kind, None, wanted, None, parts, None)
    most = _most_context(kind, subject, setting, free, cards)
    verdict = Verdict.FITS if wanted <= free else Verdict.LESS_CONTEXT if most else Verdict.NO
    return Place(kind, verdict, wanted, free, parts, most)


def _most_context(
    kind: str, subject: Subject, setting: Setting, free: int, cards: int
) -> int | None:
    """Return the longest context that fits, in steps of 256 tokens; memory grows with it."""

    def fits(context: int) -> bool:
        return needed(_parts(kind, subject, replace(setting, context=context), cards)) <= free

    window = subject.architecture.context_window
    low, high = 0, max(window // CELLS, 1)
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if fits(middle * CELLS) else (low, middle - 1)
    return low * CELLS or None


def cards_needed(subject: Subject, setting: Setting) -> dict[int, int]:
    """Return how many GPUs of each common size hold the model: GB → cards.

    Weights and cache are spread over the cards; buffers and the driver's context are on each.
    """
    parts = {part.name: part.size for part in gpu_parts(subject, setting)}
    each = parts["compute buffer"] + GPU_CONTEXT_BYTES
    spread = parts["weights"] + parts.get("key-value cache", 0)
    return {
        size: math.ceil(spread / (size * 10**9 - each))
        for size in CARD_SIZES
        if size * 10**9 > each
    }
