"""Vectors and points, JSON ⇄ Edge. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import qdrant_edge as edge

from bastide_vectordb.json_types import EdgeValue, Json
from bastide_vectordb.wire_bm25 import embed, is_document
from bastide_vectordb.wire_values import fail


def one_vector(value: Json, where: str, *, query: bool = False) -> EdgeValue:
    """One dense, multi or sparse vector for Edge.

    Args:
        value: A vector, or a text with the model ``qdrant/bm25``.
        where: Where it stands, for errors.
        query: Whether a text asks for documents, or is one.

    Raises:
        BadRequestError: not a vector.
        UnsupportedError: to be embedded by another model.
    """
    if isinstance(value, list):
        return value
    if isinstance(value, dict):
        if value.keys() == {"indices", "values"}:
            return _sparse(value, where)
        if is_document(value):
            return embed(value, where, query=query)
    return fail(where, "a vector", value)


def _sparse(value: dict[str, Any], where: str) -> EdgeValue:
    indices, values = value["indices"], value["values"]
    if not isinstance(indices, list) or not isinstance(values, list):
        fail(where, "indices and values as lists", value)
    if len(indices) != len(values):
        fail(where, "as many indices as values", f"{len(indices)} and {len(values)}")
    if len(set(indices)) != len(indices):
        fail(f"{where}.indices", "each index once", indices)
    return edge.SparseVector(indices=indices, values=values)


def vectors(value: Json, where: str = "vector") -> EdgeValue:
    """The vector, or the named vectors, of one point."""
    if isinstance(value, list):
        return value
    if isinstance(value, dict):
        if is_document(value):
            return one_vector(value, where)
        return {name: one_vector(item, f"{where}.{name}") for name, item in value.items()}
    return fail(where, "a vector or an object of named vectors", value)


def vector_to_json(vector: EdgeValue) -> Json:
    """A vector that Edge returned, as JSON values."""
    if isinstance(vector, list):
        return vector
    if isinstance(vector, edge.SparseVector):
        return {"indices": vector.indices, "values": vector.values}
    if isinstance(vector, Mapping):
        return {name: vector_to_json(item) for name, item in vector.items()}
    return vector


def record_to_json(record: Json) -> dict[str, Any]:
    """A retrieved point as Qdrant words it."""
    out: dict[str, Any] = {"id": record.id, "payload": record.payload}
    vector = record.vector
    if vector is not None:
        out["vector"] = vector_to_json(vector)
    if record.order_value is not None:
        out["order_value"] = record.order_value
    return out


def scored_to_json(point: Json, *, vectors: bool) -> dict[str, Any]:
    """A search hit as Qdrant words it; Edge adds vectors nobody asked for to some queries."""
    out: dict[str, Any] = {"id": point.id, "version": point.version, "score": point.score}
    payload_ = point.payload
    if payload_ is not None:
        out["payload"] = payload_
    if vectors and (vector := point.vector) is not None:
        out["vector"] = vector_to_json(vector)
    if point.order_value is not None:
        out["order_value"] = point.order_value
    return out
