"""A model server with the record of texts before it, as the LLM's unit runs it."""

from __future__ import annotations

import asyncio
import json
import threading
import types
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from bastide import resources
from bastide.render.engine import TemplateFolder

NOON = datetime(2026, 11, 26, 12, tzinfo=UTC)
CHAT = "/v1/chat/completions"
CANARY = "the-words-of-somebody"
SSE = b"text/event-stream; charset=utf-8"
PLAIN = b"application/json"
DONE = b"data: [DONE]\n\n"


def load_record() -> types.ModuleType:
    """Return the module as hosts get it."""
    module = types.ModuleType("text_record")
    text = TemplateFolder(resources.templates()).render("lib/text_record.py.j2", {}).decode()
    exec(compile(text, "text_record.py", "exec"), module.__dict__)  # noqa: S102 - our own
    return module


RECORD = load_record()


def sse(*events: Any) -> list[bytes]:
    """Return server-sent events, one a piece."""
    return [f"data: {json.dumps(each)}\n\n".encode() for each in events]


class Clock:
    """A clock that goes only if it is told."""

    def __init__(self) -> None:
        self.now = NOON

    def __call__(self) -> datetime:
        return self.now

    def goes(self, **time: float) -> None:
        """Let time pass."""
        self.now += timedelta(**time)


class Server:
    """A model server that says what it is told to, with the record before it.

    Args:
        folder: Where texts are recorded.
        pieces: What it answers.
        kind: The answer's content type.
    """

    def __init__(self, folder: Path, pieces: list[bytes], kind: bytes = PLAIN) -> None:
        self.clock = Clock()
        self.folder = folder
        self.pieces, self.kind = pieces, kind
        self.status, self.breaks = 200, False
        self.asked: list[bytes] = []
        self.leaves = threading.Event()  # set: the client has left
        self.middleware = RECORD.RecordTexts(self.app, RECORD.Record(folder, 30, self.clock))

    async def app(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            return
        self.asked.append((await receive()).get("body", b""))
        start = {"type": "http.response.start", "status": self.status}
        await send({**start, "headers": [(b"content-type", self.kind)]})
        for piece in self.pieces:
            await send({"type": "http.response.body", "body": piece, "more_body": True})
        if self.breaks:
            raise RuntimeError(CANARY)
        if self.leaves.is_set():
            assert (await receive())["type"] == "http.disconnect"
            return
        await send({"type": "http.response.body", "body": b""})

    def ask(
        self,
        body: bytes = b'{"messages":[]}',
        path: str = CHAT,
        headers: dict[bytes, bytes] | None = None,
        method: str = "POST",
    ) -> tuple[int, dict[bytes, bytes], bytes]:
        """Ask, in a loop of its own, as ``asks`` does."""
        return asyncio.run(self.asks(body, path, headers, method))

    async def asks(
        self,
        body: bytes,
        path: str = CHAT,
        headers: dict[bytes, bytes] | None = None,
        method: str = "POST",
    ) -> tuple[int, dict[bytes, bytes], bytes]:
        """Ask; return status, headers and body of what comes back, once all is recorded."""
        scope = {"type": "http", "method": method, "path": path}
        given = [body[:3], body[3:]]  # as it comes over a network: in pieces
        sent: list[Any] = []

        async def receive() -> Any:
            if given:
                piece = given.pop(0)
                return {"type": "http.request", "body": piece, "more_body": bool(given)}
            return {"type": "http.disconnect"}

        async def send(message: Any) -> None:
            sent.append(message)

        try:
            await self.middleware(
                {**scope, "headers": list((headers or {}).items())}, receive, send
            )
        finally:
            self.settle()
        body = b"".join(each["body"] for each in sent[1:])
        return sent[0]["status"], dict(sent[0]["headers"]), body

    def settle(self) -> None:
        """Wait until everything is written."""
        self.middleware._writer.submit(lambda: None).result()

    def lines(self, event: str = "") -> list[dict[str, Any]]:
        """Return what is recorded: everything, or of one kind."""
        found = [
            json.loads(line)
            for path in sorted(self.folder.glob("*.jsonl"))
            for line in path.read_text().split("\n")[:-1]
        ]
        return [each for each in found if event in {"", each["event"]}]
