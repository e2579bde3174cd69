"""Write requests (points, payload, vectors) → Edge update operations. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import qdrant_edge as edge

from bastide_vectordb.errors import ApiError, BadRequestError
from bastide_vectordb.json_types import Json
from bastide_vectordb.wire_filter import filter_of
from bastide_vectordb.wire_values import fail, known_keys, payload, point_id, point_ids, string
from bastide_vectordb.wire_vectors import vectors

Sizes = Mapping[str, int]  # dense vector name → dimensions; sparse names are absent
_MODES = {
    "upsert": edge.UpdateMode.Upsert,
    "insert_only": edge.UpdateMode.InsertOnly,
    "update_only": edge.UpdateMode.UpdateOnly,
}
_Update = edge.UpdateOperation


def upsert(data: Json, sizes: Sizes) -> Json:
    """Points in either of Qdrant's forms, list or batch.

    Every vector's size is compared first: Edge applies a batch point by point, so that a bad
    point in its midst would leave half of it stored.

    Raises:
        ApiError: 400, a field is wrong or a vector's size is not the collection's.
    """
    known_keys(data, ("points", "batch", "update_filter", "update_mode", "shard_key"), "body")
    if ("points" in data) == ("batch" in data):
        raise BadRequestError("body: give either points or batch")
    rows = _rows(data["points"]) if "points" in data else _columns(data["batch"])
    points = [_point(number, row, sizes) for number, row in enumerate(rows)]
    mode = data.get("update_mode")
    if mode is not None and mode not in _MODES:
        fail("update_mode", "upsert, insert_only or update_only", mode)
    return _Update.upsert_points(
        points,
        filter_of(data.get("update_filter"), "update_filter"),
        _MODES[mode] if mode is not None else None,
    )


def _rows(rows: Json) -> list[Any]:
    if not isinstance(rows, list):
        fail("points", "a list", rows)
    return rows


def _columns(data: Json) -> list[dict[str, Any]]:
    known_keys(data, ("ids", "vectors", "payloads"), "batch")
    ids = data.get("ids")
    if not isinstance(ids, list):
        fail("batch.ids", "a list", ids)
    held = data.get("vectors")
    if isinstance(held, dict):
        names = list(held)
        if any(not isinstance(held[n], list) or len(held[n]) != len(ids) for n in names):
            raise BadRequestError("batch.vectors: each list must be as long as batch.ids")
        held = [{name: held[name][i] for name in names} for i in range(len(ids))]
    payloads = data.get("payloads") or [None] * len(ids)
    if not isinstance(held, list) or len(held) != len(ids) or len(payloads) != len(ids):
        raise BadRequestError("batch: ids, vectors and payloads must be of one length")
    return [
        {"id": i, "vector": v, "payload": p} for i, v, p in zip(ids, held, payloads, strict=True)
    ]


def _point(number: int, row: Json, sizes: Sizes) -> Json:
    where = f"points[{number}]"
    known_keys(row, ("id", "vector", "payload"), where)
    held = vectors(row.get("vector"), f"{where}.vector")
    check_sizes(held, sizes, where)
    return edge.Point(point_id(row.get("id"), f"{where}.id"), held, payload(row.get("payload")))


def check_sizes(held: Json, sizes: Sizes, where: str) -> None:
    """Refuse a vector of another size than the collection's, in Qdrant's words.

    Raises:
        ApiError: 400.
    """
    named = held if isinstance(held, dict) else {"": held}
    for name, vector in named.items():
        size = sizes.get(name)
        if size is None:
            if isinstance(vector, list):
                raise ApiError(400, f"Wrong input: {where}: Not existing vector name error: {name}")
            continue
        rows = (
            vector
            if isinstance(vector, list) and vector[:1] and isinstance(vector[0], list)
            else [vector]
        )
        for one in rows:
            if not isinstance(one, list):
                fail(where, f"a dense vector for '{name}'", one)
            if len(one) != size:
                raise ApiError(
                    400,
                    f"Wrong input: Vector dimension error: expected dim: {size}, got {len(one)} "
                    f"({where})",
                )


def _selected(
    data: Json, by_ids: Callable[..., Any], by_filter: Callable[..., Any], *rest: Json
) -> Json:
    """An operation on the points that ``points`` or ``filter`` selects."""
    if data.get("points") is not None:
        return by_ids(point_ids(data["points"], "points"), *rest)
    if data.get("filter") is not None:
        return by_filter(filter_of(data["filter"]), *rest)
    raise BadRequestError("body: give points or filter")


def _selector(data: Json, *more: str) -> Json:
    return known_keys(data, ("points", "filter", "shard_key", *more), "body")


def delete(data: Json, _sizes: Sizes) -> Json:
    """Delete points by ids or by filter."""
    _selector(data)
    return _selected(data, _Update.delete_points, _Update.delete_points_by_filter)


def _payload_body(data: Json) -> tuple[dict[str, Any], Any]:
    _selector(data, "payload", "key")
    key = data.get("key")
    if key is not None:
        string(key, "key")
    body = payload(data.get("payload"), "payload", key)
    if body is None:
        raise BadRequestError("body: payload is missing")
    return body, key


def set_payload(data: Json, _sizes: Sizes) -> Json:
    """Set payload fields, others stay."""
    rest = _payload_body(data)
    return _selected(data, _Update.set_payload, _Update.set_payload_by_filter, *rest)


def overwrite_payload(data: Json, _sizes: Sizes) -> Json:
    """Replace the whole payload."""
    rest = _payload_body(data)
    return _selected(data, _Update.overwrite_payload, _Update.overwrite_payload_by_filter, *rest)


def delete_payload(data: Json, _sizes: Sizes) -> Json:
    """Delete payload fields."""
    keys = _selector(data, "keys").get("keys")
    if not isinstance(keys, list):
        fail("keys", "a list of fields", keys)
    return _selected(data, _Update.delete_payload, _Update.delete_payload_by_filter, keys)


def clear_payload(data: Json, _sizes: Sizes) -> Json:
    """Delete all payload of the selected points."""
    _selector(data)
    return _selected(data, _Update.clear_payload, _Update.clear_payload_by_filter)


def update_vectors(data: Json, sizes: Sizes) -> Json:
    """Replace vectors of existing points."""
    known_keys(data, ("points", "update_filter", "shard_key"), "body")
    out = []
    for number, row in enumerate(_rows(data.get("points"))):
        where = f"points[{number}]"
        known_keys(row, ("id", "vector"), where)
        held = vectors(row.get("vector"), f"{where}.vector")
        check_sizes(held, sizes, where)
        out.append(edge.PointVectors(point_id(row.get("id"), f"{where}.id"), held))
    return _Update.update_vectors(out, filter_of(data.get("update_filter"), "update_filter"))


def delete_vectors(data: Json, _sizes: Sizes) -> Json:
    """Delete named vectors of the selected points."""
    names = _selector(data, "vector").get("vector")
    if not isinstance(names, list) or not names:
        fail("vector", "a list of vector names", names)
    return _selected(data, _Update.delete_vectors, _Update.delete_vectors_by_filter, names)


WRITES: dict[str, Callable[[Any, Sizes], Any]] = {
    "upsert": upsert,
    "delete": delete,
    "set_payload": set_payload,
    "overwrite_payload": overwrite_payload,
    "delete_payload": delete_payload,
    "clear_payload": clear_payload,
    "update_vectors": update_vectors,
    "delete_vectors": delete_vectors,
}


def batch(data: Json) -> list[tuple[str, Any]]:
    """The single writes of a batch request, in order.

    Raises:
        BadRequestError: not a list of known operations.
    """
    operations = known_keys(data, ("operations",), "body").get("operations")
    if not isinstance(operations, list):
        fail("operations", "a list", operations)
    out = []
    for number, item in enumerate(operations):
        if not isinstance(item, dict) or len(item) != 1 or next(iter(item)) not in WRITES:
            fail(f"operations[{number}]", f"one of {', '.join(WRITES)}", item)
        out.append(next(iter(item.items())))
    return out
