"""The distance matrix: how near a sample of points are to one another."""

from __future__ import annotations

from typing import Any

import qdrant_edge as edge

from bastide_vectordb.errors import BadRequestError
from bastide_vectordb.json_types import EdgeValue, Json
from bastide_vectordb.wire_filter import filter_of
from bastide_vectordb.wire_values import count, known_keys, string

_MAX_SAMPLE = 10_000  # each sampled point is a search of its own
_DEFAULTS = {"sample": 10, "limit": 3}
Row = tuple[Any, list[EdgeValue]]  # a sampled point's id and its nearest others


def _order(point: EdgeValue) -> tuple[bool, Any]:
    return not isinstance(point.id, int), point.id  # numbers first, then UUIDs


def rows(shard: EdgeValue, data: Json) -> list[Row]:
    """Each sampled point with its nearest neighbours among the sample, ordered by id.

    Raises:
        BadRequestError: a field is unknown or wrong.
    """
    known_keys(data, ("filter", "sample", "limit", "using", "shard_key"), "body")
    given = {k: v for k, v in data.items() if v is not None}
    sample, limit = (count(given.get(k, _DEFAULTS[k]), k, least=1) for k in ("sample", "limit"))
    if sample > _MAX_SAMPLE:
        raise BadRequestError(f"sample: expected 1 to {_MAX_SAMPLE}, got {sample}")
    using = string(given.get("using", ""), "using")
    base = filter_of(given.get("filter"))
    own: list[EdgeValue] = [edge.HasVectorCondition(using)]
    wanted = edge.QueryRequest(
        limit=sample,
        query=edge.Sample.Random,
        filter=edge.Filter(must=[*own, base] if base is not None else own),
        with_vector=[using],
    )
    points = sorted(shard.query(wanted), key=_order)
    if len(points) < 2:
        return []
    searches = [_search(point, points, using, limit) for point in points]
    hits = shard.query_batch(edge.QueryBatchRequest(searches))
    return [(point.id, found) for point, found in zip(points, hits, strict=True)]


def _search(point: EdgeValue, points: list[EdgeValue], using: str, limit: int) -> EdgeValue:
    vector = point.vector
    others = {other.id for other in points if other.id != point.id}
    return edge.QueryRequest(
        limit=limit,
        query=edge.Query.Nearest(
            vector[using] if isinstance(vector, dict) else vector, using or None
        ),
        filter=edge.Filter(must=[edge.HasIdCondition(others)]),
    )


def pairs(found: list[Row]) -> dict[str, Any]:
    """Qdrant's answer as a list of pairs."""
    return {
        "pairs": [
            {"a": one, "b": hit.id, "score": hit.score} for one, hits in found for hit in hits
        ]
    }


def offsets(found: list[Row]) -> dict[str, Any]:
    """Qdrant's answer as a sparse matrix in coordinates."""
    ids = [one for one, _ in found]
    place = {one: number for number, one in enumerate(ids)}
    cells = [(row, hit) for row, (_, hits) in enumerate(found) for hit in hits]
    return {
        "offsets_row": [row for row, _ in cells],
        "offsets_col": [place[hit.id] for _, hit in cells],
        "scores": [hit.score for _, hit in cells],
        "ids": ids,
    }
