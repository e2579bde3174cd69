"""Read requests (query, search, scroll, count, facet) → Edge requests.

Pure but for one thing: a query may name points instead of vectors, and those are looked up
through the ``Lookup`` that the caller passes in.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

import qdrant_edge as edge

from bastide_vectordb.errors import BadRequestError
from bastide_vectordb.json_types import EdgeValue, Json
from bastide_vectordb.wire_filter import filter_of
from bastide_vectordb.wire_scoring import order_by, scoring_of
from bastide_vectordb.wire_values import (
    boolean,
    count,
    known_keys,
    number,
    point_id,
    string,
    with_payload,
    with_vector,
)
from bastide_vectordb.wire_vectors import one_vector

_DEFAULT_LIMIT = 10
_DEFAULT_GROUP_SIZE = 3
_MAX_PREFETCH_DEPTH = 8
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
_QUERY = (*_COMMON, "query", "prefetch", "using")
_PREFETCH = ("query", "prefetch", "using", "filter", "params", "score_threshold", "limit")
_GROUP = ("group_by", "group_size")


@dataclass
class Sources:
    """Where query vectors come from, and which stored points a query mentioned.

    Args:
        lookup: The stored vector of a point by id and vector name.
        mentioned: Ids named in the query; Qdrant leaves them out of the answer.
    """

    lookup: Callable[[int | str, str], Any]
    mentioned: set[int | str] = field(default_factory=set)

    def vector(self, value: Json, using: str, where: str) -> Json:
        """The vector that ``value`` gives or names.

        Raises:
            BadRequestError: neither a vector nor an id.
            NotFoundError: no such point.
        """
        if isinstance(value, (list, dict)):
            return one_vector(value, where, query=True)
        found = point_id(value, where)
        self.mentioned.add(found)
        return self.lookup(found, using)


def search_params(data: Json) -> Json:
    """Search parameters; None stays None."""
    if data is None:
        return None
    allowed = ("hnsw_ef", "exact", "indexed_only", "quantization", "acorn", "idf")
    known_keys(data, allowed, "params")
    given = {k: v for k, v in data.items() if v is not None}
    if "hnsw_ef" in given:
        count(given["hnsw_ef"], "params.hnsw_ef")
    for name in ("exact", "indexed_only"):
        boolean(given.get(name, False), f"params.{name}")
    if "quantization" in given:
        known_keys(given["quantization"], ("ignore", "rescore", "oversampling"), "quantization")
        given["quantization"] = edge.QuantizationSearchParams(**given["quantization"])
    if "acorn" in given:
        known_keys(given["acorn"], ("enable", "max_selectivity"), "acorn")
        given["acorn"] = edge.AcornSearchParams(**given["acorn"])
    if "idf" in given:
        given["idf"] = _idf(given["idf"])
    return edge.SearchParams(**given)


def _idf(data: Json) -> EdgeValue:
    """Which points count for how rare a word is: all, or those of a filter."""
    if data == "global":
        return None
    known_keys(data, ("corpus",), "params.idf")
    return edge.IdfParams(filter_of(data.get("corpus"), "params.idf.corpus"))


def _threshold(data: dict[str, Any]) -> float | None:
    value = data.get("score_threshold")
    return None if value is None else number(value, "score_threshold")


def _limit(data: dict[str, Any], name: str = "limit", default: int = _DEFAULT_LIMIT) -> int:
    value = data.get(name)
    return default if value is None else count(value, name, least=1)


def _offset(data: dict[str, Any]) -> int:
    value = data.get("offset")
    return 0 if value is None else count(value, "offset")


def _prefetches(data: Json, sources: Sources, depth: int = 0) -> list[Any] | None:
    if data is None:
        return None
    if depth > _MAX_PREFETCH_DEPTH:
        raise BadRequestError(f"prefetch: may nest at most {_MAX_PREFETCH_DEPTH} levels deep")
    out = []
    for item in data if isinstance(data, list) else [data]:
        known_keys(item, _PREFETCH, "prefetch")
        inner = Sources(sources.lookup)
        using = _using(item)
        scoring = scoring_of(item.get("query"), using, inner, _limit(item))
        out.append(
            edge.Prefetch(
                limit=_limit(item),
                query=scoring,
                prefetches=_prefetches(item.get("prefetch"), sources, depth + 1),
                params=search_params(item.get("params")),
                filter=_without(filter_of(item.get("filter")), inner.mentioned),
                score_threshold=_threshold(item),
            )
        )
    return out


def _using(data: dict[str, Any]) -> str:
    value = data.get("using")
    return "" if value is None else string(value, "using")


def _without(base: Json, mentioned: Iterable[int | str]) -> Json:
    """The filter without the points that the query itself mentions."""
    ids: set[EdgeValue] = set(mentioned)
    if not ids:
        return base
    hidden: list[EdgeValue] = [edge.HasIdCondition(ids)]
    if base is None:
        return edge.Filter(must_not=hidden)
    return edge.Filter(must=[base], must_not=hidden)


def query(data: Json, sources: Sources, more: tuple[str, ...] = ()) -> Json:
    """A ``/points/query`` body as Edge's request.

    Raises:
        BadRequestError: a wrong or unknown field.
    """
    known_keys(data, (*_QUERY, *more), "body")
    limit = _limit(data)
    scoring = scoring_of(data.get("query"), _using(data), sources, limit)
    return edge.QueryRequest(
        limit=limit,
        offset=_offset(data),
        query=scoring,
        prefetches=_prefetches(data.get("prefetch"), sources),
        with_vector=with_vector(data.get("with_vector")),
        with_payload=with_payload(data.get("with_payload"), default=False),
        filter=_without(filter_of(data.get("filter")), sources.mentioned),
        score_threshold=_threshold(data),
        params=search_params(data.get("params")),
    )


@dataclass(frozen=True)
class Grouping:
    """How hits are grouped.

    Args:
        key: Payload field whose values name the groups.
        groups: Most groups to return.
        size: Most hits in a group.
    """

    key: str
    groups: int
    size: int


def grouping(data: Json) -> tuple[Grouping, dict[str, Any]]:
    """The grouping of a ``/points/query/groups`` body, and the query without it."""
    known_keys(data, (*_QUERY, *_GROUP), "body")
    if data.get("offset") is not None:
        raise BadRequestError("offset: groups have none")
    wanted = Grouping(
        key=string(data.get("group_by"), "group_by"),
        groups=_limit(data),
        size=_limit(data, "group_size", _DEFAULT_GROUP_SIZE),
    )
    return wanted, {k: v for k, v in data.items() if k not in _GROUP}


def scroll(data: Json) -> Json:
    """A ``/points/scroll`` body as Edge's request."""
    allowed = ("offset", "limit", "filter", "with_payload", "with_vector", "order_by", "shard_key")
    known_keys(data, allowed, "body")
    offset = data.get("offset")
    if offset is not None and data.get("order_by") is not None:
        raise BadRequestError("offset: cannot be used with order_by; use order_by.start_from")
    return edge.ScrollRequest(
        offset=None if offset is None else point_id(offset, "offset"),
        limit=_limit(data),
        filter=filter_of(data.get("filter")),
        with_payload=with_payload(data.get("with_payload"), default=True),
        with_vector=with_vector(data.get("with_vector")),
        order_by=order_by(data.get("order_by")),
    )


def counting(data: Json) -> Json:
    """A ``/points/count`` body as Edge's request."""
    known_keys(data, ("filter", "exact", "shard_key"), "body")
    exact = data.get("exact")
    return edge.CountRequest(
        exact=True if exact is None else boolean(exact, "exact"),
        filter=filter_of(data.get("filter")),
    )


def facet(data: Json) -> Json:
    """A ``/facet`` body as Edge's request."""
    known_keys(data, ("key", "limit", "filter", "exact", "shard_key"), "body")
    exact = data.get("exact")
    return edge.FacetRequest(
        key=string(data.get("key"), "key"),
        limit=_limit(data),
        exact=False if exact is None else boolean(exact, "exact"),
        filter=filter_of(data.get("filter")),
    )
