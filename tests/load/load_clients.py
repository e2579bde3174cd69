"""The clients of a load, and what they ask."""

from __future__ import annotations

import asyncio
import contextlib
import random
import signal
import ssl
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, TextIO

import httpx
from load_report import Line, Outcome, Stream, failures, summarise

COLLECTION = "bastide-load"
DIMENSIONS = 32
POINTS = 200  # written before the load begins; what queries look for
FIRST_WRITE = 1_000_000
GRACE = 120.0  # seconds for requests under way when the load ends
QUESTION = "Say in one sentence what a town wall is for."
_OK = 200
_UNAVAILABLE = 503


@dataclass(frozen=True)
class Wish:
    """What load to make.

    Args:
        url: The gateway's address, without a path.
        key: An API key that may write vectors.
        authority: The site CA's certificate, or None: whatever the system trusts.
        clients: How many clients of each kind ask at the same time.
        seconds: For how long requests begin.
        pause: Seconds between a client's requests.
        tokens: Tokens of an answer at most.
        stop: When this file exists, the load ends; or None.
        acknowledged: Where the ids of acknowledged writes go; or None.
    """

    url: str
    key: str
    authority: Path | None
    clients: dict[str, int]
    seconds: float
    pause: float = 0.05
    tokens: int = 24
    stop: Path | None = None
    acknowledged: Path | None = None


def vector_of(number: int) -> list[float]:
    """Return the vector of a point: always the same, and unlike any other's."""
    source = random.Random(number)  # noqa: S311
    return [source.uniform(-1, 1) for _ in range(DIMENSIONS)]


def connect(wish: Wish) -> httpx.AsyncClient:
    """Return a client that trusts only the site's CA and waits as long as the gateway does."""
    authority = str(wish.authority) if wish.authority else None
    most = sum(wish.clients.values()) + 2
    return httpx.AsyncClient(
        base_url=wish.url,
        verify=ssl.create_default_context(cafile=authority),
        headers={"Authorization": f"Bearer {wish.key}"},
        trust_env=False,
        timeout=httpx.Timeout(600.0, connect=30.0),
        limits=httpx.Limits(max_connections=most, max_keepalive_connections=most),
    )


