"""Whether two vector DBs hold the same points: ids and payloads exactly, vectors nearly. Pure."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterable, Iterator
from typing import Any

Json = dict[str, Any]
# Cosine vectors are scaled to length 1 when they are stored, and once more where they arrive; that
# rounds in the last digits of 32 bits.
RELATIVE, ABSOLUTE = 1e-4, 1e-5


def order(point: object) -> tuple[int, int, str]:
    """Return where a point's id stands: numbers first, then UUIDs, as Qdrant scrolls."""
    return (0, point, "") if isinstance(point, int) else (1, 0, str(point))


def merged(
    ours: Iterable[Json], theirs: Iterable[Json]
) -> Iterator[tuple[Json | None, Json | None]]:
    """Yield the points of both sides in pairs by id; None where one side has none.

    Args:
        ours: Points by rising id.
        theirs: Points by rising id.
    """
    left, right = iter(ours), iter(theirs)
    one, other = next(left, None), next(right, None)
    while one is not None or other is not None:
        first = _first(one, other)
        yield (one if first <= 0 else None), (other if first >= 0 else None)
        if first <= 0:
            one = next(left, None)
        if first >= 0:
            other = next(right, None)


def _first(one: Json | None, other: Json | None) -> int:
    if one is None or other is None:
        return 1 if one is None else -1
    a, b = order(one["id"]), order(other["id"])
    return (a > b) - (a < b)


def content(point: Json) -> bytes:
    """Return a point's id and payload as the same bytes on both sides."""
    shown = [point["id"], point.get("payload") or {}]
    return json.dumps(shown, sort_keys=True, separators=(",", ":")).encode()


def same(one: Json, other: Json) -> bool:
    """Return whether two points are equal."""
    return content(one) == content(other) and _near(one.get("vector"), other.get("vector"))


def _near(one: object, other: object) -> bool:
    if one == other:  # most vectors arrive to the bit, and this is many times as fast
        return True
    if isinstance(one, dict) and isinstance(other, dict):
        if one.keys() == {"indices", "values"} == other.keys():
            return _sparse(one) == _sparse(other) or _near(_aligned(one), _aligned(other))
        return one.keys() == other.keys() and all(_near(one[name], other[name]) for name in one)
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(_near, one, other))
    if isinstance(one, int | float) and isinstance(other, int | float):
        return math.isclose(one, other, rel_tol=RELATIVE, abs_tol=ABSOLUTE)
    return (one or {}) == (other or {})


def _sparse(vector: Json) -> dict[int, float]:
    return dict(zip(vector["indices"], vector["values"], strict=False))


def _aligned(vector: Json) -> list[Any]:
    return [[index, value] for index, value in sorted(_sparse(vector).items())]


class Tally:
    """Counts and digests the points of one side, in the order in which they come."""

    def __init__(self) -> None:
        self._digest = hashlib.sha256()
        self.points = 0

    def add(self, point: Json) -> None:
        """Take one point."""
        self.points += 1
        self._digest.update(content(point) + b"\n")

    @property
    def sha256(self) -> str:
        """The digest of all ids and payloads so far, in hex."""
        return self._digest.hexdigest()
