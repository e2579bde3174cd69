"""Hits grouped by a payload field; Edge's Python interface has no grouping of its own. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from bastide_vectordb.json_types import Json
from bastide_vectordb.wire_query import Grouping

_MAX_FETCH = 1 << 16  # hits looked at before the groups found so far are returned


def _values(payload: Json, path: list[str]) -> Iterator[str | int]:
    """Group ids in a payload at a field path; only strings and integers name groups."""
    if isinstance(payload, list):
        for item in payload:
            yield from _values(item, path)
    elif path:
        if isinstance(payload, dict):
            head = path[0].removesuffix("[]")
            if head in payload:
                yield from _values(payload[head], path[1:])
    elif isinstance(payload, str) or type(payload) is int:
        yield payload


def collect(hits: list[Any], grouping: Grouping) -> dict[str | int, list[Any]]:
    """The first groups of a ranked list of hits, best group first."""
    groups: dict[str | int, list[Any]] = {}
    path = grouping.key.split(".")
    for hit in hits:
        for value in dict.fromkeys(_values(hit.payload, path)):
            members = groups.get(value)
            if members is None:
                if len(groups) == grouping.groups:
                    continue
                members = groups[value] = []
            if len(members) < grouping.size:
                members.append(hit)
    return groups


def search(fetch: Callable[[int], list[Any]], grouping: Grouping) -> dict[str | int, list[Any]]:
    """Groups from as few hits as needed: ask for more until all are full or none are left.

    Args:
        fetch: Returns the best n hits, with their whole payload.
        grouping: Field, number of groups and their size.
    """
    limit = max(4 * grouping.groups * grouping.size, 64)
    while True:
        hits = fetch(limit)
        groups = collect(hits, grouping)
        full = len(groups) == grouping.groups and all(
            len(members) == grouping.size for members in groups.values()
        )
        if full or len(hits) < limit or limit >= _MAX_FETCH:
            return groups
        limit = min(limit * 4, _MAX_FETCH)