@dataclass
class Load:
    """A load under way."""

    wish: Wish
    client: httpx.AsyncClient
    log: TextIO
    chat_model: str = ""
    embedding_model: str = ""
    lines: list[Line] = field(default_factory=list)
    ending: asyncio.Event = field(default_factory=asyncio.Event)
    next_write: int = FIRST_WRITE
    started: float = 0.0
    first_byte: dict[int, float] = field(default_factory=dict)

    async def prepare(self) -> None:
        """Learn the models' names and put in what queries look for."""
        models = (await self.client.get("/v1/models")).raise_for_status().json()["data"]
        self.chat_model, self.embedding_model = (model["id"] for model in models)
        place = f"/vectordb/collections/{COLLECTION}"
        if not (self.wish.clients.get("query") or self.wish.clients.get("write")):
            return  # another load beside this one may make it
        if (await self.client.get(f"{place}/exists")).json()["result"]["exists"]:
            return
        shape = {"vectors": {"size": DIMENSIONS, "distance": "Cosine"}}
        (await self.client.put(place, json=shape)).raise_for_status()
        points = [{"id": n, "vector": vector_of(n)} for n in range(POINTS)]
        answer = await self.client.put(f"{place}/points", json={"points": points})
        answer.raise_for_status()

    async def chat(self) -> Line:
        """Ask for a streamed answer, and read it to its end."""
        body = {
            "model": self.chat_model,
            "messages": [{"role": "user", "content": QUESTION}],
            "max_tokens": self.wish.tokens,
            "stream": True,
        }
        stream, began, first = Stream(), time.monotonic(), None
        status, error = 0, ""
        try:
            async with self.client.stream("POST", "/v1/chat/completions", json=body) as answer:
                status = answer.status_code
                if status != _OK:
                    error = (await answer.aread()).decode("utf-8", "replace")[:200]
                else:
                    async for line in answer.aiter_lines():
                        first = first or time.monotonic() - began
                        stream.take(line)
                    error = stream.verdict()
        except httpx.HTTPError as fault:
            error = f"{type(fault).__name__}: {fault}"
        outcome = Outcome.FAILED if error else Outcome.GOOD
        latency = time.monotonic() - began
        return Line(
            time.time(), "chat", outcome, status, latency, first, tokens=stream.tokens, error=error
        )

    async def query(self) -> Line:
        """Look for a point by its own vector: it must come first."""
        number = random.randrange(POINTS)  # noqa: S311
        body = {"query": vector_of(number), "limit": 3}
        path = f"/vectordb/collections/{COLLECTION}/points/query"
        return await self._simple(
            "query", path, body, lambda found: found["result"]["points"][0]["id"] == number
        )

    async def embedding(self) -> Line:
        """Ask for one embedding."""
        body = {"model": self.embedding_model, "input": QUESTION}
        return await self._simple(
            "embedding",
            "/v1/embeddings",
            body,
            lambda found: len(found["data"][0]["embedding"]) > 1,
        )

    async def write(self) -> Line:
        """Write one point; sent again for as long as it is refused properly."""
        number, self.next_write = self.next_write, self.next_write + 1
        body = {"points": [{"id": number, "vector": vector_of(number)}]}
        path = f"/vectordb/collections/{COLLECTION}/points?wait=true"
        began, retries = time.monotonic(), 0
        while True:
            outcome, status, error, again = await self._put(path, body)
            if again is None or self.ending.is_set():
                break
            retries += 1
            await self._sleep(again)
        if outcome is Outcome.GOOD and self.wish.acknowledged:
            with self.wish.acknowledged.open("a") as file:
                file.write(f"{number}\n")
        latency = time.monotonic() - began
        return Line(
            time.time(), "write", outcome, status, latency, latency, retries=retries, error=error
        )

    async def _put(self, path: str, body: object) -> tuple[Outcome, int, str, float | None]:
        """Return also after how many seconds to try again, if that was asked for."""
        try:
            answer = await self.client.put(path, json=body)
        except httpx.HTTPError as fault:
            return Outcome.FAILED, 0, f"{type(fault).__name__}: {fault}", None
        if answer.status_code == _OK:
            return Outcome.GOOD, _OK, "", None
        after = answer.headers.get("retry-after", "")
        if answer.status_code == _UNAVAILABLE and after.isdigit():
            return Outcome.REFUSED, _UNAVAILABLE, "", float(after)
        return Outcome.FAILED, answer.status_code, answer.text[:200], None

    async def _simple(
        self, kind: str, path: str, body: object, good: Callable[[Any], bool]
    ) -> Line:
        began, status, error = time.monotonic(), 0, ""
        try:
            answer = await self.client.post(path, json=body)
            status = answer.status_code
            if status != _OK:
                error = answer.text[:200]
            elif not good(answer.json()):
                error = "not the right answer"
        except httpx.HTTPError as fault:
            error = f"{type(fault).__name__}: {fault}"
        except (ValueError, KeyError, IndexError, TypeError):
            error = "not an answer of this API"
        outcome = Outcome.FAILED if error else Outcome.GOOD
        latency = time.monotonic() - began
        return Line(time.time(), kind, outcome, status, latency, latency, error=error)

    async def _sleep(self, seconds: float) -> None:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self.ending.wait(), seconds)

    async def repeat(self, ask: Callable[[], Awaitable[Line]]) -> None:
        """Be one client, until the load ends."""
        while not self.ending.is_set():
            line = await ask()
            self.lines.append(line)
            self.log.write(line.to_json() + "\n")
            await self._sleep(self.wish.pause)

    async def watch(self) -> None:
        """End the load when its time is over or the stop file appears."""
        deadline = time.monotonic() + self.wish.seconds
        while time.monotonic() < deadline and not self.ending.is_set():
            if self.wish.stop and self.wish.stop.exists():
                break
            await self._sleep(0.2)
        self.ending.set()


@contextlib.asynccontextmanager
async def _ended_by_signals(load: Load) -> AsyncIterator[None]:
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, load.ending.set)
    yield


async def run(wish: Wish, log: TextIO) -> dict[str, Any]:
    """Make the load; return its summary as a JSON object.

    Args:
        wish: What load.
        log: Where a line goes for every finished request.
    """
    async with connect(wish) as client:
        load = Load(wish, client, log)
        await load.prepare()
        kinds = {
            "chat": load.chat,
            "query": load.query,
            "embedding": load.embedding,
            "write": load.write,
        }
        began = time.time()
        async with _ended_by_signals(load):
            clients = [
                asyncio.create_task(load.repeat(kinds[kind]))
                for kind, count in wish.clients.items()
                for _ in range(count)
            ]
            await load.watch()
            ended = time.time()
            _, hanging = await asyncio.wait(clients, timeout=GRACE) if clients else (None, set())
        for task in hanging:
            task.cancel()
        for task in set(clients) - hanging:
            task.result()  # a fault of the load itself must not pass for silence
    summary = summarise(load.lines, began, ended)
    return {
        "format": "bastide.load/1",
        "seconds": round(ended - began, 3),
        "requests": len(load.lines) + len(hanging),
        "failed": failures(summary) + len(hanging),
        "hanging": len(hanging),
        "kinds": {kind: asdict(each) for kind, each in summary.items()},
    }


async def check(wish: Wish, numbers: list[int]) -> list[int]:
    """Return which acknowledged writes the vector DB does not have."""
    missing = []
    path = f"/vectordb/collections/{COLLECTION}/points"
    async with connect(wish) as client:
        for start in range(0, len(numbers), 500):
            part = numbers[start : start + 500]
            answer = (await client.post(path, json={"ids": part})).raise_for_status()
            found = {point["id"] for point in answer.json()["result"]}
            missing += [number for number in part if number not in found]
    return missing
