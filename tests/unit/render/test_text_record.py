"""What the record of prompts and answers says, and of which requests."""

from __future__ import annotations

import asyncio
import json
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from text_server import CANARY, CHAT, DONE, PLAIN, SSE, Server, sse

Serve = Callable[..., Server]


@pytest.fixture
def serve(tmp_path: Path) -> Serve:
    folder = tmp_path / "texts"
    folder.mkdir(mode=0o700)
    return lambda *pieces, kind=PLAIN: Server(folder, list(pieces), kind)


# --- what is recorded ------------------------------------------------------------------------
def test_a_question_and_its_answer_are_two_lines_of_one_request(serve: Serve) -> None:
    message = {"role": "assistant", "content": "Grüße"}
    server = serve(json.dumps({"choices": [{"message": message}]}).encode())
    body = json.dumps({"messages": [{"content": "Wer?"}], "n": 1}).encode()
    headers = {b"x-request-id": b"r-1", b"x-bastide-identity": b"app"}
    assert server.ask(body, headers=headers)[0] == 200
    assert server.asked == [body]
    opened, asked, answered = server.lines()
    stamp = {"format": "bastide.texts/1", "time": "2026-11-26T12:00:00.000Z"}
    assert opened == {**stamp, "event": "opened", "days": 30}
    assert asked == {**stamp, "event": "asked", "id": "r-1", "identity": "app", "path": CHAT,
                     "body": json.loads(body)}  # fmt: skip
    assert answered == {**stamp, "event": "answered", "id": "r-1", "status": 200, "whole": True,
                        "answer": [message]}  # fmt: skip
    file = server.folder / "2026-11-26.jsonl"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert "Grüße" in file.read_text()  # to be searched for as people write it


def test_who_asks_past_the_gateway_is_nobody(serve: Serve) -> None:
    server = serve(b"{}")
    server.ask()
    _, asked, answered = server.lines()
    assert asked["identity"] == "-"
    assert asked["id"] == answered["id"]
    assert len(asked["id"]) == 36


CHATTED = sse(
    {"choices": [{"index": 0, "delta": {"role": "assistant", "content": ""}}]},
    {"choices": [{"index": 0, "delta": {"reasoning_content": "hm"}}]},
    {"choices": [{"index": 0, "delta": {"content": "Hel"}}]},
    {"choices": [{"index": 1, "delta": {"content": "Oth"}}]},
    {"choices": [{"index": 0, "delta": {"content": "lo"}, "finish_reason": None}]},
    {"choices": [{"index": 1, "delta": {"content": "er"}}]},
    {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]},
)
TOOLS = sse(
    {"choices": [{"index": 0, "delta": {"tool_calls": [
        {"index": 0, "id": "c1", "function": {"name": "add", "arguments": ""}}]}}]},
    {"choices": [{"index": 0, "delta": {"tool_calls": [
        {"index": 0, "id": "c1", "function": {"name": "add", "arguments": '{"a"'}}]}}]},
    {"choices": [{"index": 0, "delta": {"tool_calls": [
        {"index": 1, "id": "c2", "function": {"name": "sub", "arguments": "{}"}},
        {"index": 0, "function": {"arguments": ":1}"}}]}}]},
)  # fmt: skip
COMPLETED = sse(
    {"choices": [{"index": 0, "text": "Hel"}]}, {"choices": [{"index": 0, "text": "lo"}]}
)
RESPONDED = sse(
    {"type": "response.created", "response": {"output": []}},
    {"type": "response.output_text.delta", "output_index": 0, "delta": "Hel"},
    {"type": "response.output_text.delta", "output_index": 0, "delta": "lo"},
)
OUTPUT = [{"type": "message", "content": [{"type": "output_text", "text": "Hello"}]}]
CALLS = [
    {"index": 0, "id": "c1", "function": {"name": "add", "arguments": '{"a":1}'}},
    {"index": 1, "id": "c2", "function": {"name": "sub", "arguments": "{}"}},
]


@pytest.mark.parametrize(
    ("pieces", "told"),
    [
        (CHATTED, [{"role": "assistant", "content": "Hello", "reasoning_content": "hm"},
                   {"content": "Other"}]),
        (TOOLS, [{"tool_calls": CALLS}]),
        (COMPLETED, [{"text": "Hello"}]),
        (RESPONDED, [{"type": "output_text", "text": "Hello"}]),
        ([*RESPONDED, *sse({"type": "response.completed", "response": {"output": OUTPUT}})],
         OUTPUT),
        ([b": bastide completion_tokens=5\n\n"], []),
    ],
)  # fmt: skip
def test_a_stream_is_put_together(serve: Serve, pieces: list[bytes], told: Any) -> None:
    server = serve(*pieces, DONE, kind=SSE)
    assert server.ask()[2] == b"".join(pieces) + DONE  # and goes out as it is
    (answered,) = server.lines("answered")
    assert (answered["whole"], answered["answer"]) == (True, told)


