"""Collection and index settings: Qdrant's JSON ⇄ Edge's configuration. Pure."""

from __future__ import annotations

from typing import Any

import qdrant_edge as edge

from bastide_vectordb.errors import BadRequestError, UnsupportedError
from bastide_vectordb.json_types import Json
from bastide_vectordb.wire_values import boolean, count, fail, known_keys

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
}
_RATIOS = {f"x{n}": getattr(edge.CompressionRatio, f"X{n}") for n in (4, 8, 16, 32, 64)}
_HNSW = (
    "m",
    "ef_construct",
    "full_scan_threshold",
    "max_indexing_threads",
    "on_disk",
    "payload_m",
)
_OPTIMIZERS = (
    "deleted_threshold",
    "vacuum_min_vector_number",
    "default_segment_number",
    "max_segment_size",
    "indexing_threshold",
)
_CREATE = (
    "vectors",
    "sparse_vectors",
    "hnsw_config",
    "optimizers_config",
    "quantization_config",
    "on_disk_payload",
    "metadata",
)
_ONE_ONLY = ("shard_number", "replication_factor", "write_consistency_factor")
_REFUSED = ("wal_config", "init_from", "strict_mode_config", "sharding_method")
_MUTABLE = ("hnsw_config", "optimizers_config", "metadata")


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
    edge_config(given)  # every value is read once here, so that nothing wrong is ever stored
    return given


def changes(data: Json, now: dict[str, Any]) -> dict[str, Any]:
    """The settings after an update request.

    Raises:
        UnsupportedError: a setting that cannot change after creation.
    """
    if not isinstance(data, dict):
        fail("body", "an object", data)
    given = _given(data)
    for name in given.keys() - set(_MUTABLE):
        raise UnsupportedError(f"change of {name} after creation")
    out = dict(now)
    for name, value in given.items():
        if not isinstance(value, dict):
            fail(name, "an object", value)
        out[name] = {**(now.get(name) or {}), **value}
    edge_config(out)
    return out


