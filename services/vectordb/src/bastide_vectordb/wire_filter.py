"""Qdrant's filter JSON → Edge filters. Pure."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, cast

import qdrant_edge as edge

from bastide_vectordb.errors import BadRequestError
from bastide_vectordb.json_types import EdgeValue, Json
from bastide_vectordb.wire_values import (
    boolean,
    count,
    fail,
    known_keys,
    number,
    point_ids,
    string,
)

_CLAUSES = ("must", "should", "must_not", "min_should")
_BOUNDS = ("gt", "gte", "lt", "lte")
# A filter of a write goes to Edge's log, which cannot be read again with 31 nested objects.
_MAX_DEPTH = 24
_Reader = Callable[[Json, str], EdgeValue]  # a value and where it stands → Edge's object


def filter_of(data: Json, where: str = "filter", depth: int = 0) -> Json:
    """The Edge filter of a JSON filter; None stays None.

    Raises:
        BadRequestError: an unknown key, a wrong value, or nesting beyond 24 levels.
    """
    if data is None:
        return None
    if depth > _MAX_DEPTH:
        raise BadRequestError(f"{where}: filters may nest at most {_MAX_DEPTH} levels deep")
    known_keys(data, _CLAUSES, where)
    lists: dict[str, EdgeValue] = {
        name: _conditions(data[name], f"{where}.{name}", depth)
        for name in _CLAUSES[:3]
        if data.get(name) is not None
    }
    minimum = data.get("min_should")
    if minimum is not None:
        known_keys(minimum, ("conditions", "min_count"), f"{where}.min_should")
        lists["min_should"] = edge.MinShould(
            conditions=_conditions(minimum.get("conditions"), f"{where}.min_should", depth),
            min_count=count(minimum.get("min_count"), f"{where}.min_should.min_count"),
        )
    return edge.Filter(**lists)


def _conditions(data: Json, where: str, depth: int) -> list[Any]:
    items = data if isinstance(data, list) else [data]
    return [condition_of(item, f"{where}[{n}]", depth) for n, item in enumerate(items)]


def condition_of(data: Json, where: str, depth: int) -> Json:
    """The Edge condition of one JSON condition; a filter is one, too."""
    if not isinstance(data, dict):
        fail(where, "a condition", data)
    if "key" in data:
        return _field(data, where)
    if len(data) == 1:
        ((kind, value),) = data.items()
        reader = _SIMPLE.get(kind)
        if reader is not None:
            return reader(value, f"{where}.{kind}")
        if kind == "nested":
            known_keys(value, ("key", "filter"), f"{where}.nested")
            inner = filter_of(value.get("filter"), f"{where}.nested.filter", depth + 1)
            return edge.NestedCondition(string(value.get("key"), f"{where}.nested.key"), inner)
    return filter_of(data, where, depth + 1)


def _key(data: Json, where: str) -> str:
    return string(known_keys(data, ("key",), where).get("key"), f"{where}.key")


def _slice(data: Json, where: str) -> EdgeValue:
    known_keys(data, ("total", "index"), where)
    total = count(data.get("total"), f"{where}.total", least=1)
    index = count(data.get("index"), f"{where}.index")
    if index >= total:
        fail(f"{where}.index", f"less than total, {total}", index)
    return edge.SliceCondition(total, index)  # type: ignore[attr-defined]  # not in its stubs


_SIMPLE: dict[str, _Reader] = {
    "is_empty": lambda value, where: edge.IsEmptyCondition(_key(value, where)),
    "is_null": lambda value, where: edge.IsNullCondition(_key(value, where)),
    "has_id": lambda value, where: edge.HasIdCondition(set(point_ids(value, where))),
    "has_vector": lambda value, where: edge.HasVectorCondition(string(value, where)),
    "slice": _slice,
}


def _field(data: dict[str, Any], where: str) -> Json:
    known_keys(data, ("key", *_FIELD), where)
    tests = {
        name: read(data[name], f"{where}.{name}")
        for name, read in _FIELD.items()
        if data.get(name) is not None
    }
    if not tests:
        raise BadRequestError(f"{where}: a condition needs one of {', '.join(_FIELD)}")
    return edge.FieldCondition(string(data["key"], f"{where}.key"), **tests)


def _match(data: Json, where: str) -> Json:
    if not isinstance(data, dict) or len(data) != 1:
        fail(where, f"one of {', '.join(_MATCH)}", data)
    ((kind, value),) = data.items()
    if kind not in _MATCH:
        fail(where, f"one of {', '.join(_MATCH)}", kind)
    return _MATCH[kind](value, f"{where}.{kind}")


class _Bool:
    """A truth value that Edge takes for one.

    Edge tries integers before truth values, and Python's ``True`` is an integer: it would be
    compared with 1. Numpy's type is none, and this is all of it that Edge looks at.
    """

    __slots__ = ("_value",)

    def __init__(self, value: bool) -> None:  # noqa: FBT001 - the value itself
        self._value = value

    def __bool__(self) -> bool:
        return self._value


_Bool.__module__, _Bool.__name__, _Bool.__qualname__ = "numpy", "bool_", "bool_"


def _match_value(value: Json, where: str) -> EdgeValue:
    if isinstance(value, bool):
        return edge.MatchValue(cast("bool", _Bool(value)))
    if not isinstance(value, (str, int)) or (
        type(value) is int and not -(1 << 63) <= value < 1 << 63
    ):
        fail(where, "a string, a 64-bit integer or true/false", value)
    return edge.MatchValue(value)


def _variants(value: Json, where: str) -> list[Any]:
    strings = isinstance(value, list) and all(isinstance(item, str) for item in value)
    if not strings and not (isinstance(value, list) and all(type(item) is int for item in value)):
        fail(where, "a list of strings or a list of integers", value)
    return list(value)


_MATCH: dict[str, _Reader] = {
    "value": _match_value,
    "text": lambda value, where: edge.MatchText(string(value, where)),
    "text_any": lambda value, where: edge.MatchTextAny(string(value, where)),
    "phrase": lambda value, where: edge.MatchPhrase(string(value, where)),
    "prefix": lambda value, where: edge.MatchPrefix(string(value, where)),
    "substring": lambda value, where: edge.MatchSubstring(string(value, where)),
    "any": lambda value, where: edge.MatchAny(_variants(value, where)),
    "except": lambda value, where: edge.MatchExcept(_variants(value, where)),
}


def _tightest(bounds: dict[str, Json], order: Callable[[Json], Json]) -> dict[str, Json]:
    """At most one bound a side: of two, an index of Edge's would look at one only."""
    out = dict(bounds)
    for strict, loose, sign in (("gt", "gte", 1), ("lt", "lte", -1)):
        if strict in out and loose in out:
            one, other = order(out[strict]), order(out[loose])
            stricter = one >= other if sign > 0 else one <= other
            del out[loose if stricter else strict]
    return out


