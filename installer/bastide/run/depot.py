"""The depot: an HTTPS server on the control node from which hosts pull artifacts during a run.

``GET /sha256/<digest>`` with ``Authorization: Bearer <token>`` and, to resume, ``Range``. It serves
the listed digests and nothing else, over TLS 1.2 or newer, and only while the run lasts. It counts
the bytes that each host takes, which is where the live progress comes from. ``POST /swarm/…`` is
where hosts that give each other pieces ask which one to take next.
"""

from __future__ import annotations

import contextlib
import hmac
import io
import json
import os
import re
import socket
import ssl
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from bastide.errors import PreflightError
from bastide.run.ranges import ByteRange, UnsatisfiableRangeError, parse_range
from bastide.run.swarm_desk import SwarmDesk

CANNOT_LISTEN = "BAS-5060"
CHUNK = 1 << 20  # bytes read and sent at once
IDLE_SECONDS = 60.0  # a connection that moves nothing for so long is closed
CONNECTIONS = 256  # at most; further ones wait to be accepted
QUESTION = 4 << 20  # the longest question of a host in bytes: numbers of pieces

_PATH = re.compile(r"/sha256/(?P<digest>[0-9a-f]{64})")


@dataclass(frozen=True)
class Identity:
    """The depot's certificate chain and private key, both PEM."""

    certificate_pem: str
    key_pem: str = field(repr=False)


class Traffic:
    """How many bytes each host address has taken; safe to read while they are counted."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._bytes: dict[str, int] = {}

    def add(self, address: str, amount: int) -> None:
        """Count ``amount`` bytes sent to ``address``."""
        with self._lock:
            self._bytes[address] = self._bytes.get(address, 0) + amount

    def by_address(self) -> dict[str, int]:
        """Return the bytes so far by host address."""
        with self._lock:
            return dict(self._bytes)


def tls_context(identity: Identity) -> ssl.SSLContext:
    """Return a server context for ``identity``; its key touches memory only, never a disk."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    descriptor = os.memfd_create("bastide-depot", os.MFD_CLOEXEC)
    try:
        os.write(descriptor, (identity.certificate_pem + identity.key_pem).encode())
        context.load_cert_chain(f"/proc/self/fd/{descriptor}")
    finally:
        os.close(descriptor)
    return context


class _Handler(BaseHTTPRequestHandler):
    """One connection of one host."""

    protocol_version = "HTTP/1.1"  # a host keeps its connection for many small artifacts
    server_version = "bastide-depot"
    sys_version = ""
    timeout = IDLE_SECONDS
    server: _Server

    def do_GET(self) -> None:
        """Send a blob, or part of it."""
        self._answer(with_body=True)

    def do_HEAD(self) -> None:
        """Say how large a blob is."""
        self._answer(with_body=False)

    def do_POST(self) -> None:
        """Answer a question about pieces."""
        desk, length = self.server.desk, self.headers.get("Content-Length", "")
        self.close_connection = True
        if not self._is_authorised():
            self._refuse(HTTPStatus.UNAUTHORIZED, {"WWW-Authenticate": "Bearer"})
        elif desk is None or not self.path.startswith("/swarm/"):
            self._refuse(HTTPStatus.NOT_IMPLEMENTED)
        elif not length.isdecimal() or len(length) > 9 or int(length) > QUESTION:
            self._refuse(HTTPStatus.REQUEST_ENTITY_TOO_LARGE)
        else:
            self._ask(desk, self.rfile.read(int(length)))

    def _ask(self, desk: SwarmDesk, question: bytes) -> None:
        try:
            answer = json.dumps(desk.answer(self.path, question)).encode()
        except ValueError:
            self._refuse(HTTPStatus.BAD_REQUEST)
            return
        self.close_connection = False
        self.send_response(HTTPStatus.OK)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def _answer(self, *, with_body: bool) -> None:
        if not self._is_authorised():
            self.close_connection = True
            self._refuse(HTTPStatus.UNAUTHORIZED, {"WWW-Authenticate": "Bearer"})
            return
        found = _PATH.fullmatch(self.path)
        blob = self.server.blobs.get(found["digest"]) if found else None
        if found is None or blob is None:
            self._refuse(HTTPStatus.NOT_FOUND)
            return
        try:
            with blob.open("rb") as stream:
                self._send(found["digest"], stream, with_body=with_body)
        except FileNotFoundError:
            self._refuse(HTTPStatus.GONE)

    def _is_authorised(self) -> bool:
        given = self.headers.get("Authorization", "").encode("utf-8", "replace")
        return hmac.compare_digest(given, b"Bearer " + self.server.token)

    def _send(self, digest: str, stream: io.BufferedReader, *, with_body: bool) -> None:
        size = os.fstat(stream.fileno()).st_size
        try:
            part = parse_range(self.headers.get("Range"), size)
        except UnsatisfiableRangeError:
            refusal = HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE
            self._refuse(refusal, {"Content-Range": f"bytes */{size}"})
            return
        self.send_response(HTTPStatus.PARTIAL_CONTENT if part else HTTPStatus.OK)
        if part:
            self.send_header("Content-Range", f"bytes {part.first}-{part.end - 1}/{size}")
        part = part or ByteRange(0, size)
        self.send_header("Content-Length", str(part.length))
        self.send_header("Content-Type", "application/octet-stream")
        self.send_header("Accept-Ranges", "bytes")
        self.send_header("ETag", f'"{digest}"')
        self.end_headers()
        if with_body:
            self._stream(stream, part)

    def _stream(self, stream: io.BufferedReader, part: ByteRange) -> None:
        stream.seek(part.first)
        left = part.length
        buffer = memoryview(bytearray(min(CHUNK, max(left, 1))))
        while left:
            count = stream.readinto(buffer[: min(left, len(buffer))])
            if not count:  # the blob shrank: the host sees a short answer and fails its digest
                self.close_connection = True
                return
            self.connection.sendall(buffer[:count])
            self.server.traffic.add(str(self.client_address[0]), count)
            left -= count

    def _refuse(self, status: HTTPStatus, headers: Mapping[str, str] | None = None) -> None:
        body = f"{status.value} {status.phrase}\n".encode()
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("Content-Type", "text/plain; charset=utf-8")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002, ANN401 - its signature
        """Say nothing: the run has its own log."""


