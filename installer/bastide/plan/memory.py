"""How much memory a host needs for its part; an estimate on the safe side."""

from __future__ import annotations

from collections.abc import Mapping

from bastide.schema.model_card import ModelCard
from bastide.schema.site import Group, Site

MIB = 1024 * 1024
SYSTEM_BYTES = 512 * MIB  # what the OS itself keeps
ENGINE_BYTES = 300 * MIB  # compute buffers and Python of one LLM or embedding server
SERVICE_BYTES = {Group.VECTORDB: 256 * MIB, Group.GATEWAY: 96 * MIB}


def memory_needed(
    groups: tuple[Group, ...], site: Site, cards: Mapping[str, ModelCard]
) -> dict[str, int]:
    """Return the bytes of memory that a host of ``groups`` needs, by what needs them."""
    needed = {"the operating system": SYSTEM_BYTES}
    llm, embeddings = cards.get(site.models.llm), cards.get(site.models.embeddings)
    if Group.LLM in groups and llm:
        tokens = site.sizes.llm.context_tokens * site.sizes.llm.parallel
        needed[f"weights of {llm.name}"] = llm.memory.weights
        needed[
            f"context of {site.sizes.llm.parallel} times {site.sizes.llm.context_tokens} tokens"
        ] = llm.memory.kv_cache_per_token * tokens
        needed["the LLM server"] = ENGINE_BYTES
    if Group.EMBEDDINGS in groups and embeddings:
        needed[f"weights of {embeddings.name}"] = embeddings.memory.weights
        needed["the embedding server"] = ENGINE_BYTES
    for group, size in SERVICE_BYTES.items():
        if group in groups:
            needed[f"the {'vector DB' if group is Group.VECTORDB else 'gateway'}"] = size
    return {what: size for what, size in needed.items() if size}
