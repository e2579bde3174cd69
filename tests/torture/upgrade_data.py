"""A client of the gateway that keeps writing points, and knows which of them must be there."""

from __future__ import annotations

import contextlib
import ctypes
import hashlib
import http.client
import json
import os
import queue
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

T = TypeVar("T")
COLLECTION = "torture"
DIMENSIONS = 8
_PAGE = 500
_NEW_NETWORK = 0x40000000  # CLONE_NEWNET


class NetworkThread:
    """A thread that lives in another network namespace; what it is given, it does in order.

    Args:
        namespace: The namespace's name.
    """

    def __init__(self, namespace: str) -> None:
        self._work: queue.Queue[tuple[Callable[[], Any], queue.Queue[Any]]] = queue.Queue()
        self._namespace = Path("/run/netns") / namespace
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        handle = os.open(self._namespace, os.O_RDONLY)
        if ctypes.CDLL(None, use_errno=True).setns(handle, _NEW_NETWORK) != 0:
            raise OSError(ctypes.get_errno(), f"cannot enter {self._namespace}")
        while True:
            action, answer = self._work.get()
            try:
                answer.put((action(), None))
            except Exception as error:  # noqa: BLE001 - handed to whoever asked
                answer.put((None, error))

    def do(self, action: Callable[[], T]) -> T:
        """Do ``action`` there; return what it returns, raise what it raises."""
        answer: queue.Queue[Any] = queue.Queue()
        self._work.put((action, answer))
        result, error = answer.get()
        if error is not None:
            raise error
        return result  # type: ignore[no-any-return]


@dataclass(frozen=True)
class Gateway:
    """Where a site's gateway is, and the key to it.

    Args:
        address: Its IP address.
        authority: The site's CA, PEM.
        key: The API key.
    """

    address: str
    authority: Path
    key: str = field(repr=False)

    def ask(
        self, method: str, path: str, body: Any = None, seconds: float = 20.0
    ) -> tuple[int, Any, str]:
        """Send one request; return status, JSON and the header Retry-After."""
        context = ssl.create_default_context(cafile=str(self.authority))
        context.check_hostname = False
        connection = http.client.HTTPSConnection(
            self.address, 8443, timeout=seconds, context=context
        )
        with contextlib.closing(connection):
            text = None if body is None else json.dumps(body)
            headers = {"Authorization": f"Bearer {self.key}", "Content-Type": "application/json"}
            connection.request(method, path, text, headers)
            response = connection.getresponse()
            said = response.read()
            with contextlib.suppress(ValueError):
                return response.status, json.loads(said), response.headers.get("Retry-After", "")
            return response.status, said[:300].decode(errors="replace"), ""


def payload(number: int) -> dict[str, Any]:
    """Return what a point carries; it follows from its number."""
    return {"n": number, "text": hashlib.sha256(f"point {number}".encode()).hexdigest()}


def vector(number: int) -> list[float]:
    """Return a point's vector; it follows from its number."""
    raw = hashlib.sha256(f"vector {number}".encode()).digest()[:DIMENSIONS]
    return [1.0 + byte for byte in raw]


def point(number: int) -> dict[str, Any]:
    """Return a point as the REST interface takes it."""
    return {"id": number, "vector": vector(number), "payload": payload(number)}


