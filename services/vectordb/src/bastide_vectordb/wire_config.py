"""Collection and index settings: Qdrant's JSON ⇄ Edge's configuration. Pure."""

from __future__ import annotations

from typing import Any

import qdrant_edge as edge

from bastide_vectordb import strict
from bastide_vectordb.errors import BadRequestError, UnsupportedError
from bastide_vectordb.json_types import EdgeValue, Json
from bastide_vectordb.wire_quantization import quantization
from bastide_vectordb.wire_text import member
from bastide_vectordb.wire_values import boolean, count, fail, known_keys, number, payload

MAX_DIMENSIONS = 65_536  # Qdrant's own limit
DEFAULT_HNSW = {"m": 16, "ef_construct": 100, "full_scan_threshold": 10_000}
DEFAULT_OPTIMIZERS = {"indexing_threshold": 10_000}  # KB of vectors before an HNSW index pays
_DISTANCES = {
    "Cosine": edge.Distance.Cosine,
    "Dot": edge.Distance.Dot,
    "Euclid": edge.Distance.Euclid,
    "Manhattan": edge.Distance.Manhattan,
}
_DATATYPES = {
    "float32": edge.VectorStorageDatatype.Float32,
    "float16": edge.VectorStorageDatatype.Float16,
    "uint8": edge.VectorStorageDatatype.Uint8,
    "turbo8": edge.VectorStorageDatatype.Turbo8,
    "turbo16": edge.VectorStorageDatatype.Turbo16,
}
_HNSW = (
    "m",
    "ef_construct",
    "full_scan_threshold",
    "max_indexing_threads",
    "on_disk",
    "payload_m",
    "inline_storage",
    "memory",
)
_OPTIMIZERS = (
    "deleted_threshold",
    "vacuum_min_vector_number",
    "default_segment_number",
    "max_segment_size",
    "indexing_threshold",
    "prevent_unoptimized",
)
_CREATE = (
    "vectors",
    "sparse_vectors",
    "hnsw_config",
    "optimizers_config",
    "quantization_config",
    "on_disk_payload",
    "payload",
    "id_tracker",
    "strict_mode_config",
    "metadata",
)
_ONE_ONLY = ("shard_number", "replication_factor", "write_consistency_factor")
_REFUSED = ("wal_config", "init_from", "sharding_method")


def _given(data: Json) -> dict[str, Any]:
    return {name: value for name, value in data.items() if value is not None}


def creation(data: Json) -> dict[str, Any]:
    """The settings of a create request that the collection keeps, checked.

    Raises:
        BadRequestError: a field is unknown or wrong.
        UnsupportedError: a cluster setting, or a server's setting that Edge does not have.
    """
    known_keys(data, (*_CREATE, *_ONE_ONLY, *_REFUSED), "body")
    given = _given(data)
    for name in _ONE_ONLY:
        if given.pop(name, 1) != 1:
            raise UnsupportedError(f"{name} other than 1")
    if given.get("sharding_method") == "auto":
        del given["sharding_method"]
    for name in _REFUSED:
        if name in given:
            raise UnsupportedError(name)
    if not given.get("vectors") and not given.get("sparse_vectors"):
        raise BadRequestError("vectors: a collection needs at least one vector")
    strict.checked(given.get("strict_mode_config"))
    payload(given.get("metadata"), "metadata")
    edge_config(given)  # every value is read once here, so that nothing wrong is ever stored
    return given


