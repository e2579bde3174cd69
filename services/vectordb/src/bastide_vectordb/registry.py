"""All collections of the service and their folders.

``storage_path`` holds ``collections/<name>/``, ``tmp/`` (being made) and ``trash/`` (being
deleted). A collection exists if and only if its folder is under ``collections``: it arrives and
leaves by one rename, so that a crash leaves it whole or not there.
"""

from __future__ import annotations

import asyncio
import fcntl
import logging
import os
import time
import uuid
from pathlib import Path
from typing import Any

from bastide_vectordb import aliases, files
from bastide_vectordb.channel import Channel
from bastide_vectordb.collection import Collection
from bastide_vectordb.errors import ApiError, BadRequestError, NotFoundError, StartupError
from bastide_vectordb.json_types import Json
from bastide_vectordb.stored import META, Stored, new_shard_name

_log = logging.getLogger(__name__)
_FORBIDDEN = frozenset('<>:"/\\|?*')
_NAME_BYTES = 255
_STARTS_AT_ONCE = 2


def check_name(name: str) -> str:
    """A collection's name that is fit to be a folder's.

    Raises:
        BadRequestError: empty, too long, or with characters that Qdrant forbids.
    """
    bad = _FORBIDDEN.intersection(name) or any(ord(char) < 32 or ord(char) == 127 for char in name)
    if not name or name in {".", ".."} or bad or len(name.encode()) > _NAME_BYTES:
        raise BadRequestError(
            f"collection name {name[:40]!r}: expected 1 to {_NAME_BYTES} bytes without any of "
            f"{' '.join(sorted(_FORBIDDEN))} or control characters"
        )
    return name