def dense_vectors(settings: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Dense vector settings by name; the unnamed one has the empty name."""
    vectors = settings.get("vectors") or {}
    if isinstance(vectors, dict) and "size" in vectors and "distance" in vectors:
        return {"": vectors}
    return dict(vectors) if isinstance(vectors, dict) else fail("vectors", "an object", vectors)


def sizes(settings: dict[str, Any]) -> dict[str, int]:
    """Dimensions of every dense vector by name."""
    return {name: params["size"] for name, params in dense_vectors(settings).items()}


def edge_config(settings: dict[str, Any]) -> Json:
    """The Edge configuration of stored settings."""
    dense = {n: _vector(p, f"vectors.{n}") for n, p in dense_vectors(settings).items()}
    sparse = {
        n: _sparse(p or {}, f"sparse_vectors.{n}")
        for n, p in (settings.get("sparse_vectors") or {}).items()
    }
    on_disk = settings.get("on_disk_payload")
    return edge.EdgeConfig(
        vectors=dense,
        sparse_vectors=sparse,
        on_disk_payload=True if on_disk is None else boolean(on_disk, "on_disk_payload"),
        hnsw_config=_hnsw(settings.get("hnsw_config") or {}, "hnsw_config"),
        quantization_config=_quantization(settings.get("quantization_config")),
        optimizers=_optimizers(settings.get("optimizers_config") or {}),
    )


def _vector(data: Json, where: str) -> Json:
    allowed = (
        "size",
        "distance",
        "hnsw_config",
        "quantization_config",
        "on_disk",
        "datatype",
        "multivector_config",
    )
    known_keys(data, allowed, where)
    given = _given(data)
    size = count(given.get("size"), f"{where}.size", least=1)
    if size > MAX_DIMENSIONS:
        fail(f"{where}.size", f"1 to {MAX_DIMENSIONS}", size)
    distance = given.get("distance")
    if distance not in _DISTANCES:
        fail(f"{where}.distance", ", ".join(_DISTANCES), distance)
    datatype = given.get("datatype", "float32")
    if datatype not in _DATATYPES:
        fail(f"{where}.datatype", ", ".join(_DATATYPES), datatype)
    multi = given.get("multivector_config")
    if multi is not None and multi != {"comparator": "max_sim"}:
        fail(f"{where}.multivector_config", "comparator max_sim", multi)
    hnsw = given.get("hnsw_config")
    return edge.EdgeVectorParams(
        size=size,
        distance=_DISTANCES[distance],
        on_disk=boolean(given.get("on_disk", False), f"{where}.on_disk"),
        datatype=_DATATYPES[datatype],
        multivector_config=multi and edge.MultiVectorConfig(edge.MultiVectorComparator.MaxSim),
        hnsw_config=None if hnsw is None else _hnsw(hnsw, f"{where}.hnsw_config"),
        quantization_config=_quantization(given.get("quantization_config")),
    )


def _sparse(data: Json, where: str) -> Json:
    known_keys(data, ("index", "modifier"), where)
    index = _given(data.get("index") or {})
    known_keys(index, ("full_scan_threshold", "on_disk", "datatype"), f"{where}.index")
    modifier = data.get("modifier")
    if modifier not in (None, "none", "idf"):
        fail(f"{where}.modifier", "none or idf", modifier)
    datatype = index.pop("datatype", None)
    return edge.EdgeSparseVectorParams(
        modifier=edge.Modifier.Idf if modifier == "idf" else None,
        datatype=_DATATYPES.get(datatype),
        **index,
    )


def _hnsw(data: Json, where: str) -> Json:
    known_keys(data, _HNSW, where)
    given = {**DEFAULT_HNSW, **_given(data)}
    for name in ("m", "ef_construct", "full_scan_threshold"):
        count(given[name], f"{where}.{name}")
    return edge.HnswIndexConfig(**given)


def _optimizers(data: Json) -> Json:
    ours = (*_OPTIMIZERS, "flush_interval_sec", "max_optimization_threads", "memmap_threshold")
    known_keys(data, ours, "optimizers_config")
    given = _given(data)
    for name in ours[len(_OPTIMIZERS) :]:
        if name in given:
            raise UnsupportedError(f"optimizers_config.{name}")
    return edge.EdgeOptimizersConfig(**{**DEFAULT_OPTIMIZERS, **given})


def _quantization(data: Json) -> Json:
    if data is None or data == "Disabled":
        return None
    if not isinstance(data, dict) or len(data) != 1:
        fail("quantization_config", "one of scalar, product, binary", data)
    ((kind, value),) = data.items()
    given = _given(known_keys(value, _QUANTIZATION_KEYS, f"quantization_config.{kind}"))
    always_ram = given.get("always_ram")
    if kind == "scalar":
        return edge.ScalarQuantizationConfig(
            type=edge.ScalarType.Int8, quantile=given.get("quantile"), always_ram=always_ram
        )
    if kind == "product":
        ratio = given.get("compression")
        if ratio not in _RATIOS:
            fail("quantization_config.product.compression", ", ".join(_RATIOS), ratio)
        return edge.ProductQuantizationConfig(compression=_RATIOS[ratio], always_ram=always_ram)
    if kind == "binary":
        return edge.BinaryQuantizationConfig(always_ram=always_ram)
    raise UnsupportedError(f"quantization_config.{kind}")


_QUANTIZATION_KEYS = ("type", "quantile", "always_ram", "compression")


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
        **({"metadata": settings["metadata"]} if settings.get("metadata") else {}),
    }


def indexing_threshold_bytes(settings: dict[str, Any]) -> int:
    """Bytes of vectors that may stay without an HNSW index; 0: never build one."""
    given = _given(settings.get("optimizers_config") or {})
    return int({**DEFAULT_OPTIMIZERS, **given}["indexing_threshold"]) * 1024
