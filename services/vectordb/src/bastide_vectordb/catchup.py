"""Writes that arrive while a shard's copy is being optimised, kept for replay on the copy."""

from __future__ import annotations

import struct
from pathlib import Path

import orjson

from bastide_vectordb import frames
from bastide_vectordb.channel import Channel
from bastide_vectordb.errors import ApiError

_HEAD = struct.Struct("<BII")  # operation, length of meta, length of body


class Catchup:
    """An append-only file of writes, in the order in which the engine took them.

    It needs no flush to the disk: after a crash the old shard is used and this file is dropped.

    Args:
        path: The file; removed by ``close``.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file = path.open("w+b")
        self._end = 0
        self._done = 0

    def add(self, operation: str, body: bytes, meta: dict[str, object] | None) -> None:
        """Append one write."""
        extra = orjson.dumps({**(meta or {}), "wait": False, "replayed": True})
        code = frames.OPERATIONS.index(operation)
        self._file.seek(self._end)
        self._end += self._file.write(_HEAD.pack(code, len(extra), len(body)) + extra + body)

    async def replay(self, channel: Channel, until: int) -> None:
        """Repeat writes on ``channel`` until at most ``until`` bytes of them are left.

        A write that the first engine refused is refused again, in the same way: no error here.

        Raises:
            ApiError: 500, the second engine is gone or failed: the copy must not take over.
        """
        while self._end - self._done > until:
            self._file.seek(self._done)
            code, extra, length = _HEAD.unpack(self._file.read(_HEAD.size))
            meta = orjson.loads(self._file.read(extra))
            body = self._file.read(length)
            self._done += _HEAD.size + extra + length
            status, text = await channel.send(frames.OPERATIONS[code], body, meta)
            if status >= 500:
                raise ApiError(status, f"a write could not be repeated: {text.decode()}")

    def close(self) -> None:
        """Drop the file."""
        self._file.close()
        self._path.unlink(missing_ok=True)