def dense_vectors(settings: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Dense vector settings by name; the unnamed one has the empty name."""
    vectors = settings.get("vectors") or {}
    if isinstance(vectors, dict) and "size" in vectors and "distance" in vectors:
        return {"": vectors}
    return dict(vectors) if isinstance(vectors, dict) else fail("vectors", "an object", vectors)


def sparse_vectors(settings: dict[str, Any]) -> dict[str, Any]:
    """Sparse vector settings by name."""
    vectors = settings.get("sparse_vectors") or {}
    return vectors if isinstance(vectors, dict) else fail("sparse_vectors", "an object", vectors)


def sizes(settings: dict[str, Any]) -> dict[str, int]:
    """Dimensions of every dense vector by name."""
    return {name: params["size"] for name, params in dense_vectors(settings).items()}


def edge_config(settings: dict[str, Any]) -> Json:
    """The Edge configuration of stored settings."""
    dense = {n: _vector(p, f"vectors.{n}") for n, p in dense_vectors(settings).items()}
    sparse = {
        n: _sparse(p or {}, f"sparse_vectors.{n}") for n, p in sparse_vectors(settings).items()
    }
    both = dense.keys() & sparse.keys()
    if both:
        raise BadRequestError(f"vectors: {', '.join(sorted(both))} is dense and sparse at once")
    on_disk = settings.get("on_disk_payload")
    return edge.EdgeConfig(
        vectors=dense,
        sparse_vectors=sparse,
        on_disk_payload=True if on_disk is None else boolean(on_disk, "on_disk_payload"),
        payload_memory=_placed(settings.get("payload"), "payload"),
        id_tracker_memory=_placed(settings.get("id_tracker"), "id_tracker"),
        hnsw_config=_hnsw(settings.get("hnsw_config") or {}, "hnsw_config"),
        quantization_config=quantization(settings.get("quantization_config")),
        optimizers=_optimizers(settings.get("optimizers_config") or {}),
    )


def memory(data: Json, where: str) -> EdgeValue:
    """Where a component lives; None: as Edge thinks best."""
    return None if data is None else member(edge.Memory, data, where)


def _placed(data: Json, where: str) -> EdgeValue:
    if data is None:
        return None
    return memory(known_keys(data, ("memory",), where).get("memory"), f"{where}.memory")


def _datatype(name: Json, where: str) -> EdgeValue:
    if not isinstance(name, str) or name not in _DATATYPES:
        fail(f"{where}.datatype", ", ".join(_DATATYPES), name)
    return _DATATYPES[name]


def distance_of(name: Json, where: str) -> EdgeValue:
    """Edge's distance of a name."""
    if not isinstance(name, str) or name not in _DISTANCES:
        fail(f"{where}.distance", ", ".join(_DISTANCES), name)
    return _DISTANCES[name]


def multi_of(data: Json, where: str) -> EdgeValue:
    """Edge's settings of multi-vectors; None: one vector a point."""
    if data is not None and data != {"comparator": "max_sim"}:
        fail(f"{where}.multivector_config", "comparator max_sim", data)
    return data and edge.MultiVectorConfig(edge.MultiVectorComparator.MaxSim)


def dense_arguments(data: Json, where: str) -> dict[str, EdgeValue]:
    """What Edge needs to know of a dense vector: size, distance, comparison, storage.

    Raises:
        BadRequestError: a wrong value.
    """
    size = count(data.get("size"), f"{where}.size", least=1)
    if size > MAX_DIMENSIONS:
        fail(f"{where}.size", f"1 to {MAX_DIMENSIONS}", size)
    return {
        "size": size,
        "distance": distance_of(data.get("distance"), where),
        "multivector_config": multi_of(data.get("multivector_config"), where),
        "datatype": _datatype(data.get("datatype") or "float32", where),
    }


def sparse_arguments(modifier: Json, datatype: Json, where: str) -> dict[str, EdgeValue]:
    """What Edge needs to know of a sparse vector."""
    if modifier not in (None, "none", "idf"):
        fail(f"{where}.modifier", "none or idf", modifier)
    return {
        "modifier": edge.Modifier.Idf if modifier == "idf" else None,
        "datatype": None if datatype is None else _datatype(datatype, where),
    }


def _vector(data: Json, where: str) -> Json:
    allowed = (
        "size",
        "distance",
        "hnsw_config",
        "quantization_config",
        "on_disk",
        "memory",
        "datatype",
        "multivector_config",
    )
    known_keys(data, allowed, where)
    given = _given(data)
    hnsw = given.get("hnsw_config")
    return edge.EdgeVectorParams(
        **dense_arguments(given, where),
        on_disk=boolean(given.get("on_disk", False), f"{where}.on_disk"),
        hnsw_config=None if hnsw is None else _hnsw(hnsw, f"{where}.hnsw_config"),
        quantization_config=quantization(
            given.get("quantization_config"), f"{where}.quantization_config"
        ),
        memory=memory(given.get("memory"), f"{where}.memory"),
    )


def _sparse(data: Json, where: str) -> Json:
    known_keys(data, ("index", "modifier"), where)
    keys = ("full_scan_threshold", "on_disk", "datatype", "memory")
    index = _given(known_keys(data.get("index") or {}, keys, f"{where}.index"))
    threshold = index.get("full_scan_threshold")
    return edge.EdgeSparseVectorParams(
        **sparse_arguments(data.get("modifier"), index.get("datatype"), where),
        full_scan_threshold=threshold and count(threshold, f"{where}.index.full_scan_threshold"),
        on_disk=boolean(index.get("on_disk", False), f"{where}.index.on_disk"),
        memory=memory(index.get("memory"), f"{where}.index.memory"),
    )


def _hnsw(data: Json, where: str) -> Json:
    known_keys(data, _HNSW, where)
    given = {**DEFAULT_HNSW, **_given(data)}
    for name in ("m", "ef_construct", "full_scan_threshold"):
        count(given[name], f"{where}.{name}")
    for name in ("max_indexing_threads", "payload_m"):
        count(given.get(name, 0), f"{where}.{name}")
    for name in ("on_disk", "inline_storage"):
        boolean(given.get(name, False), f"{where}.{name}")
    placed = memory(given.pop("memory", None), f"{where}.memory")
    return edge.HnswIndexConfig(**given, memory=placed)


def _optimizers(data: Json) -> Json:
    theirs = ("flush_interval_sec", "max_optimization_threads", "memmap_threshold")
    known_keys(data, (*_OPTIMIZERS, *theirs), "optimizers_config")
    given = _given(data)
    for name, value in given.items():
        where = f"optimizers_config.{name}"
        if name in theirs:
            raise UnsupportedError(where)
        if name == "deleted_threshold":
            if not 0 <= number(value, where) <= 1:
                fail(where, "0 to 1", value)
        elif name == "prevent_unoptimized":
            boolean(value, where)
        else:
            count(value, where)
    return edge.EdgeOptimizersConfig(**{**DEFAULT_OPTIMIZERS, **given})


def config_to_json(settings: dict[str, Any]) -> dict[str, Any]:
    """A collection's settings as the ``config`` of Qdrant's collection info."""
    params = {
        "vectors": settings.get("vectors") or {},
        "shard_number": 1,
        "replication_factor": 1,
        "write_consistency_factor": 1,
        "on_disk_payload": settings.get("on_disk_payload", True),
    }
    if settings.get("sparse_vectors"):
        params["sparse_vectors"] = settings["sparse_vectors"]
    for name in ("payload", "id_tracker"):
        if settings.get(name):
            params[name] = settings[name]
    return {
        "params": params,
        "hnsw_config": {
            **DEFAULT_HNSW,
            "max_indexing_threads": 0,
            **_given(settings.get("hnsw_config") or {}),
        },
        "optimizer_config": {
            "deleted_threshold": 0.2,
            "vacuum_min_vector_number": 1000,
            "default_segment_number": 0,
            "flush_interval_sec": 5,
            **DEFAULT_OPTIMIZERS,
            **_given(settings.get("optimizers_config") or {}),
        },
        "wal_config": {"wal_capacity_mb": 32, "wal_segments_ahead": 0},
        "quantization_config": settings.get("quantization_config"),
        **(
            {"strict_mode_config": settings["strict_mode_config"]}
            if settings.get("strict_mode_config")
            else {}
        ),
        **({"metadata": settings["metadata"]} if settings.get("metadata") else {}),
    }


def indexing_threshold_bytes(settings: dict[str, Any]) -> int:
    """Bytes of vectors that may stay without an HNSW index; 0: never build one."""
    given = _given(settings.get("optimizers_config") or {})
    return int({**DEFAULT_OPTIMIZERS, **given}["indexing_threshold"]) * 1024
