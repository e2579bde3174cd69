"""The same searches on both sides: the last proof that a collection has arrived."""

from __future__ import annotations

from typing import Any

from bastide.errors import ApplyError
from bastide.vectors import shape
from bastide.vectors.codes import NOT_EQUAL
from bastide.vectors.compare import ABSOLUTE, RELATIVE, Json
from bastide.vectors.endpoint import Endpoint, path_of

SAMPLE = 8  # points that are searched by, for each vector
HITS = 10


def probe(source: Endpoint, target: Endpoint, name: str, info: Json) -> int:
    """Return how many searches gave the same scores on both sides.

    Scores are compared, not ids: points at equal distance may come in any order.

    Raises:
        ApplyError: One gave another result.
    """
    page = {"limit": SAMPLE, "with_vector": True, "with_payload": False}
    points = source.ask("POST", f"{path_of(name)}/points/scroll", page)["points"]
    limits = shape.strict_mode(info)
    exact = not (limits.get("enabled") and limits.get("search_allow_exact") is False)
    done = 0
    for vector in shape.searchable(info):
        for point in points:
            held = _vector(point.get("vector"), vector)
            if held is None:
                continue
            body: Json = {"query": held, "using": vector or None, "limit": _limit(limits)}
            if exact:
                body["params"] = {"exact": True}
            answers = [_scores(side, name, body) for side in (source, target)]
            if exact and not _near(*answers):
                raise ApplyError(
                    f"{name!r}: a search by vector {vector!r} of point {point['id']} gives "
                    f"{answers[1]} on {target.url}, expected {answers[0]}",
                    code=NOT_EQUAL,
                    hint="run the command again; if it stays so, the two engines rank differently",
                )
            done += 1
    return done


def _limit(limits: Json) -> int:
    most = limits.get("max_query_limit") if limits.get("enabled") else None
    return min(HITS, int(most)) if most else HITS


def _vector(held: Any, name: str) -> Any:  # noqa: ANN401 - JSON of any shape
    if isinstance(held, dict):
        return held.get(name)
    return held if name == "" else None


def _scores(side: Endpoint, name: str, body: Json) -> list[float]:
    answer = side.ask("POST", f"{path_of(name)}/points/query", body)
    return [float(point["score"]) for point in answer["points"]]


def _near(ours: list[float], theirs: list[float]) -> bool:
    if len(ours) != len(theirs):
        return False
    return all(
        abs(one - other) <= max(ABSOLUTE * 10, RELATIVE * max(abs(one), abs(other)))
        for one, other in zip(ours, theirs, strict=True)
    )
