"""Snapshots of collections: made, listed, deleted, restored."""

from __future__ import annotations

import asyncio
import hashlib
import importlib.metadata
import os
import time
import uuid
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import orjson

from bastide_vectordb import __version__, archive, files
from bastide_vectordb.channel import Channel
from bastide_vectordb.collection import Collection
from bastide_vectordb.errors import (
    ApiError,
    BadRequestError,
    NotFoundError,
    StartupError,
    UnsupportedError,
)
from bastide_vectordb.json_types import Json
from bastide_vectordb.registry import Registry, check_name
from bastide_vectordb.stored import Stored, new_shard_name

EDGE_VERSION = importlib.metadata.version("qdrant-edge-py")
_SUFFIX = ".snapshot"
_MARGIN = 64 << 20  # bytes that stay free


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _minor(version: str) -> tuple[str, ...]:
    return tuple(version.split(".")[:2])


def _check_version(stamp: archive.Stamp, name: str) -> None:
    if _minor(stamp.edge) != _minor(EDGE_VERSION):
        raise BadRequestError(
            f"{name}: made by Qdrant Edge {stamp.edge}, this is {EDGE_VERSION}; "
            "restore with a service of the same minor version"
        )


class Snapshots:
    """The snapshots below ``snapshots_path``.

    Args:
        root: ``storage.snapshots_path``.
        registry: The collections.
    """

    def __init__(self, root: Path, registry: Registry) -> None:
        self._root = root
        self._registry = registry

    def prepare(self) -> None:
        """Make the folder, drop what a crash left.

        Raises:
            StartupError: not writable.
        """
        try:
            self._root.mkdir(parents=True, exist_ok=True, mode=0o750)
            for left in self._root.glob("*/.tmp-*"):
                left.unlink()
        except OSError as error:
            raise StartupError(f"storage.snapshots_path {self._root}: {error}") from error

    def _folder(self, collection: str) -> Path:
        return self._root / check_name(collection)

    def path(self, collection: str, name: str) -> Path:
        """The file of a snapshot.

        Raises:
            NotFoundError: there is none of that name.
        """
        path = self._folder(collection) / name
        if "/" in name or not name.endswith(_SUFFIX) or name.startswith(".") or not path.is_file():
            raise NotFoundError(f"Snapshot {name} not found")
        return path

    @staticmethod
    def _stamp_path(path: Path) -> Path:
        return path.with_name(path.name + ".json")

    def _describe(self, path: Path) -> dict[str, Any]:
        try:
            stamp = orjson.loads(self._stamp_path(path).read_bytes())
        except (OSError, ValueError):
            stamp = {}
        status = path.stat()
        created = datetime.fromtimestamp(status.st_mtime, UTC).strftime("%Y-%m-%dT%H:%M:%S")
        return {
            "name": path.name,
            "creation_time": stamp.get("created", created),
            "size": status.st_size,
            "checksum": stamp.get("sha256"),
        }

    def list(self, collection: str) -> list[dict[str, Any]]:
        """Qdrant's descriptions of a collection's snapshots, oldest first."""
        return [self._describe(p) for p in sorted(self._folder(collection).glob(f"[!.]*{_SUFFIX}"))]

    def delete(self, collection: str, name: str) -> None:
        """Remove a snapshot and its stamp."""
        path = self.path(collection, name)
        path.unlink()
        self._stamp_path(path).unlink(missing_ok=True)
        files.sync_dir(path.parent)

    async def create(self, collection: Collection) -> dict[str, Any]:
        """Make a snapshot; writes wait only while the shard's files are copied.

        Raises:
            ApiError: 507, too little space.
        """
        copy = self._registry.temporary / f"copy-{uuid.uuid4().hex}"
        try:
            async with collection.frozen() as shard:
                await asyncio.to_thread(self._check_space, shard)
                await asyncio.to_thread(files.copy_tree, shard, copy)
                info = orjson.loads(await collection.read("info", b"", None))
            now = datetime.now(UTC)
            stamp = archive.Stamp(
                creator=__version__,
                edge=EDGE_VERSION,
                collection=collection.name,
                settings=collection.stored.settings,
                points=info["points_count"],
                created=now.strftime("%Y-%m-%dT%H:%M:%S"),
            )
            name = f"{collection.name}-{now.strftime('%Y-%m-%d-%H-%M-%S-%f')}{_SUFFIX}"
            return await asyncio.to_thread(self._write, copy, stamp, name)
        finally:
            await asyncio.to_thread(files.remove_tree, copy)

    def _check_space(self, shard: Path) -> None:
        need = files.used_bytes(shard) + _MARGIN
        for where in (self._root, self._registry.temporary):
            free = files.free_bytes(where)
            if free < need:
                raise ApiError(
                    507, f"Service internal error: {where}: {need} bytes needed, {free} are free"
                )

    def _write(self, copy: Path, stamp: archive.Stamp, name: str) -> dict[str, Any]:
        folder = self._folder(stamp.collection)
        folder.mkdir(exist_ok=True, mode=0o750)
        temporary = folder / f".tmp-{uuid.uuid4().hex}"
        try:
            digest = archive.pack(copy, stamp, temporary)
            size = temporary.stat().st_size
            beside = orjson.dumps({**asdict(stamp), "sha256": digest, "size": size})
            files.write_atomic(self._stamp_path(folder / name), beside)
            files.move(temporary, folder / name)
        finally:
            temporary.unlink(missing_ok=True)
        return self._describe(folder / name)

    def upload_path(self) -> Path:
        """Where an upload is written before it is restored."""
        return self._registry.temporary / f"upload-{uuid.uuid4().hex}{_SUFFIX}"

    def local(self, location: Json) -> Path:
        """The file that a recover request means.

        Raises:
            UnsupportedError: not a ``file://`` URL. The service never fetches anything.
            BadRequestError: not a file below ``snapshots_path``.
        """
        url = urlsplit(location) if isinstance(location, str) else None
        if url is None or url.scheme != "file" or url.netloc not in ("", "localhost"):
            raise UnsupportedError("recovery from anything but a file:// location on this host")
        path = Path(os.path.realpath(unquote(url.path)))
        if not path.is_relative_to(os.path.realpath(self._root)) or not path.is_file():
            raise BadRequestError(f"location: no such file below {self._root}")
        return path

    async def recover(self, name: str, source: Path, checksum: str | None) -> None:
        """Restore a collection, a new one or in place of the present one.

        Raises:
            ApiError: 400 damaged, of another version of the engine, or the wrong checksum;
                nothing is changed then.
        """
        check_name(name)
        if checksum and checksum.lower() != await asyncio.to_thread(_digest, source):
            raise BadRequestError(f"{source.name}: SHA-256 is not the given checksum {checksum}")
        folder = self._registry.temporary / f"recover-{uuid.uuid4().hex}"
        folder.mkdir(mode=0o750)
        channel: Channel | None = None
        try:
            shard = folder / new_shard_name()
            stamp = await asyncio.to_thread(archive.unpack, source, shard)
            _check_version(stamp, source.name)
            await self._prove(shard, stamp)
            channel = await Channel.start()
            if name in self._registry.names():
                await self._replace(self._registry.get(name), shard, stamp, channel)
            else:
                stored = Stored(stamp.settings, shard.name, time.time())
                await self._registry.install(name, folder, stored, channel)
        except BaseException:
            if channel is not None:
                await channel.kill()
            raise
        finally:
            await asyncio.to_thread(files.remove_tree, folder)

    async def _prove(self, shard: Path, stamp: archive.Stamp) -> None:
        """Open the restored shard and count its points, before anything uses it."""
        channel = await Channel.start()
        try:
            await channel.open(shard, stamp.settings)
            found = orjson.loads(await channel.call("info"))["points_count"]
            await channel.close(seconds=30)
        except ApiError as error:
            raise BadRequestError(f"snapshot does not open: {error.message}") from error
        finally:
            await channel.kill()
        if found != stamp.points:
            raise BadRequestError(f"snapshot is damaged: {found} points, expected {stamp.points}")

    async def _replace(
        self, collection: Collection, shard: Path, stamp: archive.Stamp, channel: Channel
    ) -> None:
        target = collection.folder / shard.name
        await asyncio.to_thread(files.move, shard, target)
        try:
            await channel.open(target, stamp.settings)
            await collection.replace(target, stamp.settings, channel)
        except BaseException:
            if collection.stored.shard != target.name:
                await asyncio.to_thread(files.remove_tree, target)
            raise
