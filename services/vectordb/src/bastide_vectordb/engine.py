"""One collection's shard: requests as JSON bytes in, JSON bytes out. Runs in its own process.

Edge holds Python's global lock through every call, ``optimize()`` of minutes included, so that a
process which serves HTTP must not call it: see ``worker`` and ``docs/vectordb.md``.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import orjson
import qdrant_edge as edge

from bastide_vectordb import (
    groups,
    matrix,
    strict,
    vector_names,
    wire_config,
    wire_index,
    wire_points,
    wire_query,
)
from bastide_vectordb.errors import BadRequestError, NotFoundError
from bastide_vectordb.json_types import Json
from bastide_vectordb.shard_files import sync_wal
from bastide_vectordb.wire_values import (
    known_keys,
    loads,
    point_id_of_path,
    point_ids,
    with_payload,
    with_vector,
)
from bastide_vectordb.wire_vectors import record_to_json, scored_to_json

FLUSH_IDLE_SECONDS = 5.0  # dirty and unused for so long: flush
FLUSH_MOST_SECONDS = 60.0  # dirty for so long: flush even under load
FLUSH_MOST_BYTES = 64 << 20  # request bytes since the last flush: bounds the replay after a crash


class Engine:
    """Serves one shard; not thread-safe, one call at a time.

    Args:
        path: The shard's folder.
        settings: The collection's settings as stored.
    """

    def __init__(self, path: Path, settings: dict[str, Any]) -> None:
        self._path = path
        self._sizes = wire_config.sizes(settings)
        self._strict = strict.Strict(settings, time.monotonic)
        self._shard = edge.EdgeShard.load(str(path), wire_config.edge_config(settings))
        self._writes = 0
        self._dirty_since: float | None = None
        self._dirty_bytes = 0
        self._calls: dict[str, Callable[[bytes, dict[str, Any]], Any]] = {
            **{name: self._writer(build) for name, build in wire_points.WRITES.items()},
            "batch": self._batch,
            "index_create": self._index_create,
            "index_delete": self._index_delete,
            "query": self._query,
            "query_batch": self._query_batch,
            "query_groups": self._query_groups,
            "scroll": self._scroll,
            "count": self._count,
            "facet": self._facet,
            "matrix_pairs": self._matrix(matrix.pairs),
            "matrix_offsets": self._matrix(matrix.offsets),
            "vector_create": self._names,
            "vector_delete": self._names,
            "retrieve": self._retrieve,
            "get_point": self._get_point,
            "info": self._info,
            "flush": self._flush,
            "optimize": self._optimize,
        }

    def call(self, name: str, body: bytes, meta: dict[str, Any]) -> bytes:
        """The JSON result of one request.

        Raises:
            ApiError: the request is wrong.
            Exception: what Edge raised.
        """
        if self._strict.enabled and not meta.get("replayed"):
            self._strict.check(name, loads(body), self._facts)
        return orjson.dumps(self._calls[name](body, meta), option=orjson.OPT_NON_STR_KEYS)

    def _facts(self) -> tuple[set[str], int]:
        """What strict mode wants to know: indexed fields, and how many points there are."""
        info = self._shard.info()
        return set(info.payload_schema), info.points_count

    def tick(self, idle_seconds: float) -> None:
        """Flush what has been dirty for long enough; called now and then.

        Args:
            idle_seconds: Time since the last request.
        """
        if self._dirty_since is None:
            return
        dirty = time.monotonic() - self._dirty_since
        if (
            min(dirty, idle_seconds) >= FLUSH_IDLE_SECONDS
            or dirty >= FLUSH_MOST_SECONDS
            or self._dirty_bytes >= FLUSH_MOST_BYTES
        ):
            self._flush(b"", {})

    def close(self) -> None:
        """Flush and release the shard."""
        self._shard.flush()
        self._shard.close()

    # writes

    def _applied(self, meta: dict[str, Any]) -> dict[str, Any]:
        self._writes += 1
        if meta.get("wait", True):
            sync_wal(self._path)
            return {"operation_id": self._writes, "status": "completed"}
        return {"operation_id": self._writes, "status": "acknowledged"}

    def _touched(self, body: bytes) -> None:
        self._dirty_bytes += len(body)
        if self._dirty_since is None:
            self._dirty_since = time.monotonic()

    def _writer(self, build: Callable[[Any, Any], Any]) -> Callable[[bytes, dict[str, Any]], Any]:
        def write(body: bytes, meta: dict[str, Any]) -> Json:
            operation = build(loads(body), self._sizes)
            self._touched(body)
            self._shard.update(operation)
            return self._applied(meta)

        return write

    def _batch(self, body: bytes, meta: dict[str, Any]) -> Json:
        pairs = wire_points.batch(loads(body))
        operations = [wire_points.WRITES[name](data, self._sizes) for name, data in pairs]
        self._touched(body)
        for operation in operations:
            self._shard.update(operation)
        done = self._applied(meta)
        return [done for _ in operations]

    def _index_create(self, body: bytes, meta: dict[str, Any]) -> Json:
        data = known_keys(loads(body), ("field_name", "field_schema"), "body")
        name = data.get("field_name")
        if not isinstance(name, str) or not name:
            raise BadRequestError("field_name: expected the name of a payload field")
        _, schema, _ = wire_index.index_schema(data.get("field_schema"))
        self._touched(body)
        self._shard.update(edge.UpdateOperation.create_field_index(name, schema))
        return self._applied(meta)

    def _index_delete(self, body: bytes, meta: dict[str, Any]) -> Json:
        self._touched(body)
        self._shard.update(edge.UpdateOperation.delete_field_index(meta["field"]))
        return self._applied(meta)

    def _names(self, body: bytes, meta: dict[str, Any]) -> Json:
        """Add or remove a named vector, and settle it before the settings are written."""
        settings: dict[str, Any] = meta["settings"]
        self._touched(body)
        self._shard.update(vector_names.operation(meta["vector"], settings))
        self._sizes = wire_config.sizes(settings)
        done = self._applied(meta)
        self._flush(b"", {})
        return done

    # reads

    def _sources(self) -> wire_query.Sources:
        return wire_query.Sources(self._stored_vector)

    def _stored_vector(self, point: int | str, using: str) -> Json:
        found = self._shard.retrieve([point], False, True)  # noqa: FBT003 - Edge's own order
        if not found:
            raise NotFoundError(f"No point with id {point} found")
        vector: Json = found[0].vector
        if isinstance(vector, dict):
            vector = vector.get(using)
        elif using:
            vector = None
        if vector is None:
            raise BadRequestError(f"point {point} has no vector '{using}'")
        return vector

    def _request(self, data: Json) -> Json:
        return wire_query.query(data, self._sources())

    def _query_all(self, requests: list[Any]) -> list[list[Any]]:
        try:
            return self._shard.query_batch(edge.QueryBatchRequest(requests))
        except Exception as error:
            # So Edge ends a formula that cannot be computed for a point; nothing else cancels.
            if str(error).startswith("Operation cancelled"):
                raise BadRequestError(
                    "query.formula: no value for a variable or a result that is no number; "
                    "give defaults"
                ) from error
            raise

    def _hits(self, data: Json) -> list[dict[str, Any]]:
        (answer,) = self._query_all([self._request(data)])
        vectors = bool(data.get("with_vector"))
        return [scored_to_json(point, vectors=vectors) for point in answer]

    def _query(self, body: bytes, _meta: dict[str, Any]) -> Json:
        return {"points": self._hits(loads(body))}

    def _query_batch(self, body: bytes, _meta: dict[str, Any]) -> Json:
        asked = known_keys(loads(body), ("searches",), "body").get("searches")
        if not isinstance(asked, list):
            raise BadRequestError("searches: expected a list")
        requests = [self._request(data) for data in asked]
        if not requests:
            return []
        answers = self._query_all(requests)
        return [
            {"points": [scored_to_json(p, vectors=bool(data.get("with_vector"))) for p in answer]}
            for data, answer in zip(asked, answers, strict=True)
        ]

    def _query_groups(self, body: bytes, _meta: dict[str, Any]) -> Json:
        grouping, rest = wire_query.grouping(loads(body))

        def fetch(limit: int) -> list[Any]:
            wide = {**rest, "limit": limit, "with_payload": True, "with_vector": False}
            return self._query_all([self._request(wide)])[0]

        found = groups.search(fetch, grouping)
        shown = self._shown({hit.id for hits in found.values() for hit in hits}, rest)
        return {
            "groups": [
                {
                    "id": value,
                    "hits": [
                        {**scored_to_json(hit, vectors=False), **shown[hit.id]} for hit in hits
                    ],
                }
                for value, hits in found.items()
            ]
        }

    def _shown(self, ids: set[Any], data: dict[str, Any]) -> dict[Any, dict[str, Any]]:
        """What the client asked to see of each point, by id."""
        fields = with_payload(data.get("with_payload"), default=False)
        records = self._shard.retrieve(list(ids), fields, with_vector(data.get("with_vector")))
        out = {}
        for record in records:
            shown = record_to_json(record)
            out[record.id] = {
                k: shown.get(k) for k in ("payload", "vector") if k != "vector" or k in shown
            }
        return out

    def _scroll(self, body: bytes, _meta: dict[str, Any]) -> Json:
        records, following = self._shard.scroll(wire_query.scroll(loads(body)))
        return {"points": [record_to_json(r) for r in records], "next_page_offset": following}

    def _count(self, body: bytes, _meta: dict[str, Any]) -> Json:
        return {"count": self._shard.count(wire_query.counting(loads(body) if body else {}))}

    def _facet(self, body: bytes, _meta: dict[str, Any]) -> Json:
        hits = self._shard.facet(wire_query.facet(loads(body))).hits
        return {"hits": [{"value": hit.value, "count": hit.count} for hit in hits]}

    def _matrix(
        self, show: Callable[[list[matrix.Row]], dict[str, Any]]
    ) -> Callable[[bytes, dict[str, Any]], Any]:
        return lambda body, _meta: show(matrix.rows(self._shard, loads(body)))

    def _retrieve(self, body: bytes, _meta: dict[str, Any]) -> Json:
        allowed = ("ids", "with_payload", "with_vector", "shard_key")
        data = known_keys(loads(body), allowed, "body")
        fields = with_payload(data.get("with_payload"), default=True)
        ids: list[Json] = list(dict.fromkeys(point_ids(data.get("ids"))))
        records = self._shard.retrieve(ids, fields, with_vector(data.get("with_vector")))
        return [record_to_json(record) for record in records]

    def _get_point(self, _body: bytes, meta: dict[str, Any]) -> Json:
        records = self._shard.retrieve([point_id_of_path(meta["point"])], True, True)  # noqa: FBT003
        if not records:
            raise NotFoundError(f"Point with id {meta['point']} does not exists!")
        return record_to_json(records[0])

    # upkeep

    def _info(self, _body: bytes, _meta: dict[str, Any]) -> Json:
        info = self._shard.info()
        return {
            "points_count": info.points_count,
            "indexed_vectors_count": info.indexed_vectors_count,
            "segments_count": info.segments_count,
            "payload_schema": {
                name: wire_index.index_to_json(index) for name, index in info.payload_schema.items()
            },
        }

    def _flush(self, _body: bytes, _meta: dict[str, Any]) -> Json:
        self._shard.flush()
        self._dirty_since = None
        self._dirty_bytes = 0
        return True

    def _optimize(self, _body: bytes, _meta: dict[str, Any]) -> Json:
        changed = self._shard.optimize()
        self._shard.flush()
        return changed
