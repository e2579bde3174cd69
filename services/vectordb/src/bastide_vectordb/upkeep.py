"""When a collection is worth optimising. Pure."""

from __future__ import annotations

from typing import Any

from bastide_vectordb import wire_config

_FLOAT_BYTES = 4
# Optimising copies the whole shard, so that it must pay: the larger the collection, the more of it
# may lie unindexed first. While writers are at work, wait for more: it will be outdated soon.
_QUIET_SHARE = 0.05
_BUSY_SHARE = 0.25


def index_is_due(
    info: dict[str, Any], settings: dict[str, Any], written: float, *, quiet: bool
) -> bool:
    """Whether so many vectors are without an index that building one pays.

    Args:
        info: The engine's ``info``.
        settings: The collection's settings.
        written: Bytes of write requests since the last optimisation; without new ones, a second
            run would do no more than the first (points may lack vectors for good).
        quiet: Whether no write came for some seconds.
    """
    threshold = wire_config.indexing_threshold_bytes(settings)
    sizes = wire_config.sizes(settings)
    indexed = info["indexed_vectors_count"]
    loose = info["points_count"] * len(sizes) - indexed
    share = _QUIET_SHARE if quiet else _BUSY_SHARE
    bytes_loose = loose * max(sizes.values(), default=0) * _FLOAT_BYTES
    return bool(0 < threshold <= min(bytes_loose, written) and loose >= share * indexed)
