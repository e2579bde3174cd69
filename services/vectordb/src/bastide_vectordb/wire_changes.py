"""What may change of a collection after it was created, and how. Pure."""

from __future__ import annotations

from typing import Any

from bastide_vectordb import strict, wire_config
from bastide_vectordb.errors import BadRequestError, NotFoundError, UnsupportedError
from bastide_vectordb.json_types import Json
from bastide_vectordb.wire_values import fail, known_keys, payload

Settings = dict[str, Any]
_MERGED = ("hnsw_config", "optimizers_config", "metadata", "strict_mode_config")
_DIFF = ("hnsw_config", "quantization_config", "on_disk", "memory")
_ALL = (*_MERGED, "vectors", "sparse_vectors", "quantization_config", "params")
_ONE_ONLY = ("replication_factor", "write_consistency_factor")
_MAX_NAME = 255


def _object(data: Json, where: str) -> dict[str, Any]:
    if not isinstance(data, dict):
        fail(where, "an object", data)
    return {name: value for name, value in data.items() if value is not None}


def changes(data: Json, now: Settings) -> Settings:
    """The settings after a ``PATCH`` of a collection.

    Raises:
        BadRequestError: a field is unknown or wrong.
        NotFoundError: a vector of another name.
        UnsupportedError: a setting that cannot change after creation, or of a cluster.
    """
    given = _object(data, "body")
    for name in given.keys() - set(_ALL):
        raise UnsupportedError(f"change of {name} after creation")
    out = dict(now)
    for name in _MERGED:
        if name in given:
            out[name] = {**(now.get(name) or {}), **_object(given[name], name)}
    if "quantization_config" in given:
        out["quantization_config"] = _quantization(given["quantization_config"])
    if "vectors" in given:
        out["vectors"] = _vectors(_object(given["vectors"], "vectors"), now)
    if "sparse_vectors" in given:
        out["sparse_vectors"] = _sparse(_object(given["sparse_vectors"], "sparse_vectors"), now)
    if "params" in given:
        out.update(_params(given["params"]))
    strict.checked(out.get("strict_mode_config"))
    payload(out.get("metadata"), "metadata")
    wire_config.edge_config(out)
    return out


def _quantization(data: Json) -> Json:
    return None if data == "Disabled" else data


def _vectors(given: Settings, now: Settings) -> Settings:
    dense = wire_config.dense_vectors(now)
    for name, diff in given.items():
        if name not in dense:
            raise NotFoundError(f"vector '{name}' of the collection")
        where = f"vectors.{name}"
        known_keys(diff, _DIFF, where)
        for key, value in _object(diff, where).items():
            old = dense[name]
            if key == "quantization_config":
                new = _quantization(value)
            elif key == "hnsw_config":
                new = {**(old.get(key) or {}), **_object(value, f"{where}.{key}")}
            else:
                new = value
            dense = {**dense, name: {**old, key: new}}
    return dense[""] if list(dense) == [""] else dense


def _sparse(given: Settings, now: Settings) -> Settings:
    sparse = dict(wire_config.sparse_vectors(now))
    for name, diff in given.items():
        if name not in sparse:
            raise NotFoundError(f"sparse vector '{name}' of the collection")
        sparse[name] = {**(sparse[name] or {}), **_object(diff, f"sparse_vectors.{name}")}
    return sparse


def _params(data: Json) -> Settings:
    allowed = (*_ONE_ONLY, "on_disk_payload", "payload", "id_tracker")
    given = _object(known_keys(data, allowed, "params"), "params")
    for name in _ONE_ONLY:
        if given.pop(name, 1) != 1:
            raise UnsupportedError(f"params.{name} other than 1")
    return given


def with_vector(name: str, data: Json, now: Settings) -> Settings:
    """The settings after a named vector was added.

    Raises:
        BadRequestError: not a dense or sparse vector's configuration, or the name is taken.
    """
    taken = {*wire_config.dense_vectors(now), *wire_config.sparse_vectors(now)}
    if name in taken:
        raise BadRequestError(f"vector '{name}' exists already")
    if not name or len(name.encode()) > _MAX_NAME:
        raise BadRequestError(f"vector name: expected 1 to {_MAX_NAME} bytes")
    known_keys(data, ("dense", "sparse"), "body")
    if len(data) != 1:
        raise BadRequestError("body: give either dense or sparse")
    out = dict(now)
    if "dense" in data:
        keys = ("size", "distance", "multivector_config", "datatype")
        params = _object(known_keys(data["dense"], keys, "dense"), "dense")
        out["vectors"] = {**wire_config.dense_vectors(now), name: params}
    else:
        given = _object(known_keys(data["sparse"], ("modifier", "datatype"), "sparse"), "sparse")
        datatype = given.pop("datatype", None)
        params = {**given, **({"index": {"datatype": datatype}} if datatype else {})}
        out["sparse_vectors"] = {**wire_config.sparse_vectors(now), name: params}
    wire_config.edge_config(out)
    return out


def without_vector(name: str, now: Settings) -> Settings:
    """The settings after a named vector was removed.

    Raises:
        NotFoundError: there is none of that name.
        BadRequestError: it is the last one.
    """
    dense, sparse = wire_config.dense_vectors(now), wire_config.sparse_vectors(now)
    if name not in dense and name not in sparse:
        raise NotFoundError(f"vector '{name}' of the collection")
    if len(dense) + len(sparse) == 1:
        raise BadRequestError(f"vector '{name}' is the only one; delete the collection instead")
    return {
        **now,
        "vectors": {key: value for key, value in dense.items() if key != name},
        "sparse_vectors": {key: value for key, value in sparse.items() if key != name},
    }