class Registry:
    """The collections by name.

    Args:
        storage: ``storage.storage_path``.
        most: Most collections; each one is a process.
    """

    def __init__(self, storage: Path, most: int) -> None:
        self.storage = storage
        self._most = most
        self._collections: dict[str, Collection] = {}
        self._lock = asyncio.Lock()
        self._lock_handle = -1
        self.broken: dict[str, str] = {}
        self.aliases: aliases.Names = {}

    @property
    def _home(self) -> Path:
        return self.storage / "collections"

    @property
    def temporary(self) -> Path:
        """Where what is not finished yet lives; emptied at every start."""
        return self.storage / "tmp"

    @property
    def _trash(self) -> Path:
        return self.storage / "trash"

    def prepare(self) -> None:
        """Make and lock the storage, drop what a crash left.

        Raises:
            StartupError: not writable, or another process uses it.
        """
        try:
            for path in (self._home, self.temporary, self._trash):
                path.mkdir(parents=True, exist_ok=True, mode=0o750)
            self._lock_handle = os.open(
                self.storage / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o640
            )
            fcntl.flock(self._lock_handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            self.aliases = aliases.load(self.storage / aliases.NAME)
        except BlockingIOError as error:
            raise StartupError(f"{self.storage}: in use by another bastide-vectordb") from error
        except (OSError, ValueError) as error:
            raise StartupError(f"storage.storage_path {self.storage}: {error}") from error
        for folder in (self.temporary, self._trash):
            for entry in folder.iterdir():
                files.remove_tree(entry) if entry.is_dir() else entry.unlink()

    async def load(self) -> None:
        """Open every collection; one that does not open is kept, reported and not served."""
        gate = asyncio.Semaphore(_STARTS_AT_ONCE)

        async def load_one(folder: Path) -> None:
            async with gate:
                try:
                    collection = await Collection.start(folder.name, folder)
                except (ApiError, OSError, ValueError, TypeError) as error:
                    self.broken[folder.name] = str(error)
                    _log.error("collection %r does not open: %s", folder.name, error)
                    return
                for path in collection.unused():
                    await asyncio.to_thread(files.remove_tree if path.is_dir() else os.unlink, path)
                self._collections[folder.name] = collection

        await asyncio.gather(*(load_one(folder) for folder in sorted(self._home.iterdir())))

    def real(self, name: str) -> str:
        """The name of the collection that ``name``, an alias or its own name, stands for."""
        return self.aliases.get(name, name)

    def get(self, name: str) -> Collection:
        """A collection by its name or an alias.

        Raises:
            NotFoundError: there is none of that name.
            ApiError: 500, it is there and did not open.
        """
        name = self.real(name)
        found = self._collections.get(name)
        if found is None:
            if name in self.broken:
                raise ApiError(500, f"Service internal error: {self.broken[name]}")
            raise NotFoundError(f"Collection `{name}` doesn't exist!")
        return found

    def names(self) -> list[str]:
        """Names of all collections."""
        return sorted({*self._collections, *self.broken})

    def all(self) -> list[Collection]:
        """All collections that serve."""
        return list(self._collections.values())

    def _check_new(self, name: str) -> None:
        check_name(name)
        aliases.refuse_taken(self.aliases, name)
        if name in self._collections or name in self.broken:
            raise ApiError(409, f"Wrong input: Collection `{name}` already exists!")
        if len(self._collections) >= self._most:
            raise ApiError(
                403,
                f"Forbidden: this service serves at most {self._most} collections "
                "(storage.max_collections); use one collection with a tenant field instead",
            )

    async def create(self, name: str, settings: dict[str, Any]) -> None:
        """Make a collection.

        Raises:
            ApiError: 409 it exists; 400 its name or settings are refused.
        """
        async with self._lock:
            self._check_new(name)
            folder = self.temporary / uuid.uuid4().hex
            shard = new_shard_name()
            channel = await Channel.start()
            try:
                await asyncio.to_thread((folder / shard).mkdir, parents=True, mode=0o750)
                meta: dict[str, object] = {"path": str(folder / shard), "settings": settings}
                await channel.call("create", meta=meta)
                await self._enlist(name, folder, Stored(settings, shard, time.time()), channel)
            except BaseException:
                await channel.kill()
                await asyncio.to_thread(files.remove_tree, folder)
                raise

    async def install(self, name: str, folder: Path, stored: Stored, channel: Channel) -> None:
        """Take over a collection's folder that was made elsewhere under ``temporary``."""
        async with self._lock:
            self._check_new(name)
            await self._enlist(name, folder, stored, channel)

    async def _enlist(self, name: str, folder: Path, stored: Stored, channel: Channel) -> None:
        target = self._home / name
        await asyncio.to_thread(files.write_atomic, folder / META, stored.dump())
        await asyncio.to_thread(files.move, folder, target)
        try:
            await channel.open(target / stored.shard, stored.settings)
        except BaseException:
            await asyncio.to_thread(files.move, target, self._trash / uuid.uuid4().hex)
            raise
        self._collections[name] = Collection(name, target, stored, channel)

    async def delete(self, name: str) -> bool:
        """Remove a collection; False if there was none."""
        async with self._lock:
            found = self._collections.pop(name, None)
            if found is None and self.broken.pop(name, None) is None:
                return False
            kept = {a: target for a, target in self.aliases.items() if target != name}
            if kept != self.aliases:
                await self._save_aliases(kept)
            trash = self._trash / uuid.uuid4().hex
            await asyncio.to_thread(files.move, self._home / name, trash)
            if found is not None:
                await found.discard()
            await asyncio.to_thread(files.remove_tree, trash)
            return True

    async def change_aliases(self, data: Json) -> None:
        """Create, delete and rename aliases: all of a request's actions or none.

        Raises:
            ApiError: 400 malformed, 404 no such collection or alias, 409 a collection's name.
        """
        async with self._lock:
            names = set(self.names())
            await self._save_aliases(aliases.changed(self.aliases, names, data, check_name))

    async def _save_aliases(self, names: aliases.Names) -> None:
        await asyncio.to_thread(aliases.save, self.storage / aliases.NAME, names)
        self.aliases = names

    async def exchange(self, one: str, other: str) -> None:
        """Exchange two collections' contents: durable, and both or neither whatever crashes.

        Raises:
            ApiError: 404 one of them is not there; 500 the file system cannot exchange folders.
        """
        async with self._lock:
            first, second = (self.get(name) for name in sorted((one, other)))
            async with first.unopened(), second.unopened():
                try:
                    await asyncio.to_thread(files.exchange, first.folder, second.folder)
                except OSError as error:
                    raise ApiError(
                        500, f"Service internal error: {self._home}: cannot exchange: {error}"
                    ) from error
                first.swap(second)

    async def close(self, seconds: float) -> None:
        """Flush and end all collections within ``seconds``."""
        await asyncio.gather(*(c.close(seconds) for c in self._collections.values()))
        if self._lock_handle >= 0:
            os.close(self._lock_handle)
            self._lock_handle = -1
