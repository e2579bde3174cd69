"""Strict mode: limits that keep one client from taking the whole database. Pure but for a clock.

Edge has none; Qdrant's server checks the same things at the same place, before a request reaches
a shard. Only what can be told from the request and the collection's indexes is here.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from bastide_vectordb.errors import ApiError, BadRequestError, RateLimitError, UnsupportedError
from bastide_vectordb.json_types import Json
from bastide_vectordb.wire_values import boolean, count, fail, known_keys, number

_BOOLEANS = (
    "enabled",
    "unindexed_filtering_retrieve",
    "unindexed_filtering_update",
    "search_allow_exact",
)
_COUNTS = (
    "max_query_limit",
    "search_max_hnsw_ef",
    "upsert_max_batchsize",
    "search_max_batchsize",
    "read_rate_limit",
    "write_rate_limit",
    "max_points_count",
    "filter_max_conditions",
    "condition_max_size",
    "max_payload_index_count",
)
_BY_VECTOR = {"multivector_config": "max_vectors", "sparse_config": "max_length"}
_REFUSED = (
    "max_timeout",
    "max_collection_vector_size_bytes",
    "max_collection_payload_size_bytes",
    "max_resident_memory_percent",
)
SETTINGS = (*_BOOLEANS, *_COUNTS, "search_max_oversampling", *_BY_VECTOR)
_READS = frozenset(
    {
        "query",
        "query_batch",
        "query_groups",
        "scroll",
        "count",
        "facet",
        "retrieve",
        "get_point",
        "matrix_pairs",
        "matrix_offsets",
    }
)
_UPKEEP = frozenset({"info", "flush", "optimize", "vector_create", "vector_delete"})
_MINUTE = 60.0


def checked(data: Json, where: str = "strict_mode_config") -> dict[str, Any]:
    """The strict mode's settings that are given.

    Raises:
        BadRequestError: an unknown setting or a wrong value.
        UnsupportedError: a limit that Edge cannot tell.
    """
    if data is None:
        return {}
    known_keys(data, (*SETTINGS, *_REFUSED), where)
    given = {name: value for name, value in data.items() if value is not None}
    for name, value in given.items():
        here = f"{where}.{name}"
        if name in _REFUSED:
            raise UnsupportedError(here)
        if name in _BOOLEANS:
            boolean(value, here)
        elif name in _COUNTS:
            count(value, here, least=1)
        elif name in _BY_VECTOR:
            _by_vector(value, _BY_VECTOR[name], here)
        elif number(value, here) < 1:
            fail(here, "at least 1", value)
    return given


def _by_vector(data: Json, key: str, where: str) -> None:
    if not isinstance(data, dict):
        fail(where, "an object of vector names", data)
    for name, limit in data.items():
        known_keys(limit, (key,), f"{where}.{name}")
        if limit.get(key) is not None:
            count(limit[key], f"{where}.{name}.{key}", least=1)


class Bucket:
    """Lets so many requests a minute through, and as many at once.

    Args:
        per_minute: Requests a minute; None: any number.
        clock: Monotonic time, seconds.
    """

    def __init__(self, per_minute: int | None, clock: Callable[[], float]) -> None:
        self._rate = per_minute
        self._clock = clock
        self._left = float(per_minute or 0)
        self._then = clock()

    def take(self, what: str) -> None:
        """Take one.

        Raises:
            RateLimitError: none is left; says when there will be one.
        """
        if self._rate is None:
            return
        now = self._clock()
        self._left = min(self._rate, self._left + (now - self._then) * self._rate / _MINUTE)
        self._then = now
        if self._left < 1:
            raise RateLimitError(what, math.ceil((1 - self._left) * _MINUTE / self._rate))
        self._left -= 1


class Strict:
    """The limits of one collection.

    Args:
        settings: The collection's settings.
        clock: Monotonic time, seconds.
    """

    def __init__(self, settings: Mapping[str, Any], clock: Callable[[], float]) -> None:
        given = checked(settings.get("strict_mode_config"))
        self._limits = given if given.get("enabled") else {}
        self._reads = Bucket(self._limits.get("read_rate_limit"), clock)
        self._writes = Bucket(self._limits.get("write_rate_limit"), clock)

    @property
    def enabled(self) -> bool:
        """Whether anything is checked at all."""
        return bool(self._limits)

    def check(self, operation: str, data: Json, facts: Callable[[], tuple[set[str], int]]) -> None:
        """Let a request pass, or refuse it.

        Args:
            operation: Engine operation.
            data: The request's body.
            facts: The indexed fields and the number of points, asked only where needed.

        Raises:
            ApiError: 400 beyond a limit, 429 too many requests.
        """
        if operation in _UPKEEP:
            return
        (self._reads if operation in _READS else self._writes).take(
            "Read" if operation in _READS else "Write"
        )
        if operation == "batch":
            operations = data.get("operations") if isinstance(data, dict) else None
            for item in operations if isinstance(operations, list) else ():
                for name, inner in item.items() if isinstance(item, dict) else ():
                    self._body(name, inner, facts)
            return
        self._body(operation, data, facts)

    def _body(self, operation: str, data: Json, facts: Callable[[], tuple[set[str], int]]) -> None:
        if not isinstance(data, dict):
            return
        if operation == "query_batch":
            searches = data.get("searches")
            searches = searches if isinstance(searches, list) else []
            self._most("search_max_batchsize", len(searches))
            for search in searches:
                self._body("query", search, facts)
        elif operation in ("upsert", "update_vectors"):
            self._upsert(data, facts)
        elif operation == "index_create":
            self._most("max_payload_index_count", len(facts()[0]) + 1)
        elif operation in _READS:
            self._read(operation, data)
        for name in ("filter", "update_filter"):
            updating = operation not in _READS and operation != "query"
            self._filter(data.get(name), facts, updating=updating)

    def _most(self, name: str, value: Json) -> None:
        limit = self._limits.get(name)
        if limit is not None and isinstance(value, (int, float)) and value > limit:
            raise _exceeded(name, value, limit)

    def _read(self, operation: str, data: dict[str, Any]) -> None:
        if operation in ("count", "retrieve"):
            return
        limit = data.get("limit")
        size = data.get("group_size") if operation == "query_groups" else 1
        wanted = (10 if limit is None else limit, 3 if size is None else size)
        if all(type(one) is int for one in wanted):
            self._most("max_query_limit", wanted[0] * wanted[1])
        self._params(data.get("params"))
        prefetch = data.get("prefetch")
        for inner in prefetch if isinstance(prefetch, list) else [prefetch]:
            if isinstance(inner, dict):
                self._read("query", inner)

    def _params(self, params: Json) -> None:
        if not isinstance(params, dict):
            return
        self._most("search_max_hnsw_ef", params.get("hnsw_ef"))
        quantization = params.get("quantization")
        if isinstance(quantization, dict):
            self._most("search_max_oversampling", quantization.get("oversampling"))
        if params.get("exact") is True and self._limits.get("search_allow_exact") is False:
            raise BadRequestError("strict mode: params.exact is not allowed for this collection")

    def _upsert(self, data: dict[str, Any], facts: Callable[[], tuple[set[str], int]]) -> None:
        rows = data.get("points")
        batch = data.get("batch")
        ids = batch.get("ids") if isinstance(batch, dict) else None
        listed = rows if isinstance(rows, list) else ids
        amount = len(listed) if isinstance(listed, list) else 0
        self._most("upsert_max_batchsize", amount)
        if "max_points_count" in self._limits:
            self._most("max_points_count", facts()[1] + amount)
        for row in rows if isinstance(rows, list) else ():
            if isinstance(row, dict):
                self._vectors(row.get("vector"))

    def _vectors(self, vector: Json) -> None:
        named = vector if isinstance(vector, dict) else {"": vector}
        for setting, key in _BY_VECTOR.items():
            for name, limit in (self._limits.get(setting) or {}).items():
                value = named.get(name)
                if setting == "sparse_config":
                    value = value.get("indices") if isinstance(value, dict) else None
                elif not (isinstance(value, list) and value and isinstance(value[0], list)):
                    value = None
                if isinstance(value, list) and limit.get(key) and len(value) > limit[key]:
                    raise _exceeded(f"{setting}.{name}.{key}", len(value), limit[key])

    def _filter(
        self, data: Json, facts: Callable[[], tuple[set[str], int]], *, updating: bool
    ) -> None:
        if data is None:
            return
        leaves = list(_leaves(data))
        self._most("filter_max_conditions", len(leaves))
        for _, leaf in leaves:
            self._most("condition_max_size", _size(leaf))
        which = "unindexed_filtering_update" if updating else "unindexed_filtering_retrieve"
        if self._limits.get(which) is False:
            indexed = facts()[0]
            for key, _ in leaves:
                if key is not None and key not in indexed:
                    raise BadRequestError(
                        f"strict mode: index required but not found for '{key}': "
                        "create a payload index, or filter by another field"
                    )


def _exceeded(name: str, value: float, limit: float) -> ApiError:
    return BadRequestError(f"strict mode: {name}: limit exceeded, {value} > {limit}")


def _leaves(data: Json, prefix: str = "") -> Iterator[tuple[str | None, dict[str, Any]]]:
    """Every condition of a filter that is no filter itself, with the field that it looks at."""
    for item in data if isinstance(data, list) else [data]:
        if not isinstance(item, dict):
            continue
        nested = item.get("nested")
        if isinstance(nested, dict):
            yield from _leaves(nested.get("filter"), f"{prefix}{nested.get('key')}[].")
        elif isinstance(key := item.get("key"), str):
            yield prefix + key, item
        elif isinstance(field := item.get("is_empty") or item.get("is_null"), dict):
            yield f"{prefix}{field.get('key')}", item
        elif item.keys() & {"has_id", "has_vector", "slice"}:
            yield None, item
        else:
            for clause in ("must", "should", "must_not"):
                yield from _leaves(item.get(clause), prefix)
            minimum = item.get("min_should")
            if isinstance(minimum, dict):
                yield from _leaves(minimum.get("conditions"), prefix)


def _size(data: Json) -> int:
    """Elements of the largest list in a condition."""
    if isinstance(data, list):
        return max([len(data), *map(_size, data)])
    return max(map(_size, data.values()), default=1) if isinstance(data, dict) else 1
