"""Named vectors that come and go after a collection was made.

The shard and ``collection.json`` must agree on the names, or the shard does not load. So the new
settings are written as pending first; whoever opens a collection with pending settings after a
crash asks the shard's own files which of the two hold.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import orjson
import qdrant_edge as edge

from bastide_vectordb import wire_config
from bastide_vectordb.json_types import EdgeValue


def operation(name: str, settings: dict[str, Any]) -> EdgeValue:
    """Edge's update that makes a shard have, or not have, a vector as ``settings`` say."""
    where = f"vectors.{name}"
    dense, sparse = wire_config.dense_vectors(settings), wire_config.sparse_vectors(settings)
    if name in dense:
        return edge.UpdateOperation.create_dense_vector(
            name, **wire_config.dense_arguments(dense[name], where)
        )
    if name in sparse:
        params = sparse[name] or {}
        datatype = (params.get("index") or {}).get("datatype")
        return edge.UpdateOperation.create_sparse_vector(
            name, **wire_config.sparse_arguments(params.get("modifier"), datatype, where)
        )
    return edge.UpdateOperation.delete_vector_name(name)


def of_settings(settings: dict[str, Any]) -> set[str]:
    """Names of all vectors in a collection's settings."""
    return {*wire_config.dense_vectors(settings), *wire_config.sparse_vectors(settings)}


def of_shard(path: Path) -> set[str]:
    """Names of all vectors of a shard, after what its write-ahead log has was done.

    Raises:
        OSError: its files cannot be read.
        Exception: what Edge raised.
    """
    shard = edge.EdgeShard.load(str(path))
    shard.flush()
    shard.close()
    names: set[str] = set()
    for segment in (path / "segments").glob("*/segment.json"):
        config = orjson.loads(segment.read_bytes())["config"]
        names |= {*config.get("vector_data", {}), *config.get("sparse_vector_data", {})}
    return names
