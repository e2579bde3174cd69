"""The endpoints that are not a single engine operation."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import orjson

from bastide_vectordb import __version__, aliases, upload
from bastide_vectordb.errors import BadRequestError
from bastide_vectordb.fence import PASS
from bastide_vectordb.json_types import Json
from bastide_vectordb.service import Service
from bastide_vectordb.snapshots import EDGE_VERSION
from bastide_vectordb.wire_values import known_keys, loads

# The version of Qdrant whose REST API this service speaks: clients compare it with their own and
# warn at more than one minor's difference. The engine is Qdrant Edge, as the title says.
QDRANT_API_VERSION = "1.20.0"
_JSON = (b"content-type", b"application/json")
_TEXT = (b"content-type", b"text/plain; charset=utf-8")


class RequestView(Protocol):
    """What an action may ask of a request."""

    def header(self, name: bytes) -> bytes:
        """A header's value, empty without it."""

    def parameter(self, name: str, default: str = "") -> str:
        """A value of the query string."""

    def chunks(self) -> AsyncIterator[bytes]:
        """The body as it arrives."""

    async def body(self) -> bytes:
        """The whole body."""


@dataclass
class Answer:
    """A response.

    Args:
        status: HTTP status.
        body: Body.
        headers: Headers without the length.
    """

    status: int = 200
    body: bytes = b""
    headers: list[tuple[bytes, bytes]] = field(default_factory=list)

    @classmethod
    def of(cls, result: bytes, started: float) -> Answer:
        """A JSON result in Qdrant's envelope."""
        seconds = time.perf_counter() - started
        body = b'{"result":%b,"status":"ok","time":%.9f}' % (result, seconds)
        return cls(200, body, [_JSON])


@dataclass
class Download(Answer):
    """A file as the response."""

    path: Path = Path()


Action = Callable[[Service, dict[str, str], RequestView, float], Awaitable[Answer]]


def _json(work: Callable[[Service, dict[str, str], RequestView], Awaitable[Any]]) -> Action:
    """An action from a coroutine that returns its JSON result."""

    async def action(
        service: Service, values: dict[str, str], request: RequestView, started: float
    ) -> Answer:
        return Answer.of(orjson.dumps(await work(service, values, request)), started)

    return action


async def _root(*_: Json) -> Answer:
    title = f"Bastide vectordb {__version__}: Qdrant's REST API over Qdrant Edge {EDGE_VERSION}"
    body = {"title": title, "version": QDRANT_API_VERSION, "commit": None}
    return Answer(200, orjson.dumps(body), [_JSON])


async def _health(*_: Json) -> Answer:
    return Answer(200, b"healthz check passed", [_TEXT])


async def _ready(service: Service, *_: Json) -> Answer:
    bad = [*service.registry.broken, *(c.name for c in service.registry.all() if not c.alive)]
    if bad:
        return Answer(503, f"{len(bad)} collections are not ready".encode(), [_TEXT])
    return Answer(200, b"all shards are ready", [_TEXT])


async def _metrics(service: Service, *_: Json) -> Answer:
    kind = (b"content-type", b"text/plain; version=0.0.4; charset=utf-8")
    return Answer(200, (await service.describe()).encode(), [kind])


async def _list(service: Service, _values: dict[str, str], _request: RequestView) -> Json:
    return {"collections": [{"name": name} for name in service.registry.names()]}


async def _aliases(service: Service, values: dict[str, str], _request: RequestView) -> Json:
    registry = service.registry
    if "collection" not in values:
        return aliases.listed(registry.aliases)
    return aliases.listed(registry.aliases, registry.get(values["collection"]).name)


async def _change_aliases(service: Service, _values: dict[str, str], request: RequestView) -> Json:
    await service.registry.change_aliases(loads(await request.body()))
    return True


async def _cluster(_service: Service, _values: dict[str, str], _request: RequestView) -> Json:
    return {"status": "disabled"}


async def _collection_cluster(
    service: Service, values: dict[str, str], _request: RequestView
) -> Json:
    info = await service.registry.get(values["collection"]).info()
    shard = {"shard_id": 0, "points_count": info["points_count"], "state": "Active"}
    return {
        "peer_id": 0,
        "shard_count": 1,
        "local_shards": [shard],
        "remote_shards": [],
        "shard_transfers": [],
    }


async def _vectors(
    service: Service, values: dict[str, str], request: RequestView, operation: str
) -> Json:
    body = await request.body()
    wait = request.parameter("wait", "true") != "false"
    name, vector = values["collection"], values["vector"]
    return orjson.loads(await service.change_vectors(operation, name, vector, body, wait=wait))


