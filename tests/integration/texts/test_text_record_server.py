"""The record of texts in a real server: many clients, clients that leave, a full disk, a kill."""

from __future__ import annotations

import http.client
import json
import os
import resource
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from bastide import resources
from bastide.render.engine import TemplateFolder

pytestmark = pytest.mark.integration

CHAT = "/v1/chat/completions"
# Streams as many pieces as it is asked for, until its client leaves; as the engine does.
SERVER = r"""
import asyncio, json, sys
import text_record, uvicorn
asked = 0
async def app(scope, receive, send):
    global asked
    if scope["type"] == "lifespan":
        while True:
            message = await receive()
            await send({"type": message["type"] + ".complete"})
            if message["type"] == "lifespan.shutdown":
                return
    body = (await receive())["body"]
    wish = json.loads(body or b"{}")
    asked += scope["method"] == "POST"
    kind = b"text/event-stream" if wish else b"application/json"
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", kind)]})
    left = asyncio.ensure_future(receive())
    for number in range(wish.get("pieces", 0)):
        piece = {"choices": [{"index": 0, "delta": {"content": f"{number} "}}]}
        text = f"data: {json.dumps(piece)}\n\n".encode()
        await send({"type": "http.response.body", "body": text, "more_body": True})
        await asyncio.sleep(wish["gap"])
        if left.done():
            return
    left.cancel()
    end = b"data: [DONE]\n\n" if wish else str(asked).encode()
    await send({"type": "http.response.body", "body": end})
recorded = text_record.RecordTexts(app, text_record.from_environment())
uvicorn.run(recorded, host="127.0.0.1", port=int(sys.argv[1]), log_level="warning")
"""


class Running:
    """The server, as a process.

    Args:
        folder: Where its files go.
        most: Bytes that a file may have; then writing fails.
    """

    def __init__(self, folder: Path, most: int | None = None) -> None:
        lib, self.texts, self.most = folder / "lib", folder / "texts", most
        for each in (lib, self.texts):
            each.mkdir(exist_ok=True, mode=0o700)
        text = TemplateFolder(resources.templates()).render("lib/text_record.py.j2", {})
        (lib / "text_record.py").write_bytes(text)
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = int(probe.getsockname()[1])
        self.env = {**os.environ, "PYTHONPATH": str(lib), "BASTIDE_TEXTS_DAYS": "30",
                    "STATE_DIRECTORY": str(self.texts)}  # fmt: skip
        self.process = self._start()

    def _start(self) -> subprocess.Popen[str]:
        def limit() -> None:
            if self.most is not None:
                resource.setrlimit(resource.RLIMIT_FSIZE, (self.most, self.most))

        process = subprocess.Popen(
            [sys.executable, "-c", SERVER, str(self.port)],
            env=self.env,
            stderr=subprocess.PIPE,
            text=True,
            preexec_fn=limit,  # noqa: PLW1509 - it only makes a system call
        )
        wait_until(lambda: self._answers(process))
        return process

    def _answers(self, process: subprocess.Popen[str]) -> bool:
        assert process.poll() is None, process.stderr and process.stderr.read()
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0

    def connect(self) -> http.client.HTTPConnection:
        """Return a new connection."""
        return http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)

    def get(self, path: str) -> tuple[int, str]:
        """Look at a page."""
        connection = self.connect()
        connection.request("GET", path)
        answer = connection.getresponse()
        return answer.status, answer.read().decode()

    def begin(self, number: str, **wish: Any) -> http.client.HTTPResponse:
        """Ask; return the answer as it begins."""
        connection = self.connect()
        connection.request("POST", CHAT, json.dumps(wish), {"X-Request-Id": number})
        return connection.getresponse()

    def end(self, how: signal.Signals = signal.SIGTERM) -> str:
        """End the process; return what it wrote to the journal."""
        self.process.send_signal(how)
        _, told = self.process.communicate(timeout=30)
        return told

    def lines(self, event: str) -> dict[str, dict[str, Any]]:
        """Return the lines of one kind, by request."""
        found = []
        for path in self.texts.glob("*.jsonl"):
            found += [json.loads(line) for line in path.read_text().split("\n") if line]
        return {each["id"]: each for each in found if each["event"] == event}


def wait_until(holds: Callable[[], bool]) -> None:
    """Wait for what must come; 20 s at most."""
    deadline = time.monotonic() + 20
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Running]:
    running = Running(tmp_path)
    yield running
    running.process.kill()
    running.process.wait()


def test_many_clients_at_once_are_recorded_each_with_its_own_answer(server: Running) -> None:
    def ask(number: int) -> bytes:
        return server.begin(str(number), pieces=20, gap=0, say=f"{number} " * 5000).read()

    with ThreadPoolExecutor(16) as pool:
        answers = list(pool.map(ask, range(64)))
    assert all(each.endswith(b"data: [DONE]\n\n") for each in answers)
    wait_until(lambda: len(server.lines("answered")) == 64)
    asked, answered = server.lines("asked"), server.lines("answered")
    assert set(asked) == set(answered) == {str(number) for number in range(64)}
    assert all(set(each["body"]["say"].split()) == {key} for key, each in asked.items())
    told = "".join(f"{number} " for number in range(20))
    assert all(each["answer"] == [{"content": told}] for each in answered.values())
    assert all(each["whole"] for each in answered.values())


def test_a_client_that_leaves_has_what_was_sent_recorded(server: Running) -> None:
    answer = server.begin("left", pieces=1000, gap=0.02)
    for _ in range(6):
        answer.readline()
    answer.close()
    wait_until(lambda: "left" in server.lines("answered"))
    line = server.lines("answered")["left"]
    assert line["whole"] is False
    assert line["answer"][0]["content"].startswith("0 1 2 ")
    assert line["answer"][0]["content"].split()[-1] != "999"


def test_a_server_that_stops_writes_what_it_has(server: Running) -> None:
    answer = server.begin("short", pieces=20, gap=0.02)
    answer.readline()
    server.process.send_signal(signal.SIGTERM)  # it finishes what it has begun
    assert answer.read().endswith(b"data: [DONE]\n\n")
    server.process.wait(30)
    assert server.lines("answered")["short"]["whole"] is True


def test_a_killed_server_leaves_the_question_and_the_next_goes_on(server: Running) -> None:
    answer = server.begin("killed", pieces=1000, gap=0.02)
    answer.readline()
    server.end(signal.SIGKILL)
    assert "killed" in server.lines("asked")
    assert "killed" not in server.lines("answered")
    server.process = server._start()
    server.begin("next", pieces=1, gap=0).read()
    wait_until(lambda: "next" in server.lines("answered"))


def test_a_full_disk_lets_nobody_ask(tmp_path: Path) -> None:
    server = Running(tmp_path, most=8192)
    try:
        answers = [
            server.begin(str(number), pieces=1, gap=0, say="x" * 2000) for number in range(9)
        ]
        bodies = [each.read() for each in answers]
        statuses = [each.status for each in answers]
        count = statuses.index(503)
        assert statuses == [200] * count + [503] * (9 - count)
        assert 0 < count < 5
        assert json.loads(bodies[-1])["error"]["code"] == "record_unavailable"
        assert answers[-1].headers["retry-after"] == "5"
        assert server.get("/metrics") == (200, str(count))  # nobody else was asked
        assert set(server.lines("asked")) == {str(number) for number in range(count)}
        told = server.end()
        assert "x" * 100 not in told
        assert "text record: it cannot be written, so requests are refused" in told
    finally:
        server.process.kill()
        server.process.wait()