class _Server(ThreadingHTTPServer):
    """A thread a connection; the TLS handshake happens there, so that none holds up the others."""

    daemon_threads = True
    block_on_close = False
    request_queue_size = CONNECTIONS

    def __init__(
        self, where: tuple[str, int], context: ssl.SSLContext, blobs: Mapping[str, Path], token: str
    ) -> None:
        self.address_family = socket.AF_INET6 if ":" in where[0] else socket.AF_INET
        self.blobs = blobs
        self.token = token.encode()
        self.traffic = Traffic()
        self.desk: SwarmDesk | None = None
        self._context = context
        self._slots = threading.BoundedSemaphore(CONNECTIONS)
        self._open: set[socket.socket] = set()
        super().__init__(where, _Handler)

    def process_request(self, request: Any, client_address: Any) -> None:  # noqa: ANN401 - inherited
        self._slots.acquire()
        super().process_request(request, client_address)

    def process_request_thread(self, request: Any, client_address: Any) -> None:  # noqa: ANN401 - inherited
        try:
            with self._secured(request) as secured:
                self.finish_request(secured, client_address)
        except (OSError, ValueError):  # a host that went away or does not speak TLS: its own matter
            pass
        finally:
            self.shutdown_request(request)
            self._slots.release()

    @contextlib.contextmanager
    def _secured(self, request: socket.socket) -> Iterator[ssl.SSLSocket]:
        request.settimeout(IDLE_SECONDS)
        request.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        secured = self._context.wrap_socket(request, server_side=True)
        self._open.add(secured)
        try:
            yield secured
        finally:
            self._open.discard(secured)
            with contextlib.suppress(OSError):
                secured.close()

    def hang_up(self) -> None:
        """End every connection that is still open."""
        for connection in list(self._open):
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)


class Depot:
    """Serves blobs while its ``with`` block lasts.

    Args:
        where: The control node's address and the port to listen on; port 0 takes any free one.
        identity: Certificate and key.
        token: What hosts must show; it should be random and of one run only.
        blobs: What is served: path by SHA-256.
        desk: Who tells hosts which pieces to give each other; None if they do not.
    """

    def __init__(
        self,
        where: tuple[str, int],
        identity: Identity,
        token: str,
        blobs: Mapping[str, Path],
        desk: SwarmDesk | None = None,
    ) -> None:
        self._where = where
        self._context = tls_context(identity)
        self._token = token
        self._blobs = dict(blobs)
        self._desk = desk
        self._server: _Server | None = None
        self.traffic = Traffic()

    def __enter__(self) -> Self:
        try:
            self._server = _Server(self._where, self._context, self._blobs, self._token)
        except OSError as error:
            raise _cannot_listen(self._where, error) from error
        self._server.traffic = self.traffic
        self._server.desk = self._desk
        threading.Thread(
            target=self._server.serve_forever,
            kwargs={"poll_interval": 0.05},
            name="depot",
            daemon=True,
        ).start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()
            self._server.hang_up()
            self._server = None

    def from_peers(self) -> dict[str, int]:
        """Return the bytes that hosts have taken from each other, by the taker's name."""
        return self._desk.from_peers() if self._desk else {}

    @property
    def port(self) -> int:
        """The port it listens on."""
        return int(self._server.server_address[1]) if self._server else self._where[1]


def _cannot_listen(where: tuple[str, int], error: OSError) -> PreflightError:
    address, port = where
    hint = (
        f"see who listens with `ss -ltnp 'sport = :{port}'`, or choose another network.depot_port"
    )
    if error.errno == 99:  # EADDRNOTAVAIL
        hint = "network.control_address in site.yaml must be an address of this machine"
    return PreflightError(
        f"the depot, from which hosts pull artifacts, cannot listen on {address} port {port}:"
        f" {error.strerror}; nothing was changed",
        code=CANNOT_LISTEN,
        hint=hint,
    )
