"""One collection: its engine process, its order of writes, and the swap to a better shard.

Writes go one at a time, so that their order is known. Upkeep which takes long (optimisation) runs
in a second engine process on a copy of the shard, while the first serves on; the writes of that
time are kept in a file and replayed on the copy before it takes over. See ``rebuild``.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import orjson

from bastide_vectordb import files, wire_config
from bastide_vectordb.catchup import Catchup
from bastide_vectordb.channel import Channel
from bastide_vectordb.errors import ApiError, FencedError
from bastide_vectordb.stored import META, Stored, new_shard_name
from bastide_vectordb.vector_names import of_settings

_log = logging.getLogger(__name__)
_DRAIN_SECONDS = 30.0
_CLOSE_SECONDS = 8.0
_SETTLE_SECONDS = 0.05
_REPLAY_PAUSE_BYTES = 1 << 20  # so little left to replay: stop writers and finish


async def _settled(folder: Path, stored: Stored, channel: Channel) -> Stored:
    """What holds of two settings between which a crash came: the shard's own files tell."""
    meta: dict[str, object] = {"path": str(folder / stored.shard)}
    names = set(orjson.loads(await channel.call("vector_names", meta=meta)))
    settings = stored.settings
    if stored.pending is not None and names == of_settings(stored.pending):
        settings = stored.pending
    result = Stored(settings, stored.shard, stored.created)
    await asyncio.to_thread(files.write_atomic, folder / META, result.dump())
    return result


