"""What a query takes from another collection: ``lookup_from`` and ``with_lookup``.

A collection's engine knows nothing of the others, so both are resolved in the HTTP process, which
asks the other engine; queries without them pass through unread.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from uuid import UUID

import orjson

from bastide_vectordb.errors import BadRequestError, NotFoundError
from bastide_vectordb.json_types import Json
from bastide_vectordb.registry import Registry
from bastide_vectordb.wire_values import fail, known_keys, loads, point_id, string

QUERIES = frozenset({"query", "query_batch", "query_groups"})
_MAX_DEPTH = 8
Setter = Callable[[Any], None]


def needed(action: str, body: bytes) -> bool:
    """Whether a request names another collection."""
    return action in QUERIES and (b'"lookup_from"' in body or b'"with_lookup"' in body)


# Where points' ids may stand in a query; a list at any step means each of its items.
_PLACES = (
    ("nearest",),
    ("recommend", "positive"),
    ("recommend", "negative"),
    ("discover", "target"),
    ("discover", "context", "positive"),
    ("discover", "context", "negative"),
    ("context", "positive"),
    ("context", "negative"),
    ("relevance_feedback", "target"),
    ("relevance_feedback", "feedback", "example"),
)


def _places(data: Json, path: tuple[str, ...]) -> list[tuple[Json, Setter]]:
    """The ids at a path of a query, each with how to put something else in its place."""
    if isinstance(data, list):
        return [found for item in data for found in _places(item, path)]
    if not isinstance(data, dict) or path[0] not in data:
        return []
    value = data[path[0]]
    if len(path) > 1:
        return _places(value, path[1:])
    if path[0] in ("positive", "negative") and isinstance(value, list):
        return [(item, _setter(value, number)) for number, item in enumerate(value)]
    return [(value, _setter(data, path[0]))]


def _setter(holder: Json, key: str | int) -> Setter:
    def put(new: Json) -> None:
        holder[key] = new

    return put


def _is_id(value: Json) -> bool:
    return isinstance(value, str) or type(value) is int


async def _vectors(
    registry: Registry, location: Json, ids: list[Any], using: Json
) -> dict[Any, Any]:
    known_keys(location, ("collection", "vector", "shard_key"), "lookup_from")
    name = string(location.get("collection"), "lookup_from.collection")
    vector = location.get("vector")
    vector = string(using or "" if vector is None else vector, "lookup_from.vector")
    known = [point_id(one) for one in ids]
    wanted = {"ids": known, "with_payload": False, "with_vector": True}
    records = orjson.loads(await registry.get(name).read("retrieve", orjson.dumps(wanted), None))
    out = {}
    for record in records:
        held = record.get("vector")
        if isinstance(held, dict):
            held = held.get(vector)
        elif vector:
            held = None
        if held is None:
            raise BadRequestError(f"point {record['id']} of `{name}` has no vector '{vector}'")
        out[record["id"]] = held
    for one in known:
        if one not in out:
            raise NotFoundError(f"No point with id {one} found")
    return {one: out[point_id(one)] for one in ids}


async def _resolve(registry: Registry, data: Json, depth: int = 0) -> None:
    """Put vectors in the place of another collection's point ids, in a query and its prefetches."""
    if not isinstance(data, dict) or depth > _MAX_DEPTH:
        return
    prefetch = data.get("prefetch")
    for inner in prefetch if isinstance(prefetch, list) else [prefetch]:
        await _resolve(registry, inner, depth + 1)
    location = data.pop("lookup_from", None)
    if location is None:
        return
    places = [found for path in _PLACES for found in _places(data.get("query"), path)]
    if _is_id(data.get("query")):
        places = [(data["query"], _setter(data, "query"))]
    places = [(value, put) for value, put in places if _is_id(value)]
    ids = list(dict.fromkeys(value for value, _ in places))
    found = await _vectors(registry, location, ids, data.get("using"))
    for value, put in places:
        put(found[value])


async def resolved(registry: Registry, action: str, body: bytes) -> tuple[bytes, Json]:
    """A query without references to other collections, and its ``with_lookup``.

    Raises:
        ApiError: 400 malformed, 404 no such collection or point.
    """
    data = loads(body)
    if action == "query_batch":
        searches = known_keys(data, ("searches",), "body").get("searches")
        if not isinstance(searches, list):
            fail("searches", "a list", searches)
        for search in searches:
            await _resolve(registry, search)
        return orjson.dumps(data), None
    await _resolve(registry, data)
    lookup = data.pop("with_lookup", None) if isinstance(data, dict) else None
    return orjson.dumps(data), lookup if action == "query_groups" else None


def _as_id(value: Json) -> Json:
    """A group's value as a point id; None if it cannot be one."""
    if type(value) is int:
        return value if 0 <= value < 1 << 64 else None
    try:
        return str(UUID(value))
    except (ValueError, AttributeError):
        return None


async def with_records(registry: Registry, result: bytes, lookup: Json) -> bytes:
    """Groups with, for each, the point of another collection that the group's value names.

    Raises:
        ApiError: 400 malformed, 404 no such collection.
    """
    if isinstance(lookup, str):
        lookup = {"collection": lookup}
    known_keys(lookup, ("collection", "with_payload", "with_vectors"), "with_lookup")
    collection = registry.get(string(lookup.get("collection"), "with_lookup.collection"))
    data = orjson.loads(result)
    ids = {group["id"]: _as_id(group["id"]) for group in data["groups"]}
    payload = lookup.get("with_payload")
    wanted = {
        "ids": [one for one in ids.values() if one is not None],
        "with_payload": True if payload is None else payload,
        "with_vector": lookup.get("with_vectors"),
    }
    records = orjson.loads(await collection.read("retrieve", orjson.dumps(wanted), None))
    known = {record["id"]: record for record in records}
    for group in data["groups"]:
        record = known.get(ids[group["id"]])
        if record is not None:
            group["lookup"] = record
    return orjson.dumps(data)
