"""A web server on loopback that misbehaves as it is told."""

from __future__ import annotations

import contextlib
import http.server
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field


@dataclass
class Script:
    """What the server does.

    Args:
        content: The file that it serves at every path.
        failures: Status codes that it answers first, one a request.
        cut: How many bytes it sends before it closes the connection, one a request; None: all.
        content_type: Of its answers.
        ranges: Whether it honours Range.
    """

    content: bytes = b""
    failures: list[int] = field(default_factory=list)
    cut: list[int] = field(default_factory=list)
    content_type: str = "application/octet-stream"
    ranges: bool = True
    requests: list[dict[str, str]] = field(default_factory=list)
    redirect: str = ""


class _Handler(http.server.BaseHTTPRequestHandler):
    script: Script

    def do_GET(self) -> None:
        script = self.script
        script.requests.append({"path": self.path, **dict(self.headers.items())})
        if script.redirect and self.path != "/moved":
            self.send_response(302)
            self.send_header("Location", script.redirect)
            self.end_headers()
            return
        if script.failures:
            self.send_error(script.failures.pop(0))
            return
        wanted = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
        start = int(wanted[1]) if wanted and script.ranges else 0
        if start >= len(script.content) > 0 and start:
            self.send_error(416)
            return
        self._send(start)

    def _send(self, start: int) -> None:
        body = self.script.content[start:]
        self.send_response(206 if start else 200)
        self.send_header("Content-Type", self.script.content_type)
        self.send_header("Content-Length", str(len(body)))
        if start:
            total = len(self.script.content)
            self.send_header("Content-Range", f"bytes {start}-{total - 1}/{total}")
        self.end_headers()
        with contextlib.suppress(ConnectionError):  # the client may have had enough
            self.wfile.write(body[: self.script.cut.pop(0)] if self.script.cut else body)

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def serve(script: Script) -> Iterator[str]:
    """Serve ``script`` on a free port and return its address."""
    handler = type("Handler", (_Handler,), {"script": script})
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()