class Collection:
    """A collection that serves.

    Args:
        name: Its name.
        folder: Its folder, with ``collection.json`` and one shard.
        stored: Content of ``collection.json``.
        channel: The engine that has the shard open.
    """

    def __init__(self, name: str, folder: Path, stored: Stored, channel: Channel) -> None:
        self.name = name
        self.folder = folder
        self.stored = stored
        self.optimizing = False
        self.settled = False  # nothing was written since the last ``settle``
        self.unchecked = True  # nobody has looked yet whether its index is complete
        self.optimized = (time.monotonic(), 0)  # when it was last done or tried, points then
        self.written_bytes = 0  # by writes since the last optimisation
        self.last_write = time.monotonic()
        self._channel = channel
        self._writing = asyncio.Lock()
        self._changing = asyncio.Lock()
        self._reviving = asyncio.Lock()
        self._catchup: Catchup | None = None
        self._successor: Channel | None = None
        self._closed = False

    @classmethod
    async def start(cls, name: str, folder: Path) -> Collection:
        """Open the collection in ``folder`` in a fresh engine process."""
        stored = await asyncio.to_thread(Stored.load, folder / META)
        channel = await Channel.start()
        try:
            if stored.pending is not None:
                stored = await _settled(folder, stored, channel)
            await channel.open(folder / stored.shard, stored.settings)
        except BaseException:
            await channel.kill()
            raise
        return cls(name, folder, stored, channel)

    @property
    def shard_path(self) -> Path:
        """The folder of the shard that serves."""
        return self.folder / self.stored.shard

    @property
    def pid(self) -> int:
        """Process id of the engine that serves."""
        return self._channel.pid

    @property
    def alive(self) -> bool:
        """Whether the engine runs."""
        return self._channel.alive

    async def read(self, operation: str, body: bytes, meta: dict[str, object] | None) -> bytes:
        """The JSON result of a read."""
        channel = await self._serving()
        return await channel.call(operation, body, meta)

    async def write(self, operation: str, body: bytes, meta: dict[str, object] | None) -> bytes:
        """The JSON result of a write; kept for replay while a successor is being built."""
        async with self._writing:
            channel = await self._serving()
            self.settled = False
            if self._catchup is not None:
                self._catchup.add(operation, body, meta)
            self.written_bytes += len(body)
            self.last_write = time.monotonic()
            return await channel.call(operation, body, meta)

    async def _serving(self) -> Channel:
        """The engine that takes requests now; waits while it is being replaced."""
        if self._channel.alive and not self._reviving.locked():
            return self._channel
        return await self._revived()

    async def _revived(self) -> Channel:
        """A new engine in place of one that died."""
        async with self._reviving:
            if self._closed:
                raise ApiError(404, f"Not found: Collection `{self.name}` doesn't exist!")
            if not self._channel.alive:
                _log.error("engine of collection %r ended unasked; restarting it", self.name)
                await self._channel.kill()
                await self._reopen()
            return self._channel

    async def _reopen(self) -> None:
        channel = await Channel.start()
        try:
            if self.stored.pending is not None:
                self.stored = await _settled(self.folder, self.stored, channel)
            await channel.open(self.shard_path, self.stored.settings)
        except BaseException:
            await channel.kill()
            raise
        self.settled = False
        self._channel = channel

    async def info(self) -> dict[str, Any]:
        """Qdrant's collection info."""
        result: dict[str, Any] = orjson.loads(await self.read("info", b"", None))
        return {
            "status": "yellow" if self.optimizing else "green",
            "optimizer_status": "ok",
            "update_queue": {"length": 0},
            **result,
            "config": wire_config.config_to_json(self.stored.settings),
        }

    @contextlib.asynccontextmanager
    async def frozen(self) -> AsyncIterator[Path]:
        """The shard's folder, flushed, with no write until the block ends; reads go on."""
        async with self._writing:
            await self.read("flush", b"", None)
            yield self.shard_path

    async def settle(self) -> None:
        """Give up upkeep under way and flush; then files stay as they are until a write comes."""
        while self.optimizing:
            await self._give_up_rebuild()
            await asyncio.sleep(_SETTLE_SECONDS)
        if not self.settled:
            async with self.frozen():
                self.settled = True

    async def change(self, settings: dict[str, Any]) -> None:
        """Apply changed settings: the engine loads the shard anew with them."""
        await self._give_up_rebuild()
        async with self._changing, self._writing, self._reviving:
            await self._channel.drained()
            await self._channel.close(_CLOSE_SECONDS)
            self.settled = False
            stored = Stored(settings, self.stored.shard, self.stored.created)
            try:
                channel = await Channel.start()
                await channel.open(self.shard_path, settings)
                self._channel = channel
                await asyncio.to_thread(files.write_atomic, self.folder / META, stored.dump())
                self.stored = stored
            except ApiError:
                await self._reopen()
                raise

    async def change_vectors(
        self, operation: str, name: str, settings: dict[str, Any], meta: dict[str, object]
    ) -> bytes:
        """Add or remove a named vector, so that ``settings`` hold."""
        await self._give_up_rebuild()
        async with self._changing, self._writing:
            channel = await self._serving()
            self.settled = False
            now = self.stored
            await self._store(Stored(now.settings, now.shard, now.created, pending=settings))
            try:
                body = orjson.dumps(name)
                result = await channel.call(
                    operation, body, {**meta, "vector": name, "settings": settings}
                )
            except ApiError as error:
                if error.status < 500:  # refused: nothing was done
                    await self._store(now)
                raise
            await self._store(Stored(settings, now.shard, now.created))
            return result

    async def _store(self, stored: Stored) -> None:
        await asyncio.to_thread(files.write_atomic, self.folder / META, stored.dump())
        self.stored = stored

    @contextlib.asynccontextmanager
    async def unopened(self) -> AsyncIterator[None]:
        """No engine has the shard open until the block ends; requests wait meanwhile."""
        await self._give_up_rebuild()
        async with self._changing, self._writing, self._reviving:
            await self._channel.drained()
            await self._channel.close(_CLOSE_SECONDS)
            try:
                yield
            finally:
                await self._reopen()

    def swap(self, other: Collection) -> None:
        """Take over what is known of the other's content, and give it ours; both unopened."""
        for name in ("stored", "unchecked", "optimized", "written_bytes", "last_write"):
            ours, theirs = getattr(self, name), getattr(other, name)
            setattr(self, name, theirs)
            setattr(other, name, ours)

    async def adopt(self, shard: Path, settings: dict[str, Any], channel: Channel) -> None:
        """Let another shard of this collection, already open, take over; drop the present one."""
        stored = Stored(settings, shard.name, self.stored.created)
        await asyncio.to_thread(files.write_atomic, self.folder / META, stored.dump())
        old, old_path = self._channel, self.shard_path
        self.stored = stored
        self._channel = channel
        self.settled = False
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_DRAIN_SECONDS):
                await old.drained()
        await old.kill()
        await asyncio.to_thread(files.remove_tree, old_path)

    async def replace(self, shard: Path, settings: dict[str, Any], channel: Channel) -> None:
        """As ``adopt``, for a shard from elsewhere: writes wait meanwhile."""
        await self._give_up_rebuild()
        async with self._changing, self._writing:
            if not await asyncio.to_thread(shard.exists):
                raise ApiError(409, "Conflict: the collection was exchanged meanwhile: try again")
            await self.adopt(shard, settings, channel)

    async def _give_up_rebuild(self) -> None:
        """End a rebuild under way, which may have minutes to go; it is tried again later."""
        if self._successor is not None and self._successor is not self._channel:
            await self._successor.kill()

    async def rebuild(self, halted: Callable[[], bool]) -> bool:
        """Optimise a copy of the shard in a second process, then swap; False if none was needed.

        Until the swap the old shard has every write and is what a crash falls back to.

        Args:
            halted: Whether nothing may be changed now, so that this is given up.
        """
        async with self._changing:
            target = self.folder / new_shard_name()
            written = self.written_bytes
            self.optimizing = True
            try:
                changed = await self._rebuild(target, halted)
                self.written_bytes -= written
                return changed
            finally:
                self.optimizing = False
                self._catchup = None
                self._successor = None

    async def _rebuild(self, target: Path, halted: Callable[[], bool]) -> bool:
        def may_go_on() -> None:
            if halted():
                raise FencedError

        may_go_on()
        log = Catchup(self.folder / f"{target.name}.catchup")
        successor: Channel | None = None
        try:
            async with self.frozen() as source:
                await asyncio.to_thread(files.copy_tree, source, target)
                self._catchup = log
            may_go_on()
            successor = self._successor = await Channel.start()
            await successor.open(target, self.stored.settings, background=True)
            changed = await successor.call("optimize")
            if changed == b"false":
                await successor.kill()
                await asyncio.to_thread(files.remove_tree, target)
                return False
            # It ran at low priority, and the kernel lets no process raise itself again.
            await successor.close(_DRAIN_SECONDS)
            successor = self._successor = await Channel.start()
            await successor.open(target, self.stored.settings)
            await log.replay(successor, until=_REPLAY_PAUSE_BYTES)
            async with self._writing:
                may_go_on()
                await log.replay(successor, until=0)
                await successor.call("flush")
                await self.adopt(target, self.stored.settings, successor)
        except BaseException:
            if successor is not None and successor is not self._channel:
                await successor.kill()
            if self.stored.shard != target.name:
                await asyncio.to_thread(files.remove_tree, target)
            raise
        else:
            return True
        finally:
            self._catchup = None
            log.close()

    def unused(self) -> list[Path]:
        """Left-overs of a rebuild that a crash cut short."""
        keep = {META, self.stored.shard}
        return [path for path in self.folder.iterdir() if path.name not in keep]

    async def close(self, seconds: float) -> None:
        """Flush and end; an unfinished rebuild is dropped."""
        self._closed = True
        await self._give_up_rebuild()
        await self._channel.close(seconds)

    async def discard(self) -> None:
        """End without flushing: the collection is being deleted."""
        self._closed = True
        await self._give_up_rebuild()
        await self._channel.kill()