def _instant(text: str) -> datetime:
    """A date-time for comparison; without a zone it is UTC, as Qdrant reads it."""
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as error:
        raise BadRequestError(
            f"range: expected an RFC 3339 date-time, got {text[:40]!r}"
        ) from error
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def _range(data: Json, where: str) -> EdgeValue:
    known_keys(data, _BOUNDS, where)
    bounds = {name: value for name, value in data.items() if value is not None}
    if any(isinstance(value, str) for value in bounds.values()):
        texts = {name: string(value, f"{where}.{name}") for name, value in bounds.items()}
        return edge.RangeDateTime(**_tightest(texts, _instant))
    numbers = {name: number(value, f"{where}.{name}") for name, value in bounds.items()}
    return edge.RangeFloat(**_tightest(numbers, lambda value: value))


def _values_count(data: Json, where: str) -> Json:
    known_keys(data, _BOUNDS, where)
    return edge.ValuesCount(
        **{k: count(v, f"{where}.{k}") for k, v in data.items() if v is not None}
    )


def geo_point(data: Json, where: str) -> Json:
    """A point on the globe, in degrees."""
    known_keys(data, ("lon", "lat"), where)
    return edge.GeoPoint(
        lon=number(data.get("lon"), f"{where}.lon"), lat=number(data.get("lat"), f"{where}.lat")
    )


def _geo_box(data: Json, where: str) -> Json:
    known_keys(data, ("top_left", "bottom_right"), where)
    return edge.GeoBoundingBox(
        top_left=geo_point(data.get("top_left"), f"{where}.top_left"),
        bottom_right=geo_point(data.get("bottom_right"), f"{where}.bottom_right"),
    )


def _geo_radius(data: Json, where: str) -> Json:
    known_keys(data, ("center", "radius"), where)
    center = geo_point(data.get("center"), f"{where}.center")
    return edge.GeoRadius(center=center, radius=number(data.get("radius"), f"{where}.radius"))


def _ring(data: Json, where: str) -> list[Any]:
    points = known_keys(data, ("points",), where).get("points")
    if not isinstance(points, list):
        fail(f"{where}.points", "a list of points", points)
    return [geo_point(item, f"{where}.points[{n}]") for n, item in enumerate(points)]


def _geo_polygon(data: Json, where: str) -> Json:
    known_keys(data, ("exterior", "interiors"), where)
    holes = data.get("interiors") or []
    return edge.GeoPolygon(
        exterior=_ring(data.get("exterior"), f"{where}.exterior"),
        interiors=[_ring(item, f"{where}.interiors[{n}]") for n, item in enumerate(holes)],
    )


_FIELD: dict[str, _Reader] = {
    "match": _match,
    "range": _range,
    "geo_bounding_box": _geo_box,
    "geo_radius": _geo_radius,
    "geo_polygon": _geo_polygon,
    "values_count": _values_count,
    "is_empty": boolean,
    "is_null": boolean,
}
