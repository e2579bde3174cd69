"""The host agent asks model servers on loopback that speak the engine's API, well and badly."""

from __future__ import annotations

import http.server
import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from bastide_host.evaluate import evaluate
from bastide_host.host import AgentError, Paths

pytestmark = pytest.mark.integration

QUESTION = {"id": "q1", "messages": [{"role": "user", "content": "hello"}], "max_tokens": 8}
OTHER = {"id": "q2", "messages": [{"role": "user", "content": "bye"}], "max_tokens": 8}


class Server:
    """Echoes prompts a word at a time; the vector of a text is its length."""

    def __init__(self) -> None:
        self.asked: list[dict[str, Any]] = []
        self.fault = ""
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                outer.asked.append(body)
                if self.path == "/v1/chat/completions":
                    self.chat(body)
                else:
                    self.vectors(body)

            def answer(self, status: int, body: bytes) -> None:
                self.send_response(status)
                self.end_headers()
                self.wfile.write(body)

            def chat(self, body: dict[str, Any]) -> None:
                if outer.fault == "busy":
                    self.answer(503, b'{"error": {"message": "no slot"}}')
                    return
                words = body["messages"][0]["content"].split()
                events = [{"choices": [{"delta": {"role": "assistant"}}]}]
                events += [{"choices": [{"delta": {"content": f"{word} "}}]} for word in words]
                if outer.fault == "error":
                    events.append({"error": {"message": "out of memory"}})  # type: ignore[dict-item]
                text = "".join(f"data: {json.dumps(event)}\n\n" for event in events)
                end = "" if outer.fault == "cut" else "data: [DONE]\n\n"
                self.answer(200, (text + end).encode())

            def vectors(self, body: dict[str, Any]) -> None:
                if any(len(text) > 20 for text in body["input"]):
                    self.answer(400, b'{"error": {"message": "too long"}}')
                    return
                data = [
                    {"index": i, "embedding": [len(t) / 3]} for i, t in enumerate(body["input"])
                ]
                self.answer(200, json.dumps({"data": data[::-1]}).encode())

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002
                pass

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}/healthz"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture
def server() -> Iterator[Server]:
    found = Server()
    yield found
    found.close()


def host(root: Path, services: dict[str, str]) -> Paths:
    etc = root / "opt/bastide/generations/7/etc"
    etc.mkdir(parents=True)
    (root / "opt/bastide/current").symlink_to("generations/7")
    record = {"number": 7, "digest": "a" * 64, "release": "starter-2026.11.0"}
    (etc.parent / "generation.json").write_text(json.dumps(record))
    units = {f"bastide-{group}.service": url for group, url in services.items()}
    (etc / "host.json").write_text(json.dumps({"host": "host1", "services": units}))
    for group in services:
        (etc / f"{group}.json").write_text(json.dumps({"model": {"alias": f"the-{group}"}}))
    return Paths(root)


def test_answers_times_and_vectors_come_back(tmp_path: Path, server: Server) -> None:
    paths = host(tmp_path, {"llm": server.url, "embeddings": server.url})
    job = {
        "questions": [QUESTION, OTHER], "speed": [QUESTION], "compared": ["q1"], "rounds": 2,
        "texts": [{"id": "t", "text": "abcd"}], "parallel": 2, "seconds": 30,
    }  # fmt: skip
    found = evaluate(paths, job)
    assert found["host"] == "host1"
    assert (found["generation"], found["content"]) == (7, "a" * 64)
    assert found["models"] == {"llm": "the-llm", "embeddings": "the-embeddings"}
    answers = [(each["id"], each["round"], each["text"]) for each in found["answers"]]
    assert answers == [
        ("q1", 0, "hello "),
        ("q2", 0, "bye "),
        ("q2", 1, "bye "),
        ("q1", 1, "hello "),
    ]
    assert all(
        a["error"] == "" and 0 < a["first_seconds"] <= a["seconds"] for a in found["answers"]
    )
    assert found["vectors"] == {"t": [1.333333], "answer:q1:0": [2.0], "answer:q1:1": [2.0]}
    chat = [body for body in server.asked if "messages" in body]
    assert all(body["temperature"] == 0 and body["stream"] for body in chat)


def test_speed_prompts_begin_with_what_no_server_remembers(tmp_path: Path, server: Server) -> None:
    paths = host(tmp_path, {"llm": server.url})
    for _ in range(3):
        evaluate(paths, {"speed": [QUESTION, OTHER]})
    told = [body["messages"][0]["content"] for body in server.asked]
    assert len({text.splitlines()[0] for text in told}) == 6
    assert told[0].endswith("hello")


@pytest.mark.parametrize(
    ("fault", "words"),
    [("busy", "503 no slot"), ("error", "out of memory"), ("cut", "broke off")],
)
def test_a_bad_answer_is_told_with_its_reason(
    tmp_path: Path, server: Server, fault: str, words: str
) -> None:
    server.fault = fault
    found = evaluate(host(tmp_path, {"llm": server.url}), {"questions": [QUESTION]})
    assert words in found["answers"][0]["error"]


def test_a_dead_service_gives_reasons_not_an_exception(tmp_path: Path) -> None:
    dead = "http://127.0.0.1:9/healthz"
    paths = host(tmp_path, {"llm": dead, "embeddings": dead})
    found = evaluate(paths, {"questions": [QUESTION], "texts": [{"id": "t", "text": "x"}]})
    assert "refused" in found["answers"][0]["error"]
    assert "refused" in found["errors"]["t"]


def test_a_text_that_is_refused_does_not_spoil_the_others(tmp_path: Path, server: Server) -> None:
    texts = [
        {"id": "a", "text": "ab"},
        {"id": "long", "text": "x" * 21},
        {"id": "b", "text": "abc"},
    ]
    found = evaluate(host(tmp_path, {"embeddings": server.url}), {"texts": texts})
    assert set(found["vectors"]) == {"a", "b"}
    assert "too long" in found["errors"]["long"]
    assert found["answers"] == []
    assert found["models"]["llm"] == ""


def test_no_time_left_is_an_error_of_each_question(tmp_path: Path, server: Server) -> None:
    job = {"questions": [QUESTION], "texts": [{"id": "t", "text": "x"}], "seconds": 0}
    paths = host(tmp_path, {"llm": server.url, "embeddings": server.url})
    found = evaluate(paths, job)
    assert found["answers"][0]["error"] == "no time was left"
    assert found["errors"] == {"t": "no time was left"}


def test_a_host_without_a_generation_says_so(tmp_path: Path) -> None:
    with pytest.raises(AgentError, match="no generation") as caught:
        evaluate(Paths(tmp_path), {})
    assert caught.value.code == "BAS-7030"