@dataclass
class Writer:
    """Writes one point after the other; each is sent again until it is acknowledged.

    ``timeline`` holds the numbers of the acknowledged points, in order; ``pending`` is under way
    and may be there or not.

    Args:
        gateway: Where to write.
        thread: Where to do it.
        pause: Seconds between two points.
    """

    gateway: Gateway
    thread: NetworkThread
    pause: float = 0.1
    timeline: list[int] = field(default_factory=list)
    next_number: int = 1
    refused: int = 0
    failed: int = 0
    unkind: list[str] = field(default_factory=list)  # a 503 of the fence without Retry-After
    _going: threading.Event = field(default_factory=threading.Event)
    _ended: threading.Event = field(default_factory=threading.Event)

    def create(self, points: int) -> None:
        """Make the collection anew with a number of points."""
        path = f"/vectordb/collections/{COLLECTION}"
        body = {"vectors": {"size": DIMENSIONS, "distance": "Cosine"}}
        numbers = range(self.next_number, self.next_number + points)

        def make() -> None:
            self.gateway.ask("DELETE", path)
            for method, where, what in (
                ("PUT", path, body),
                ("PUT", f"{path}/points?wait=true", {"points": [point(n) for n in numbers]}),
            ):
                status, said, _ = self.gateway.ask(method, where, what, 60)
                if status != http.client.OK:
                    raise RuntimeError(f"{method} {where}: {status} {said}")

        self.thread.do(make)
        self.timeline = list(numbers)
        self.next_number += points

    def start(self) -> None:
        """Begin to write, in a thread."""
        self._going.set()
        self._ended.clear()
        threading.Thread(target=self._write, daemon=True).start()

    def stop(self) -> None:
        """End after the point under way; it is not acknowledged if the service does not answer."""
        self._going.clear()
        if not self._ended.wait(60):
            raise RuntimeError("the writer does not end")

    def abandon(self) -> None:
        """End whatever happens; what was written does not matter any more."""
        self._going.clear()

    @property
    def pending(self) -> int:
        """The number of the point that was sent, or would be sent next."""
        return self.next_number

    def _write(self) -> None:
        while self._going.is_set():
            try:
                acknowledged = self.thread.do(self._one)
            except (OSError, http.client.HTTPException):
                acknowledged = False
                self.failed += 1
            if acknowledged:
                self.timeline.append(self.next_number)
                self.next_number += 1
            time.sleep(self.pause if acknowledged else 0.5)
        self._ended.set()

    def _one(self) -> bool:
        path = f"/vectordb/collections/{COLLECTION}/points?wait=true"
        status, said, wait = self.gateway.ask("PUT", path, {"points": [point(self.next_number)]})
        if status == http.client.SERVICE_UNAVAILABLE:
            self.refused += 1
            if not wait:
                self.unkind.append(str(said)[:100])
        return status == http.client.OK

    # --- what is there -----------------------------------------------------------------------
    def present(self) -> tuple[list[int], list[str]]:
        """Return the numbers of all points that are there, and what is wrong with any of them."""
        return self.thread.do(self._present)

    def _present(self) -> tuple[list[int], list[str]]:
        found, wrong = [], []
        for each in self._scroll():
            found.append(int(each["id"]))
            if each["payload"] != payload(int(each["id"])):
                wrong.append(f"point {each['id']} carries {each['payload']}")
        return sorted(found), wrong

    def _scroll(self) -> Iterator[dict[str, Any]]:
        offset = None
        while True:
            body: dict[str, Any] = {"limit": _PAGE, "with_payload": True}
            if offset is not None:
                body["offset"] = offset
            status, said, _ = self.gateway.ask(
                "POST", f"/vectordb/collections/{COLLECTION}/points/scroll", body
            )
            if status != http.client.OK:
                raise RuntimeError(f"scroll: {status} {said}")
            yield from said["result"]["points"]
            offset = said["result"].get("next_page_offset")
            if offset is None:
                return

    def settle(self, snapshot: int | None) -> tuple[str, list[str]]:
        """Compare what is there with what was acknowledged; forget what a restore took away.

        Args:
            snapshot: How many points the data had that may have been put back; None if none may.

        Returns:
            ``kept`` or ``restored``, and what is wrong.
        """
        found, wrong = self.present()
        here, expected = set(found), self.timeline
        lost = [n for n in expected if n not in here]
        extra = sorted(here - set(expected) - {self.pending})
        if self.pending in here:
            self.timeline.append(self.pending)
            self.next_number += 1
        wrong += [f"points {extra[:5]} are there and were not, {len(extra)} in all"] * bool(extra)
        if not lost:
            return "kept", wrong
        first, last = expected.index(lost[0]), expected.index(lost[-1])
        whole = last - first + 1 == len(lost)
        # One that was under way when the fence was raised may have come in unacknowledged.
        restored = snapshot is not None and whole and first <= snapshot <= first + 1
        if not restored:
            wrong.append(f"{len(lost)} acknowledged points are gone, {lost[0]} to {lost[-1]}")
        self.timeline = [n for n in self.timeline if n in here]
        return "restored", wrong
