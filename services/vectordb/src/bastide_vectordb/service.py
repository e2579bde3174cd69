"""What the endpoints do, apart from HTTP."""

from __future__ import annotations

import asyncio
import logging
import math
import time
from typing import Any

import orjson

from bastide_vectordb import files, legacy, lookups, upkeep, wire_changes, wire_config
from bastide_vectordb.collection import Collection
from bastide_vectordb.config import Config
from bastide_vectordb.errors import ApiError, BadRequestError, NoRoomError
from bastide_vectordb.fence import Fence
from bastide_vectordb.frames import WRITES
from bastide_vectordb.json_types import Json
from bastide_vectordb.metrics import Metrics
from bastide_vectordb.registry import Registry
from bastide_vectordb.routes import Route
from bastide_vectordb.snapshots import Snapshots
from bastide_vectordb.wire_values import loads

_log = logging.getLogger(__name__)
_POLL_SECONDS = 2.0
_QUIET_SECONDS = 5.0  # no write for so long: a good moment to optimise
_LONGEST_SECONDS = 60.0  # under constant writes: optimise this long after the last time
_RETRY_SECONDS = 600.0
_SHUTDOWN_SECONDS = 6.0
_INFO_SECONDS = 2.0
_VACUUM_SHARE = 0.8
# Two segments of an engine's write-ahead log. It writes through memory maps: on a full disk that
# kills the process (SIGBUS), and a new one could not open the shard either.
_RESERVE_BYTES = 64 << 20


