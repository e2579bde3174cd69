"""How large a model's weights are in a format: as published, or estimated from its parameters."""

from __future__ import annotations

from dataclasses import dataclass

from bastide.schema.model_card import CatalogueCard
from bastide.schema.model_facts import Unknown, WeightFormat
from bastide.sizing.subject import FORMAT_BITS

# What to take if nothing else is asked for: the usual compromise first, then the finer ones.
USUAL = (
    WeightFormat.Q4_K_M,
    WeightFormat.MXFP4,
    WeightFormat.Q4_1,
    WeightFormat.Q8_0,
    WeightFormat.F16,
    WeightFormat.BF16,
)


@dataclass(frozen=True)
class Weights:
    """The size of a model's weights in one format.

    Args:
        format: The format.
        size: Bytes; None if neither a size nor the parameters are known.
        estimated: Whether it was reckoned from parameters and bits.
    """

    format: WeightFormat
    size: int | None
    estimated: bool = False


def weights(card: CatalogueCard, wanted: WeightFormat) -> Weights:
    """Return how large ``card``'s weights are in format ``wanted``."""
    if card.file is not None and card.quantisation is wanted:
        return Weights(wanted, card.file.size)
    for each in card.quantisations:
        if each.name is wanted and not isinstance(each.size, Unknown):
            return Weights(wanted, each.size)
    if isinstance(card.parameters, Unknown):
        return Weights(wanted, None)
    return Weights(wanted, round(card.parameters * FORMAT_BITS[wanted] / 8), estimated=True)


def formats_of(card: CatalogueCard) -> tuple[WeightFormat, ...]:
    """Return the formats in which the card's file can be had, the finest first."""
    known = {each.name for each in card.quantisations}
    if card.quantisation is not None:
        known.add(card.quantisation)
    return tuple(sorted(known, key=lambda each: (-FORMAT_BITS[each], each.value)))


def usual_weights(card: CatalogueCard) -> Weights | None:
    """Return the weights that one would take without a further wish; None if no format is known.

    A pinned file's own, else those of the first of `USUAL` that the card offers.
    """
    if card.quantisation is not None:
        return weights(card, card.quantisation)
    offered = formats_of(card)
    for each in (*USUAL, *offered):
        if each in offered:
            return weights(card, each)
    return None
