"""Bodies of Qdrant's older search endpoints, in the form of ``/points/query``. Pure.

Qdrant 1.19 took them out of its API's description and still serves some; clients of that age and
libraries built on them go on to use them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import orjson

from bastide_vectordb.json_types import Json
from bastide_vectordb.wire_values import fail, known_keys, loads

_COMMON = (
    "filter",
    "params",
    "score_threshold",
    "limit",
    "offset",
    "with_payload",
    "with_vector",
    "shard_key",
)
_GROUP = ("group_by", "group_size", "with_lookup")
_Converter = Callable[[Json, tuple[str, ...]], dict[str, Any]]


def _rest(data: dict[str, Any], more: tuple[str, ...]) -> dict[str, Any]:
    return {name: data[name] for name in (*_COMMON, *more) if name in data}


def search(data: Json, more: tuple[str, ...] = ()) -> dict[str, Any]:
    """``/points/search``."""
    known_keys(data, (*_COMMON, *more, "vector"), "body")
    out = _rest(data, more)
    vector = data.get("vector")
    if isinstance(vector, dict) and "vector" in vector:
        known_keys(vector, ("name", "vector"), "vector")
        out["using"] = vector.get("name")
        vector = vector["vector"]
    if not isinstance(vector, (list, dict)):
        fail("vector", "a vector", vector)
    return {**out, "query": vector}


def _using(data: dict[str, Any], out: dict[str, Any]) -> dict[str, Any]:
    out["using"] = data.get("using")
    if data.get("lookup_from") is not None:
        out["lookup_from"] = data["lookup_from"]
    return out


def recommend(data: Json, more: tuple[str, ...] = ()) -> dict[str, Any]:
    """``/points/recommend``."""
    own = ("positive", "negative", "strategy")
    known_keys(data, (*_COMMON, *more, *own, "using", "lookup_from"), "body")
    query = {name: data[name] for name in own if data.get(name) is not None}
    return {**_using(data, _rest(data, more)), "query": {"recommend": query}}


def discover(data: Json, more: tuple[str, ...] = ()) -> dict[str, Any]:
    """``/points/discover``: with a target, or by context alone."""
    known_keys(data, (*_COMMON, *more, "target", "context", "using", "lookup_from"), "body")
    pairs = data.get("context") or []
    if data.get("target") is None:
        query = {"context": pairs}
    else:
        query = {"discover": {"target": data["target"], "context": pairs}}
    return {**_using(data, _rest(data, more)), "query": query}


CONVERTERS: dict[str, _Converter] = {"search": search, "recommend": recommend, "discover": discover}


def converted(form: str, body: bytes) -> bytes:
    """The body of a query endpoint that does what an older one asks.

    Args:
        form: ``search``, ``recommend`` or ``discover``, and ``one``, ``batch`` or ``groups``.
        body: The older endpoint's body.

    Raises:
        BadRequestError: a field is unknown or wrong.
    """
    name, _, shape = form.partition(" ")
    convert = CONVERTERS[name]
    data = loads(body)
    if shape == "groups":
        return orjson.dumps(convert(data, _GROUP))
    if shape == "one":
        return orjson.dumps(convert(data, ()))
    searches = known_keys(data, ("searches",), "body").get("searches")
    if not isinstance(searches, list):
        fail("searches", "a list", searches)
    return orjson.dumps({"searches": [convert(item, ()) for item in searches]})


def answered(form: str, result: bytes) -> bytes:
    """A query's result in the form that the older endpoint gave it: hits without ``points``."""
    data = orjson.loads(result)
    if form.endswith(" one"):
        data = data["points"]
    elif form.endswith(" batch"):
        data = [one["points"] for one in data]
    return orjson.dumps(data)
