"""The ASGI application: HTTP in, Qdrant's envelopes out.

Written on bare ASGI: a search costs some hundred microseconds, and a framework's layers would
cost as much again.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable, MutableMapping
from typing import Any
from urllib.parse import parse_qs

import orjson

from bastide_vectordb import auth
from bastide_vectordb.actions import ACTIONS, Answer, Download
from bastide_vectordb.errors import ApiError, StartupError
from bastide_vectordb.fence import PASS
from bastide_vectordb.routes import Route, find
from bastide_vectordb.service import Service

_log = logging.getLogger(__name__)
_JSON = (b"content-type", b"application/json")
_CHUNK = 1 << 20
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]


class Request:
    """What an action may want to know of a request.

    Args:
        scope: ASGI's connection scope.
        receive: ASGI's receive.
        most: Largest body, bytes.
    """

    def __init__(self, scope: Message, receive: Receive, most: int) -> None:
        self.headers: list[tuple[bytes, bytes]] = scope["headers"]
        self._query: bytes = scope["query_string"]
        self._receive = receive
        self._most = most
        self._body: bytes | None = None

    def header(self, name: bytes) -> bytes:
        """A header's value, empty without it."""
        return next((value for key, value in self.headers if key == name), b"")

    def parameter(self, name: str, default: str = "") -> str:
        """A value of the query string."""
        return parse_qs(self._query.decode("latin-1")).get(name, [default])[-1]

    @property
    def wait(self) -> bool:
        """Whether the client waits until its write is on the disk."""
        return not self._query or self.parameter("wait", "true") != "false"

    async def chunks(self) -> AsyncIterator[bytes]:
        """The body as it arrives.

        Raises:
            ApiError: 400, the client went away.
        """
        while True:
            message = await self._receive()
            if message["type"] == "http.disconnect":
                raise ApiError(400, "Bad request: the client closed the connection")
            yield message.get("body", b"")
            if not message.get("more_body", False):
                return

    async def body(self) -> bytes:
        """The whole body; kept, so that it can be asked for again.

        Raises:
            ApiError: 413, larger than the service takes.
        """
        if self._body is None:
            self._body = await self._whole()
        return self._body

    async def _whole(self) -> bytes:
        parts, size = [], 0
        length = self.header(b"content-length")
        if length.isdigit() and int(length) > self._most:
            self._refuse()
        async for chunk in self.chunks():
            size += len(chunk)
            if size > self._most:
                self._refuse()
            parts.append(chunk)
        return b"".join(parts) if len(parts) != 1 else parts[0]

    def _refuse(self) -> None:
        raise ApiError(
            413,
            f"Payload too large: the body may have {self._most} bytes "
            "(service.max_request_size_mb); send fewer points at a time",
        )


class App:
    """The ASGI application.

    Args:
        service: What it serves.
    """

    def __init__(self, service: Service) -> None:
        self._service = service
        self.startup_error: StartupError | None = None

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """ASGI's entry point."""
        if scope["type"] == "lifespan":
            await self._lifespan(receive, send)
        elif scope["type"] == "http":
            await self._http(scope, receive, send)

    async def _lifespan(self, receive: Receive, send: Send) -> None:
        await receive()
        try:
            await self._service.start()
        except StartupError as error:
            self.startup_error = error
            await send({"type": "lifespan.startup.failed", "message": str(error)})
            return
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await self._service.stop()
        await send({"type": "lifespan.shutdown.complete"})

    async def _http(self, scope: Message, receive: Receive, send: Send) -> None:
        started = time.perf_counter()
        method: str = scope["method"]
        endpoint = "other"
        head = method == "HEAD"
        try:
            route, values = self._route(method, scope)
            endpoint = route.path
            request = Request(scope, receive, self._service.config.max_request_bytes)
            serve = self._write if route.writes else self._answer
            answer = await serve(route, values, request, started)
        except ApiError as error:
            answer = _refused(error, started)
        except asyncio.CancelledError:
            raise
        except Exception:  # noqa: BLE001 - the last line of defence: it is logged
            _log.exception("%s %s failed", method, endpoint)
            answer = _refused(ApiError(500, "Service internal error; see the log"), started)
        self._service.metrics.observe(
            method, endpoint, answer.status, time.perf_counter() - started
        )
        if isinstance(answer, Download):
            await _send_file(answer, send, head=head)
        else:
            await _send(answer, send, head=head)

    def _route(self, method: str, scope: Message) -> tuple[Route, dict[str, str]]:
        raw = scope.get("raw_path") or scope["path"].encode()
        path = raw.partition(b"?")[0].decode("latin-1")
        keys, headers = self._service.config.keys, scope["headers"]
        try:
            route, values = find(method, path)
        except ApiError:
            auth.check(keys, headers, path, reading=True)
            raise
        auth.check(keys, headers, route.path, reading=route.reading)
        return route, values

    async def _write(
        self, route: Route, values: dict[str, str], request: Request, started: float
    ) -> Answer:
        """Serve what a fence or a full disk refuses: at once, or after a body that was slow."""
        offered, fence = request.header(PASS), self._service.fence
        fence.check(offered)
        if route.action != "upload_snapshot":  # streamed, and ended by a fence: see there
            await request.body()
        if route.takes_room:
            self._service.require_room()
        with fence.writing(offered):
            return await self._answer(route, values, request, started)

    async def _answer(
        self, route: Route, values: dict[str, str], request: Request, started: float
    ) -> Answer:
        action = route.action
        if action in ACTIONS:
            return await ACTIONS[action](self._service, values, request, started)
        body = await request.body()
        result = await self._service.engine(route, values, body, wait=request.wait)
        return Answer.of(result, started)


def _refused(error: ApiError, started: float) -> Answer:
    body = {"status": {"error": error.message}, "time": time.perf_counter() - started}
    return Answer(error.status, orjson.dumps(body), [_JSON, *error.headers])


def _headers(answer: Answer, length: int) -> list[tuple[bytes, bytes]]:
    return [*answer.headers, (b"content-length", str(length).encode())]


async def _send(answer: Answer, send: Send, *, head: bool) -> None:
    headers = _headers(answer, len(answer.body))
    await send({"type": "http.response.start", "status": answer.status, "headers": headers})
    await send({"type": "http.response.body", "body": b"" if head else answer.body})


async def _send_file(answer: Download, send: Send, *, head: bool) -> None:
    size = answer.path.stat().st_size
    headers = _headers(answer, size)
    with contextlib.closing(await asyncio.to_thread(answer.path.open, "rb")) as file:
        await send({"type": "http.response.start", "status": answer.status, "headers": headers})
        while not head and (chunk := await asyncio.to_thread(file.read, _CHUNK)):
            await send({"type": "http.response.body", "body": chunk, "more_body": True})
        await send({"type": "http.response.body", "body": b""})
