"""The middleware that says how many tokens an answer took, as model servers load it."""

from __future__ import annotations

import asyncio
import types
from collections.abc import Generator
from typing import Any

import pytest

from bastide import resources
from bastide.render.engine import TemplateFolder


@pytest.fixture(scope="module")
def usage() -> types.ModuleType:
    module = types.ModuleType("token_usage")
    text = TemplateFolder(resources.templates()).render("lib/token_usage.py.j2", {}).decode()
    exec(compile(text, "token_usage.py", "exec"), module.__dict__)  # noqa: S102 - our own
    return module


def answer(usage: types.ModuleType, pieces: list[bytes], kind: bytes, **told: int) -> Any:
    """Return the headers and body of an answer that read and wrote so many tokens."""
    sent: list[Any] = []

    async def app(_scope: Any, _receive: Any, send: Any) -> None:
        now = usage.current()
        for count in (told.get("read"), told.get("read_more")):
            if count is not None:
                now.read(count)
        if not told.get("late") and "wrote" in told:
            now.wrote(told["wrote"])
        await send({"type": "http.response.start", "status": 200,
                    "headers": [(b"content-type", kind)]})  # fmt: skip
        for number, piece in enumerate(pieces):
            if told.get("late") and number == len(pieces) - 1:
                now.wrote(told["wrote"])
            await send({"type": "http.response.body", "body": piece, "more_body": True})
        await send({"type": "http.response.body", "body": b""})

    async def send(message: Any) -> None:
        sent.append(message)

    asyncio.run(usage.CountTokens(app)({"type": "http"}, None, send))
    return dict(sent[0]["headers"]), b"".join(each["body"] for each in sent[1:])


def test_a_whole_answer_says_both_in_headers(usage: types.ModuleType) -> None:
    headers, body = answer(usage, [b"{}"], b"application/json", read=7, read_more=2, wrote=5)
    assert headers[b"x-bastide-prompt-tokens"] == b"9"
    assert headers[b"x-bastide-completion-tokens"] == b"5"
    assert body == b"{}"


def test_a_stream_says_the_second_in_a_comment_before_its_end(usage: types.ModuleType) -> None:
    pieces = [b'data: {"a":1}\n\n', b"data: [DONE]\n\n"]
    headers, body = answer(usage, pieces, b"text/event-stream", read=7, wrote=5, late=1)
    assert headers[b"x-bastide-prompt-tokens"] == b"7"
    assert b"x-bastide-completion-tokens" not in headers
    assert body == b'data: {"a":1}\n\n: bastide completion_tokens=5\n\ndata: [DONE]\n\n'


def test_an_answer_that_took_no_tokens_is_left_as_it_is(usage: types.ModuleType) -> None:
    headers, body = answer(usage, [b"data: [DONE]\n\n"], b"text/event-stream")
    assert headers == {b"content-type": b"text/event-stream"}
    assert body == b"data: [DONE]\n\n"


def test_a_counted_stream_passes_on_chunks_and_its_result(usage: types.ModuleType) -> None:
    def chunks() -> Generator[str, None, Any]:
        yield "a"
        yield "b"
        return types.SimpleNamespace(usage=types.SimpleNamespace(completion_tokens=2))

    noted = usage.Usage()
    stream = usage.counted(chunks(), noted)
    assert [next(stream), next(stream)] == ["a", "b"]
    with pytest.raises(StopIteration) as end:
        next(stream)
    assert end.value.value.usage.completion_tokens == 2
    assert noted.completion == 2


def test_closing_a_counted_stream_closes_what_it_reads(usage: types.ModuleType) -> None:
    closed = []

    def chunks() -> Generator[str, None, Any]:
        try:
            yield "a"
        finally:
            closed.append(True)

    stream = usage.counted(chunks(), usage.Usage())
    next(stream)
    stream.close()
    assert closed == [True]


@pytest.mark.parametrize("name", ["token_usage", "model_server"])
def test_what_model_servers_run_is_python(name: str) -> None:
    rendered = TemplateFolder(resources.templates()).render(f"lib/{name}.py.j2", {})
    compile(rendered, f"{name}.py", "exec")
