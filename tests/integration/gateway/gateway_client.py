"""A model server and a vector DB that say what reached them, and a client that asks."""

from __future__ import annotations

import http.client
import json
from dataclasses import dataclass
from typing import Any

from bastide_host import gateway
from gateway_stand import Stand

# Answers as our model servers do: tokens in headers, and at the end of a stream in a comment. A
# request's body says what is wanted: {"prompt": N, "completion": N, "stream": bool, "gap": s}.
SERVER = r"""
import json, sys, threading, time, signal
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def do_GET(self):
        body = self.rfile.read(int(self.headers.get("content-length") or 0))
        try:
            wish = json.loads(body or b"{}")
        except ValueError:
            wish = {}
        if not isinstance(wish, dict):
            wish = {}
        if wish.get("stream"):
            return self.stream(wish)
        time.sleep(wish.get("gap", 0))
        said = json.dumps({"path": self.path, "headers": dict(self.headers)}).encode()
        self.send_response(200)
        self.send_header("content-length", str(len(said)))
        if "prompt" in wish:
            self.send_header("x-bastide-prompt-tokens", str(wish["prompt"]))
            self.send_header("x-bastide-completion-tokens", str(wish["completion"]))
        self.end_headers()
        self.wfile.write(said)
    do_POST = do_PUT = do_DELETE = do_GET
    def stream(self, wish):
        self.send_response(200)
        self.send_header("content-type", "text/event-stream; charset=utf-8")
        self.send_header("transfer-encoding", "chunked")
        self.send_header("x-bastide-prompt-tokens", str(wish["prompt"]))
        self.end_headers()
        for number in range(wish["completion"]):
            self.piece('data: {"text":"%d"}\n\n' % number)
            time.sleep(wish.get("gap", 0))
        end = ": bastide completion_tokens=%d\n\ndata: [DONE]\n\n" % wish["completion"]
        cut = wish.get("cut", len(end))  # into two packets
        self.piece(end[:cut])
        if end[cut:]:
            time.sleep(0.05)
            self.piece(end[cut:])
        self.wfile.write(b"0\r\n\r\n")
    def piece(self, text):
        data = text.encode()
        self.wfile.write(b"%x\r\n%s\r\n" % (len(data), data))
        self.wfile.flush()
    def log_message(self, *_):
        pass
class Server(ThreadingHTTPServer):
    request_queue_size = 1024
    def handle_error(self, *_):
        pass
server = Server(("127.0.0.1", int(sys.argv[1])), Handler)
server.daemon_threads = True
signal.signal(signal.SIGTERM, lambda *_: threading.Thread(target=server.shutdown).start())
server.serve_forever()
"""
CHAT, EMBED, MODELS = "/v1/chat/completions", "/v1/embeddings", "/v1/models"
COLLECTIONS = "/vectordb/collections"


@dataclass(frozen=True)
class Answer:
    """What came back."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        """The body as JSON."""
        return json.loads(self.body)

    @property
    def code(self) -> str:
        """OpenAI's error code."""
        return str(self.json["error"]["code"])


class Client:
    """A client that keeps its connection."""

    def __init__(self, stand: Stand, key: str | None) -> None:
        self.key = key
        self.connection = http.client.HTTPConnection("127.0.0.1", stand.port, timeout=30)

    def begin(
        self, method: str, path: str, body: Any = None, headers: dict[str, str] | None = None
    ) -> http.client.HTTPResponse:
        """Ask; return the answer as it begins."""
        given = {} if self.key is None else {"Authorization": f"Bearer {self.key}"}
        text = None if body is None else json.dumps(body).encode()
        self.connection.request(method, path, text, {**given, **(headers or {})})
        return self.connection.getresponse()

    def ask(
        self, method: str, path: str, body: Any = None, headers: dict[str, str] | None = None
    ) -> Answer:
        """Ask; return the whole answer."""
        answer = self.begin(method, path, body, headers)
        found = {name.lower(): value for name, value in answer.getheaders()}
        return Answer(answer.status, found, answer.read())

    def chat(self, prompt: int = 1, completion: int = 1, **more: Any) -> Answer:
        """Ask the model."""
        return self.ask("POST", CHAT, {"prompt": prompt, "completion": completion, **more})


def entries(stand: Stand, at_least: int = 0) -> list[dict[str, Any]]:
    """Return the audit log's entries; a line that begins like one and is none fails.

    A line is written after the client has its answer: ``at_least`` so many are waited for.
    """

    def found() -> list[str]:
        return [line for line in stand.log().splitlines(keepends=True) if line.startswith("{")]

    gateway.wait_until(lambda: len(found()) >= at_least, 10)
    return [json.loads(line) for line in found() if line.endswith("\n")]