async def _vector_create(service: Service, values: dict[str, str], request: RequestView) -> Json:
    return await _vectors(service, values, request, "vector_create")


async def _vector_delete(service: Service, values: dict[str, str], request: RequestView) -> Json:
    return await _vectors(service, values, request, "vector_delete")


async def _info(service: Service, values: dict[str, str], _request: RequestView) -> Json:
    return await service.registry.get(values["collection"]).info()


async def _exists(service: Service, values: dict[str, str], _request: RequestView) -> Json:
    registry = service.registry
    return {"exists": registry.real(values["collection"]) in registry.names()}


async def _create(service: Service, values: dict[str, str], request: RequestView) -> Json:
    await service.create(values["collection"], await request.body())
    return True


async def _update(service: Service, values: dict[str, str], request: RequestView) -> Json:
    await service.change(values["collection"], await request.body())
    return True


async def _delete(service: Service, values: dict[str, str], _request: RequestView) -> Json:
    return await service.registry.delete(values["collection"])


async def _snapshots(service: Service, values: dict[str, str], _request: RequestView) -> Json:
    name = service.registry.get(values["collection"]).name
    return await asyncio.to_thread(service.snapshots.list, name)


async def _snapshot(service: Service, values: dict[str, str], _request: RequestView) -> Json:
    return await service.snapshots.create(service.registry.get(values["collection"]))


async def _snapshot_delete(service: Service, values: dict[str, str], _request: RequestView) -> Json:
    delete = service.snapshots.delete
    name = service.registry.real(values["collection"])
    await asyncio.to_thread(delete, name, values["snapshot"])
    return True


async def _download(
    service: Service, values: dict[str, str], _request: RequestView, _started: float
) -> Answer:
    name = service.registry.real(values["collection"])
    path = service.snapshots.path(name, values["snapshot"])
    return Download(200, b"", [(b"content-type", b"application/octet-stream")], path)


async def _upload(service: Service, values: dict[str, str], request: RequestView) -> Json:
    path = service.snapshots.upload_path()
    try:
        saving = upload.save(request.header(b"content-type"), request.chunks(), path)
        await service.fence.unless_raised(saving, request.header(PASS))
        checksum = request.parameter("checksum") or None
        await service.snapshots.recover(service.registry.real(values["collection"]), path, checksum)
    finally:
        path.unlink(missing_ok=True)
    return True


async def _recover(service: Service, values: dict[str, str], request: RequestView) -> Json:
    allowed = ("location", "priority", "checksum", "api_key")
    data = known_keys(loads(await request.body()), allowed, "body")
    path = service.snapshots.local(data.get("location"))
    checksum = data.get("checksum")
    if checksum is not None and not isinstance(checksum, str):
        raise BadRequestError("checksum: expected a string")
    await service.snapshots.recover(service.registry.real(values["collection"]), path, checksum)
    return True


async def _fence(service: Service, _values: dict[str, str], _request: RequestView) -> Json:
    return await service.fenced()


async def _exchange(service: Service, _values: dict[str, str], request: RequestView) -> Json:
    data = known_keys(loads(await request.body()), ("a", "b"), "body")
    one, other = data.get("a"), data.get("b")
    if not isinstance(one, str) or not isinstance(other, str) or one == other:
        raise BadRequestError("a and b: expected the names of two collections")
    await service.registry.exchange(one, other)
    return True


ACTIONS: dict[str, Action] = {
    "root": _root,
    "health": _health,
    "ready": _ready,
    "metrics": _metrics,
    "fence": _json(_fence),
    "exchange": _json(_exchange),
    "list": _json(_list),
    "aliases": _json(_aliases),
    "change_aliases": _json(_change_aliases),
    "cluster": _json(_cluster),
    "collection_cluster": _json(_collection_cluster),
    "vector_create": _json(_vector_create),
    "vector_delete": _json(_vector_delete),
    "info_collection": _json(_info),
    "exists": _json(_exists),
    "create_collection": _json(_create),
    "update_collection": _json(_update),
    "delete_collection": _json(_delete),
    "list_snapshots": _json(_snapshots),
    "create_snapshot": _json(_snapshot),
    "delete_snapshot": _json(_snapshot_delete),
    "download_snapshot": _download,
    "upload_snapshot": _json(_upload),
    "recover_snapshot": _json(_recover),
}
