"""The HTTP process's end of one engine process."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import sys
from pathlib import Path
from typing import Any, cast

from bastide_vectordb import frames
from bastide_vectordb.errors import ApiError, refused

_GONE = "Service internal error: the collection's engine process ended; it is being restarted"


class Channel(asyncio.Protocol):
    """Requests to one engine process, pipelined over a socket pair."""

    def __init__(self) -> None:
        self._transport: asyncio.Transport | None = None
        self._waiting: dict[int, asyncio.Future[tuple[int, bytes]]] = {}
        self._responses = frames.Responses()
        self._number = 0
        self._process: asyncio.subprocess.Process | None = None
        self._ended = asyncio.get_running_loop().create_future()

    @classmethod
    async def start(cls) -> Channel:
        """Start an engine process and connect to it."""
        ours, theirs = socket.socketpair()
        try:
            process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-P",  # no module from the working directory
                "-m",
                "bastide_vectordb.worker",
                str(theirs.fileno()),
                pass_fds=[theirs.fileno()],
                env={k: v for k, v in os.environ.items() if not k.startswith("QDRANT__")},  # keys
                stdin=asyncio.subprocess.DEVNULL,
            )
        except BaseException:
            ours.close()
            raise
        finally:
            theirs.close()
        loop = asyncio.get_running_loop()
        _, channel = await loop.create_unix_connection(cls, sock=ours)
        channel._process = process  # noqa: SLF001 - an alternative constructor
        return channel

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Part of asyncio's protocol."""
        self._transport = cast("asyncio.Transport", transport)  # uvloop's is no subclass

    def data_received(self, data: bytes) -> None:
        """Part of asyncio's protocol."""
        for number, status, body in self._responses.feed(data):
            future = self._waiting.pop(number, None)
            if future is not None and not future.done():
                future.set_result((status, body))

    def connection_lost(self, exc: Exception | None) -> None:
        """Part of asyncio's protocol."""
        del exc
        waiting, self._waiting = self._waiting, {}
        for future in waiting.values():
            if not future.done():
                future.set_exception(ApiError(500, _GONE))
        if not self._ended.done():
            self._ended.set_result(None)

    @property
    def alive(self) -> bool:
        """Whether requests can be sent."""
        return not self._ended.done()

    @property
    def pid(self) -> int:
        """The engine's process id."""
        return self._process.pid if self._process is not None else 0

    def send(
        self, operation: str, body: bytes = b"", meta: dict[str, object] | None = None
    ) -> asyncio.Future[tuple[int, bytes]]:
        """Send one request; the future holds HTTP status and result or error text.

        Raises:
            ApiError: 500, the engine is gone.
        """
        if self._transport is None or not self.alive:
            raise ApiError(500, _GONE)
        self._number = (self._number + 1) & 0xFFFFFFFF
        future: asyncio.Future[tuple[int, bytes]] = asyncio.get_running_loop().create_future()
        self._waiting[self._number] = future
        self._transport.write(frames.request(self._number, operation, body, meta))
        return future

    async def call(
        self, operation: str, body: bytes = b"", meta: dict[str, object] | None = None
    ) -> bytes:
        """The JSON result of one request.

        Raises:
            ApiError: what the engine refused, with its status.
        """
        status, result = await self.send(operation, body, meta)
        if status >= 300:
            raise refused(status, result.decode())
        return result

    async def open(self, path: Path, settings: dict[str, Any], *, background: bool = False) -> None:
        """Load a shard; a background engine runs at low priority."""
        meta = {"path": str(path), "settings": settings, "background": background}
        await self.call("open", meta=meta)

    async def drained(self) -> None:
        """Wait until every request sent so far is answered."""
        if self._waiting:
            await asyncio.wait(list(self._waiting.values()))

    async def close(self, seconds: float) -> None:
        """Flush and end the engine; kill it after ``seconds``, which loses nothing.

        Acknowledged writes are in the write-ahead log, so a kill costs a replay at most.
        """
        if self._process is None:
            return
        try:
            async with asyncio.timeout(seconds):
                if self.alive:
                    await self.call("close")
                self._hang_up()
                await self._process.wait()
        except (TimeoutError, ApiError):
            await self.kill()

    async def kill(self) -> None:
        """End the engine at once."""
        if self._process is not None and self._process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                self._process.kill()
            await self._process.wait()
        self._hang_up()

    def _hang_up(self) -> None:
        if self._transport is not None:
            self._transport.close()
