"""Queries that start from examples: recommend, discover, context, relevance feedback. Pure."""

from __future__ import annotations

from collections import defaultdict
from typing import Any, Protocol

import qdrant_edge as edge

from bastide_vectordb.errors import BadRequestError
from bastide_vectordb.json_types import EdgeValue, Json
from bastide_vectordb.wire_values import fail, known_keys, number


class VectorSource(Protocol):
    """Turns a vector or a point id into a vector."""

    def vector(self, value: Json, using: str, where: str) -> Json:
        """The vector that ``value`` gives or names."""


def _list(data: Json, where: str) -> list[Any]:
    if data is None:
        return []
    return data if isinstance(data, list) else fail(where, "a list", data)


def _mean(vectors: list[list[float]]) -> list[float]:
    if len({len(v) for v in vectors}) != 1:
        raise BadRequestError("query.recommend: the examples' vectors differ in size")
    columns = zip(*vectors, strict=True)
    return [sum(number(x, "vector") for x in column) / len(vectors) for column in columns]


def _dense(positive: list[Any], negative: list[Any]) -> list[float]:
    target = _mean(positive)
    if not negative:
        return target
    away = _mean(negative)
    if len(away) != len(target):
        raise BadRequestError("query.recommend: the examples' vectors differ in size")
    return [2 * p - n for p, n in zip(target, away, strict=True)]


def _sparse(positive: list[Any], negative: list[Any]) -> EdgeValue:
    """Twice the mean of the positive examples less that of the negative ones, by index."""
    sums: defaultdict[int, float] = defaultdict(float)
    for sign, vectors in ((2.0 if negative else 1.0, positive), (-1.0, negative)):
        for vector in vectors:
            for index, value in zip(vector.indices, vector.values, strict=True):
                sums[index] += sign * value / len(vectors)
    return edge.SparseVector(indices=sorted(sums), values=[sums[i] for i in sorted(sums)])


def _multi(positive: list[Any], negative: list[Any]) -> list[Any]:
    """All rows of the positive examples, and those of the negative ones turned round."""
    away = [[-number(x, "vector") for x in row] for matrix in negative for row in matrix]
    return [row for matrix in positive for row in matrix] + away


def average(positive: list[Any], negative: list[Any]) -> EdgeValue:
    """One vector that stands for examples, as Qdrant's strategy ``average_vector`` makes it.

    Raises:
        BadRequestError: no positive example, or vectors of different kinds or sizes.
    """
    if not positive:
        raise BadRequestError("query.recommend: average_vector needs a positive example")
    kinds = {_kind(vector) for vector in (*positive, *negative)}
    if len(kinds) != 1:
        raise BadRequestError("query.recommend: the examples' vectors are of different kinds")
    return {"sparse": _sparse, "multi": _multi, "dense": _dense}[kinds.pop()](positive, negative)


def _kind(vector: Json) -> str:
    if isinstance(vector, edge.SparseVector):
        return "sparse"
    return "multi" if vector and isinstance(vector[0], list) else "dense"


def recommend(data: Json, using: str, source: VectorSource) -> EdgeValue:
    """Points like the positive examples and unlike the negative ones."""
    known_keys(data, ("positive", "negative", "strategy"), "query.recommend")
    sides = {
        side: [
            source.vector(v, using, f"recommend.{side}")
            for v in _list(data.get(side), f"recommend.{side}")
        ]
        for side in ("positive", "negative")
    }
    positive, negative = sides["positive"], sides["negative"]
    strategy = data.get("strategy") or "average_vector"
    if strategy == "average_vector":
        return edge.Query.Nearest(average(positive, negative), using or None)
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


def discover(data: Json, using: str, source: VectorSource) -> EdgeValue:
    """Points near a target, on the positive side of each pair."""
    known_keys(data, ("target", "context"), "query.discover")
    target = source.vector(data.get("target"), using, "query.discover.target")
    pairs = _pairs(data.get("context") or [], using, source)
    return edge.Query.Discover(edge.DiscoverQuery(target=target, pairs=pairs), using or None)


def context(data: Json, using: str, source: VectorSource) -> EdgeValue:
    """Points on the positive side of each pair."""
    pairs = _pairs(data, using, source)
    return edge.Query.Context(edge.ContextQuery(pairs=pairs), using or None)


def feedback(data: Json, using: str, source: VectorSource) -> EdgeValue:
    """Points near a target, moved by what a judge said of earlier hits."""
    known_keys(data, ("target", "feedback", "strategy"), "query.relevance_feedback")
    where = "query.relevance_feedback"
    known_keys(data.get("strategy"), ("naive",), f"{where}.strategy")
    naive = known_keys(data["strategy"].get("naive"), ("a", "b", "c"), f"{where}.strategy.naive")
    items = []
    for number_, item in enumerate(_list(data.get("feedback"), f"{where}.feedback")):
        here = f"{where}.feedback[{number_}]"
        known_keys(item, ("example", "score"), here)
        vector = source.vector(item.get("example"), using, f"{here}.example")
        items.append(edge.FeedbackItem(vector, number(item.get("score"), f"{here}.score")))
    return edge.Query.FeedbackNaive(
        edge.FeedbackNaiveQuery(
            source.vector(data.get("target"), using, f"{where}.target"),
            items,
            edge.NaiveFeedbackStrategy(*(number(naive.get(k), f"{where}.{k}") for k in "abc")),
        ),
        using or None,
    )