@pytest.mark.parametrize(
    ("body", "told"),
    [
        ({"choices": [{"text": "a"}, {"text": "b"}]}, ["a", "b"]),
        ({"output": OUTPUT}, OUTPUT),
        ({"detail": "no"}, {"detail": "no"}),
        ({"choices": "x"}, '{"choices": "x"}'),
    ],
)
def test_a_plain_answer_is_its_texts_or_all_of_it(serve: Serve, body: Any, told: Any) -> None:
    server = serve(json.dumps(body).encode())
    server.ask()
    assert server.lines("answered")[0]["answer"] == told


def test_a_stream_of_another_shape_is_recorded_as_it_is(serve: Serve) -> None:
    server = serve(b'data: {"choices":[{"delta":{"content":"x"},"index":[]}]}\n\n', DONE, kind=SSE)
    server.ask()
    assert "content" in server.lines("answered")[0]["answer"]


@pytest.mark.parametrize(
    ("body", "told"),
    [
        (b'{"a": 1, "a": 2}', {"a": 2}),
        (b'{"a": "\\ud800"}', {"a": "\ud800"}),
        ('{"a": "x\u2028y"}'.encode(), {"a": "x\u2028y"}),
        (b'{"a": NaN}', '{"a": NaN}'),
        (b'{"a": 1e999}', '{"a": 1e999}'),
        (b"[" * 100_000, "[" * 100_000),
        (b'{"x"\n', '{"x"\n'),
        (b"\xff\xfe", "\\xff\\xfe"),
        (b"", ""),
    ],
)
def test_whatever_is_given_becomes_one_line_that_can_be_read(
    serve: Serve, body: bytes, told: Any
) -> None:
    server = serve(b"{}")
    server.ask(body)
    assert server.asked == [body]
    assert server.lines("asked")[0]["body"] == told
    assert (server.folder / "2026-11-26.jsonl").read_bytes().count(b"\n") == 3


@pytest.mark.parametrize(
    ("method", "path"),
    [("POST", "/v1/embeddings"), ("GET", "/v1/models"), ("GET", "/metrics"), ("GET", "/healthz")],
)
def test_what_holds_no_text_or_is_kept_elsewhere_is_not_recorded(
    serve: Serve, method: str, path: str
) -> None:
    server = serve(b"{}")
    assert server.ask(CANARY.encode(), path, method=method)[0] == 200
    assert [each["event"] for each in server.lines()] == ["opened"]


@pytest.mark.parametrize("path", ["/v1/completions", "/v1/responses", "/v1/some/later/route"])
def test_every_other_post_is_recorded(serve: Serve, path: str) -> None:
    server = serve(b"{}")
    server.ask(path=path)
    assert [each["path"] for each in server.lines("asked")] == [path]


def test_a_websocket_is_refused(serve: Serve) -> None:
    server, sent = serve(), []

    async def receive() -> Any:
        return {"type": "websocket.connect"}

    async def send(message: Any) -> None:
        sent.append(message)

    asyncio.run(server.middleware({"type": "websocket", "path": "/v1/responses"}, receive, send))
    assert sent == [{"type": "websocket.close", "code": 1008}]
    assert server.asked == []


# --- how it ends -----------------------------------------------------------------------------
def test_a_client_that_leaves_a_stream(serve: Serve) -> None:
    server = serve(*CHATTED[:3], kind=SSE)
    server.leaves.set()
    server.ask()
    (answered,) = server.lines("answered")
    assert answered["whole"] is False
    assert answered["answer"][0]["content"] == "Hel"


def test_a_client_that_leaves_before_a_plain_answer(serve: Serve) -> None:
    server = serve()
    server.leaves.set()
    server.ask()
    assert server.lines("answered")[0]["whole"] is False


def test_a_client_that_leaves_before_it_has_asked_is_not_answered(serve: Serve) -> None:
    server = serve(b"{}")

    async def gone() -> Any:
        return {"type": "http.disconnect"}

    async def send(_message: Any) -> None:
        raise AssertionError

    scope = {"type": "http", "method": "POST", "path": CHAT, "headers": []}
    asyncio.run(server.middleware(scope, gone, send))
    assert server.asked == []


def test_a_server_that_fails(serve: Serve, capfd: pytest.CaptureFixture[str]) -> None:
    server = serve(*CHATTED[:3], kind=SSE)
    server.breaks = True
    with pytest.raises(RuntimeError):
        server.ask()
    assert server.lines("answered")[0]["whole"] is False
    assert CANARY not in capfd.readouterr().err


def test_a_request_that_is_cancelled_is_recorded_as_well(serve: Serve) -> None:
    server = serve(*CHATTED[:3], kind=SSE)

    async def app(_scope: Any, _receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200,
                    "headers": [(b"content-type", SSE)]})  # fmt: skip
        await send({"type": "http.response.body", "body": CHATTED[2], "more_body": True})
        hung.set()
        await asyncio.Event().wait()

    async def cancel() -> None:
        server.middleware._app = app
        task = asyncio.create_task(server.asks(b"{}"))
        await hung.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    hung = asyncio.Event()
    asyncio.run(cancel())
    (answered,) = server.lines("answered")
    assert (answered["whole"], answered["answer"]) == (False, [{"content": "Hel"}])