class Service:
    """The collections, their snapshots and their upkeep.

    Args:
        config: The service's configuration.
    """

    def __init__(self, config: Config) -> None:
        self.config = config
        self.registry = Registry(config.storage_path, config.max_collections)
        self.snapshots = Snapshots(config.snapshots_path, self.registry)
        self.fence = Fence(config.fence_path)
        self.metrics = Metrics()
        self._known: dict[str, dict[str, Any]] = {}
        self._upkeep: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Open everything.

        Raises:
            StartupError: storage is not usable.
        """
        await asyncio.to_thread(self.registry.prepare)
        await asyncio.to_thread(self.snapshots.prepare)
        await self.registry.load()
        self._upkeep = asyncio.create_task(self._keep_up())

    async def stop(self) -> None:
        """Flush and close everything, in less than 10 seconds."""
        if self._upkeep is not None:
            self._upkeep.cancel()
            await asyncio.gather(self._upkeep, return_exceptions=True)
        await self.registry.close(_SHUTDOWN_SECONDS)

    def require_room(self) -> None:
        """Check that a write will not fill the disk.

        Raises:
            NoRoomError: it could.
        """
        free = files.free_bytes(self.config.storage_path)
        if free < _RESERVE_BYTES:
            raise NoRoomError(free, _RESERVE_BYTES)

    async def create(self, name: str, body: bytes) -> None:
        """Make a collection from a request's body."""
        settings = wire_config.creation(loads(body))
        limits = {**self.config.strict_mode, **settings.get("strict_mode_config", {})}
        if limits:
            settings["strict_mode_config"] = limits
        await self.registry.create(name, settings)

    async def change(self, name: str, body: bytes) -> None:
        """Change a collection's settings."""
        collection = self.registry.get(name)
        now = collection.stored.settings
        settings = wire_changes.changes(loads(body), now)
        if settings != now:
            await collection.change(settings)

    async def change_vectors(
        self, operation: str, name: str, vector: str, body: bytes, *, wait: bool
    ) -> bytes:
        """Add or remove a collection's named vector."""
        collection = self.registry.get(name)
        now = collection.stored.settings
        if operation == "vector_create":
            settings = wire_changes.with_vector(vector, loads(body), now)
        else:
            settings = wire_changes.without_vector(vector, now)
        return await collection.change_vectors(operation, vector, settings, {"wait": wait})

    async def engine(
        self, route: Route, values: dict[str, str], body: bytes, *, wait: bool
    ) -> bytes:
        """The JSON result of an operation of one collection's engine."""
        action = route.action
        collection = self.registry.get(values.pop("collection"))
        lookup: Json = None
        try:
            if route.form:
                body = legacy.converted(route.form, body)
            if lookups.needed(action, body):
                body, lookup = await lookups.resolved(self.registry, action, body)
        except (RecursionError, orjson.JSONEncodeError) as error:
            raise BadRequestError("body: nested too deeply") from error
        meta: dict[str, object] = dict(values)
        if action in WRITES:
            if not wait:
                meta["wait"] = False
            return await collection.write(action, body, meta)
        result = await collection.read(action, body, meta)
        if lookup is not None:
            result = await lookups.with_records(self.registry, result, lookup)
        return legacy.answered(route.form, result) if route.form else result

    async def fenced(self) -> dict[str, Any]:
        """What whoever raised a fence wants to know.

        ``quiet`` means that no file below ``storage_path`` changes until the fence is lifted or
        somebody passes it: no write is under way, no optimisation runs, all is flushed. With a
        fence up, asking brings that about.
        """
        collections = self.registry.all()
        fenced = self.fence.up()
        if fenced and not self.fence.running:
            await asyncio.gather(*(c.settle() for c in collections))
        infos = await asyncio.gather(*(c.read("info", b"", None) for c in collections))
        quiet = fenced and self.fence.up() and not self.fence.running
        return {
            "fenced": fenced,
            "quiet": quiet and all(c.settled for c in collections),
            "collections": {
                c.name: orjson.loads(info)["points_count"]
                for c, info in zip(collections, infos, strict=True)
            },
        }

    async def describe(self) -> str:
        """The metrics' text; an engine that is busy is shown as it was last seen."""

        async def ask(collection: Collection) -> None:
            async with asyncio.timeout(_INFO_SECONDS):
                self._known[collection.name] = await collection.info()

        collections = self.registry.all()
        await asyncio.gather(*map(ask, collections), return_exceptions=True)
        shown = {c.name: self._known.get(c.name, {}) for c in collections}
        return self.metrics.render(shown, [c.pid for c in collections])

    async def _keep_up(self) -> None:
        """Optimise collections that need it, one at a time, for ever."""
        while True:
            await asyncio.sleep(_POLL_SECONDS)
            for collection in [] if self.fence.up() else self.registry.all():
                try:
                    if await self._due(collection):
                        await self._optimize(collection)
                except (ApiError, OSError) as error:
                    _log.warning("upkeep of collection %r: %s", collection.name, error)

    async def _due(self, collection: Collection) -> bool:
        now = time.monotonic()
        last, points_then = collection.optimized
        quiet = now - collection.last_write >= _QUIET_SECONDS
        if last > now or not (collection.unchecked or collection.written_bytes):
            return False
        if not quiet and now - last < _LONGEST_SECONDS:
            return False
        info = orjson.loads(await collection.read("info", b"", None))
        if info["points_count"] < points_then * _VACUUM_SHARE:
            return True
        settings = collection.stored.settings
        unchecked, collection.unchecked = collection.unchecked, False
        written = math.inf if unchecked else collection.written_bytes
        return upkeep.index_is_due(info, settings, written, quiet=quiet)

    async def _optimize(self, collection: Collection) -> None:
        need = 2 * await asyncio.to_thread(files.used_bytes, collection.shard_path)
        free = await asyncio.to_thread(files.free_bytes, collection.folder)
        started, before = time.monotonic(), collection.optimized
        points = orjson.loads(await collection.read("info", b"", None))["points_count"]
        collection.optimized = (started + _RETRY_SECONDS, points)
        if free < need:
            _log.warning("collection %r: not optimised, %d bytes needed and %d are free",
                         collection.name, need, free)  # fmt: skip
            return
        try:
            changed = await collection.rebuild(self.fence.up)
        except BaseException:
            if self.fence.up():  # not its fault: take it up again as soon as the fence is lifted
                collection.optimized, collection.unchecked = before, True
                raise
            self.metrics.optimizations_failed += 1
            raise
        collection.optimized = (time.monotonic(), points)
        self.metrics.optimizations += 1
        seconds = time.monotonic() - started
        _log.info(
            "collection %r optimised in %.1f s, changed: %s", collection.name, seconds, changed
        )
