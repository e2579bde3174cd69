"""How much memory a host needs for its part; the formulas are sizing's."""

from __future__ import annotations

from collections.abc import Mapping

from bastide.schema.model_card import ModelCard
from bastide.schema.site import Group, Site
from bastide.sizing.fit import SYSTEM_BYTES
from bastide.sizing.memory import (
    MIB,
    PROCESS_BYTES,
    SERVER_BYTES,
    WORD_BYTES,
    Setting,
    output_part,
    working_part,
)
from bastide.sizing.subject import Subject, from_card

SERVICE_BYTES = {
    Group.VECTORDB: ("the vector DB", 256 * MIB),
    Group.GATEWAY: ("the gateway", 96 * MIB),
    Group.MONITORING: ("monitoring", 256 * MIB),
}
# Where a card does not know its architecture's numbers, buffers cannot be worked out: as much as
# models of the catalogue's smaller half need with eight requests.
BUFFER_BYTES = 160 * MIB


def memory_needed(
    groups: tuple[Group, ...], site: Site, cards: Mapping[str, ModelCard]
) -> dict[str, int]:
    """Return the bytes of memory that a host of ``groups`` needs, by what needs them."""
    needed = {"the operating system": SYSTEM_BYTES}
    llm, embeddings = cards.get(site.models.llm), cards.get(site.models.embeddings)
    if Group.LLM in groups and llm:
        size = site.sizes.llm
        setting = Setting(size.context_tokens, size.parallel, unified=True)
        needed[f"weights of {llm.name}"] = llm.memory.weights
        needed[f"context of {size.parallel} times {size.context_tokens} tokens"] = (
            llm.memory.kv_cache_per_token * setting.context * setting.parallel
        )
        needed["the LLM server"] = server_bytes(llm, setting)
    if Group.EMBEDDINGS in groups and embeddings:
        setting = Setting(embeddings.context_window, site.sizes.embeddings.parallel)
        needed[f"weights of {embeddings.name}"] = embeddings.memory.weights
        needed["the embedding server"] = server_bytes(embeddings, setting)
    for group, (what, amount) in SERVICE_BYTES.items():
        if group in groups:
            needed[what] = amount
    return {what: size for what, size in needed.items() if size}


def server_bytes(card: ModelCard, setting: Setting) -> int:
    """Return what one server takes besides weights and cache: process, tables, buffers."""
    base = PROCESS_BYTES + SERVER_BYTES
    if card.dimensions is None:
        return base + BUFFER_BYTES
    subject: Subject = from_card(card, None)
    buffers = output_part(subject, setting).size + working_part(subject, setting).size
    return base + buffers + subject.vocabulary * WORD_BYTES
