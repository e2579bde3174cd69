"""The lines of site.yaml for a recommended model, valid by construction."""

from __future__ import annotations

from collections.abc import Sequence

from bastide.advice.load import Load
from bastide.schema.model_card import CatalogueCard, Task
from bastide.schema.site import LlmSize, ModelChoices

MOST_PARALLEL = 256  # sizes.llm.parallel of site.yaml


def fragment(
    cards: Sequence[CatalogueCard], chosen: str | None, load: Load
) -> tuple[str | None, tuple[str, ...]]:
    """Return the fragment and what to know about it; none if nothing was chosen.

    Args:
        cards: The catalogue, from which the other model of the site comes.
        chosen: Name of the recommended model.
        load: What users ask for.
    """
    if chosen is None:
        return None, ()
    if load.task is Task.RERANK:
        return None, ("This release serves no reranker, so site.yaml has no place for it.",)
    embeds = load.task is Task.EMBEDDING
    other = _companion(cards, Task.CHAT if embeds else Task.EMBEDDING)
    if other is None:
        return None, ("The catalogue has no model for the other service of a site.",)
    models = ModelChoices(llm=other if embeds else chosen, embeddings=chosen if embeds else other)
    lines = ["models:", f"  llm: {models.llm}", f"  embeddings: {models.embeddings}"]
    if not embeds:
        size = LlmSize(context_tokens=load.context, parallel=min(load.users, MOST_PARALLEL))
        lines += [
            "sizes:",
            "  llm:",
            f"    context_tokens: {size.context_tokens}",
            f"    parallel: {size.parallel}",
        ]
    notes = [f"{other} is named for the other service: the smallest that is pinned."]
    if load.users > MOST_PARALLEL:
        notes.append(f"More than {MOST_PARALLEL} at once wait in the gateway's queue.")
    return "\n".join(lines) + "\n", tuple(notes)


def _companion(cards: Sequence[CatalogueCard], task: Task) -> str | None:
    of_task = [card for card in cards if card.task is task]
    of_task.sort(
        key=lambda card: (
            not card.is_pinned,
            card.parameters if isinstance(card.parameters, int) else 10**15,
            card.name,
        )
    )
    return of_task[0].name if of_task else None
