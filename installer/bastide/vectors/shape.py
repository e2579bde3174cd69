"""What a collection is, apart from its points: settings that make the same one elsewhere. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

Json = dict[str, Any]
_PARAMS = ("vectors", "sparse_vectors", "on_disk_payload")
_TOP = ("hnsw_config", "quantization_config", "metadata")
# What optimisers of one engine have and the other has not is left to the other's own defaults.
_OPTIMIZERS = (
    "deleted_threshold",
    "vacuum_min_vector_number",
    "default_segment_number",
    "indexing_threshold",
)


def _given(data: object) -> Json:
    return {k: v for k, v in data.items() if v is not None} if isinstance(data, Mapping) else {}


def creation(info: Mapping[str, Any]) -> Json:
    """Return the body that makes a collection with the settings of ``info``, without limits.

    Strict mode is off until all points are there: see ``strict_mode``. How many copies there are
    is for the vector DB to say that makes it.
    """
    config = info["config"]
    params, optimizers = config["params"], _given(config.get("optimizer_config"))
    body = {name: params[name] for name in _PARAMS if params.get(name) is not None}
    body |= {name: config[name] for name in _TOP if config.get(name) is not None}
    chosen = {name: optimizers[name] for name in _OPTIMIZERS if name in optimizers}
    if chosen:
        body["optimizers_config"] = chosen
    body["strict_mode_config"] = {"enabled": False}
    return body


def strict_mode(info: Mapping[str, Any]) -> Json:
    """Return the collection's limits; empty if it has none."""
    return _given(info["config"].get("strict_mode_config"))


def indexes(info: Mapping[str, Any]) -> dict[str, Any]:
    """Return the payload indexes by field: a type's name, or its parameters."""
    found = {}
    for field, index in sorted(info.get("payload_schema", {}).items()):
        found[field] = index.get("params") or index["data_type"]
    return found


def _core(vectors: object) -> dict[str, Any]:
    """Return what makes vectors comparable: size, distance and kind of each, by name."""
    data = _given(vectors)
    named = {"": data} if "size" in data else data
    return {
        name: (each["size"], each["distance"], bool(each.get("multivector_config")))
        for name, each in named.items()
    }


def difference(info: Mapping[str, Any], other: Mapping[str, Any]) -> str:
    """Return why points of the one collection do not fit the other; empty if they do."""
    one, two = info["config"]["params"], other["config"]["params"]
    dense, there = _core(one.get("vectors")), _core(two.get("vectors"))
    if dense != there:
        return f"its vectors are {there}, expected {dense}"
    names = sorted(_given(one.get("sparse_vectors")))
    if names != sorted(_given(two.get("sparse_vectors"))):
        return f"its sparse vectors are not {', '.join(names) or 'none'}"
    return ""


def searchable(info: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the names of vectors whose scores depend on nothing but the vectors.

    Those with the modifier idf are weighed by how rare a word is: among the points of a shard, and
    those count that were deleted lately, so that equal data may score differently elsewhere.
    """
    sparse = _given(info["config"]["params"].get("sparse_vectors"))
    weighed = {name for name, each in sparse.items() if _given(each).get("modifier") == "idf"}
    return tuple(name for name in vector_names(info) if name not in weighed)


def vector_names(info: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the names of all vectors; the unnamed one is empty."""
    params = info["config"]["params"]
    return (*sorted(_core(params.get("vectors"))), *sorted(_given(params.get("sparse_vectors"))))
