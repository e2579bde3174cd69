"""How hits are scored: the ``query`` field of a query → Edge's query types."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import qdrant_edge as edge

from bastide_vectordb.errors import BadRequestError, UnsupportedError
from bastide_vectordb.json_types import Json
from bastide_vectordb.wire_values import count, fail, known_keys, number, string

_RRF_K = 2  # Qdrant's default constant of reciprocal rank fusion


class VectorSource(Protocol):
    """Turns a vector or a point id into a vector."""

    def vector(self, value: Json, using: str, where: str) -> Json:
        """The vector that ``value`` gives or names."""


def scoring_of(data: Json, using: str, source: VectorSource, limit: int) -> Json:
    """Edge's query of a JSON query; None (plain listing by id) stays None.

    Args:
        data: A vector, a point id, or an object that names the kind of query.
        using: The vector's name, empty for the unnamed one.
        source: Resolves ids to vectors.
        limit: Hits wanted; the default number of candidates for diversity.

    Raises:
        BadRequestError: not a query.
        UnsupportedError: a kind that Edge, or this service, does not have.
    """
    if data is None:
        return None
    if not isinstance(data, dict) or data.keys() == {"indices", "values"}:
        return edge.Query.Nearest(source.vector(data, using, "query"), using or None)
    if "nearest" in data:
        return _nearest(data, using, source, limit)
    if len(data) == 1:
        ((kind, value),) = data.items()
        if kind in _VECTOR_KINDS:
            return _VECTOR_KINDS[kind](value, using, source)
        if kind in _PLAIN_KINDS:
            return _PLAIN_KINDS[kind](value)
    if "formula" in data or "relevance_feedback" in data:
        raise UnsupportedError(f"query.{next(iter(data))}")
    if data.keys() & {"text", "image", "object", "model"}:
        raise UnsupportedError("query: embedding of text by the database")
    kinds = ", ".join(("nearest", *_VECTOR_KINDS, *_PLAIN_KINDS))
    return fail("query", f"a vector, a point id or one of {kinds}", sorted(data))


def _nearest(data: Json, using: str, source: VectorSource, limit: int) -> Json:
    known_keys(data, ("nearest", "mmr"), "query")
    vector = source.vector(data["nearest"], using, "query.nearest")
    mmr = data.get("mmr")
    if mmr is None:
        return edge.Query.Nearest(vector, using or None)
    known_keys(mmr, ("diversity", "candidates_limit"), "query.mmr")
    diversity = mmr.get("diversity")
    candidates = mmr.get("candidates_limit")
    return edge.Mmr(
        vector=vector,
        using=using or None,
        lambda_=1.0 - (0.5 if diversity is None else number(diversity, "query.mmr.diversity")),
        candidates_limit=limit if candidates is None else count(candidates, "candidates_limit"),
    )


def _average(vectors: list[Any]) -> list[float]:
    if any(not isinstance(v, list) or (v and isinstance(v[0], list)) for v in vectors):
        raise UnsupportedError("recommend by average_vector over other than dense vectors")
    if len({len(v) for v in vectors}) != 1:
        raise BadRequestError("query.recommend: the examples' vectors differ in size")
    return [sum(column) / len(vectors) for column in zip(*vectors, strict=True)]


def _recommend(data: Json, using: str, source: VectorSource) -> Json:
    known_keys(data, ("positive", "negative", "strategy"), "query.recommend")
    sides = {
        side: [source.vector(v, using, f"recommend.{side}") for v in data.get(side) or []]
        for side in ("positive", "negative")
    }
    positive, negative = sides["positive"], sides["negative"]
    strategy = data.get("strategy") or "average_vector"
    if strategy == "average_vector":
        if not positive:
            raise BadRequestError("query.recommend: average_vector needs a positive example")
        target = _average(positive)
        if negative:
            away = _average(negative)
            target = [2 * p - n for p, n in zip(target, away, strict=True)]
        return edge.Query.Nearest(target, using or None)
    if not positive and not negative:
        raise BadRequestError("query.recommend: give positive or negative examples")
    examples = edge.RecommendQuery(positives=positive, negatives=negative)
    if strategy == "best_score":
        return edge.Query.RecommendBestScore(examples, using or None)
    if strategy == "sum_scores":
        return edge.Query.RecommendSumScores(examples, using or None)
    return fail("query.recommend.strategy", "average_vector, best_score or sum_scores", strategy)


def _pairs(data: Json, using: str, source: VectorSource) -> list[Any]:
    out = []
    for item in data if isinstance(data, list) else [data]:
        known_keys(item, ("positive", "negative"), "context")
        out.append(
            edge.ContextPair(
                positive=source.vector(item.get("positive"), using, "context.positive"),
                negative=source.vector(item.get("negative"), using, "context.negative"),
            )
        )
    return out


def _discover(data: Json, using: str, source: VectorSource) -> Json:
    known_keys(data, ("target", "context"), "query.discover")
    target = source.vector(data.get("target"), using, "query.discover.target")
    pairs = _pairs(data.get("context") or [], using, source)
    return edge.Query.Discover(edge.DiscoverQuery(target=target, pairs=pairs), using or None)


def _context(data: Json, using: str, source: VectorSource) -> Json:
    pairs = _pairs(data, using, source)
    return edge.Query.Context(edge.ContextQuery(pairs=pairs), using or None)


def _fusion(data: Json) -> Json:
    if data == "rrf":
        return edge.Fusion.Rrf(k=_RRF_K)
    if data == "dbsf":
        return edge.Fusion.Dbsf()
    return fail("query.fusion", "rrf or dbsf", data)


def _rrf(data: Json) -> Json:
    known_keys(data, ("k", "weights"), "query.rrf")
    k = data.get("k")
    return edge.Fusion.Rrf(
        k=_RRF_K if k is None else count(k, "query.rrf.k"), weights=data.get("weights")
    )


def order_by(data: Json, where: str = "order_by") -> Json:
    """An ordering by a payload field; None stays None."""
    if data is None:
        return None
    if isinstance(data, str):
        return edge.OrderBy(key=data)
    known_keys(data, ("key", "direction", "start_from"), where)
    ways = {"asc": edge.Direction.Asc, "desc": edge.Direction.Desc, None: None}
    way = data.get("direction")
    if way not in ways:
        fail(f"{where}.direction", "asc or desc", way)
    key = string(data.get("key"), f"{where}.key")
    return edge.OrderBy(key=key, direction=ways[way], start_from=data.get("start_from"))


def _sample(data: Json) -> Json:
    if data != "random":
        fail("query.sample", "random", data)
    return edge.Sample.Random


_VECTOR_KINDS: dict[str, Callable[[Any, str, VectorSource], Any]] = {
    "recommend": _recommend,
    "discover": _discover,
    "context": _context,
}
_PLAIN_KINDS: dict[str, Callable[[Any], Any]] = {
    "order_by": order_by,
    "fusion": _fusion,
    "rrf": _rrf,
    "sample": _sample,
}
