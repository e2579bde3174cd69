"""Pieces from host to host: a small TLS server while a host stages, and the client of others'.

Both sides show a certificate of this run's own CA, so that nobody else is answered or asked.
"""

from __future__ import annotations

import contextlib
import http.client
import os
import re
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from bastide_host.client import NO_CHECK_TIME
from bastide_host.host import Paths
from bastide_host.pieces import Piece, PieceFile

BLOCK = 256 << 10
CONNECTIONS = 64  # at most; further ones wait to be accepted
KEPT = 8  # connections to peers that a worker keeps
IDLE_SECONDS = 15.0  # a connection that moves nothing for so long is closed
CONNECT_SECONDS = 3.0
_PATH = re.compile(r"/pieces/([0-9]{1,9})")


class PeerError(Exception):
    """A peer did not give a piece; why, in words."""


class WrongPieceError(PeerError):
    """A peer gave other bytes than the control node's digests promise."""


def context_for(paths: Paths, *, server: bool) -> ssl.SSLContext | None:
    """Return TLS with this host's certificate of the run; None if it was given none."""
    own, authority = paths.run / "peer_pem", paths.run / "peers_ca_pem"
    protocol = ssl.PROTOCOL_TLS_SERVER if server else ssl.PROTOCOL_TLS_CLIENT
    context = ssl.SSLContext(protocol)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.verify_mode = ssl.CERT_REQUIRED
    try:
        context.load_cert_chain(own)
        context.load_verify_locations(authority)
    except OSError:  # also what OpenSSL cannot read
        return None
    context.verify_flags = ssl.VerifyFlags(context.verify_flags | NO_CHECK_TIME)
    return context


class _Handler(BaseHTTPRequestHandler):
    """One question of one peer: ``GET /pieces/<number>``."""

    protocol_version = "HTTP/1.1"  # a peer keeps its connection for the next piece
    server_version = "bastide-host"
    sys_version = ""
    timeout = IDLE_SECONDS
    server: _Server

    def do_GET(self) -> None:
        """Send a piece, if it is here."""
        asked = _PATH.fullmatch(self.path)
        found = self.server.find(int(asked[1])) if asked else None
        if found is None:
            self.send_response(HTTPStatus.NOT_FOUND)
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        descriptor, piece = found
        try:
            self.send_response(HTTPStatus.OK)
            self.send_header("Content-Length", str(piece.size))
            self.end_headers()
            for offset in range(0, piece.size, BLOCK):
                length = min(BLOCK, piece.size - offset)
                self.connection.sendall(os.pread(descriptor, length, piece.offset + offset))
        finally:
            os.close(descriptor)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002, ANN401 - its signature
        """Say nothing."""


class _Server(ThreadingHTTPServer):
    """A thread a connection; the TLS handshake happens there, so that none holds up the others."""

    daemon_threads = True
    block_on_close = False
    request_queue_size = 128

    def __init__(
        self, where: tuple[str, int], context: ssl.SSLContext, files: Iterable[PieceFile]
    ) -> None:
        self.address_family = socket.AF_INET6 if ":" in where[0] else socket.AF_INET
        self._files = {number: file for file in files for number in file.pieces}
        self._context = context
        self._slots = threading.BoundedSemaphore(CONNECTIONS)
        super().__init__(where, _Handler)

    def find(self, number: int) -> tuple[int, Piece] | None:
        """Return an open file and the piece in it; None if it is not here."""
        file = self._files.get(number)
        return file.read(number) if file else None

    def process_request(self, request: Any, client_address: Any) -> None:  # noqa: ANN401 - inherited
        self._slots.acquire()
        super().process_request(request, client_address)

    def process_request_thread(self, request: Any, client_address: Any) -> None:  # noqa: ANN401 - inherited
        try:
            request.settimeout(IDLE_SECONDS)
            with self._context.wrap_socket(request, server_side=True) as secured:
                self.finish_request(secured, client_address)
        except (OSError, ValueError):  # a peer that went away, or a stranger: its own matter
            pass
        finally:
            self.shutdown_request(request)
            self._slots.release()


@contextlib.contextmanager
def serving(paths: Paths, where: tuple[str, int], files: Iterable[PieceFile]) -> Iterator[bool]:
    """Give pieces to peers while the block lasts; tell whether that can be done.

    Args:
        paths: The host's paths.
        where: The host's own address, and the port.
        files: What the pieces are of.
    """
    context = context_for(paths, server=True)
    try:
        server = _Server(where, context, files) if context else None
    except OSError:  # the port is taken, or the address is not here: others do without us
        server = None
    if server is None:
        yield False
        return
    thread = threading.Thread(target=server.serve_forever, args=(0.1,), daemon=True)
    thread.start()
    try:
        yield True
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class Lines:
    """One worker's connections to peers; they are kept, because opening one takes a while.

    Args:
        context: TLS with this host's certificate.
    """

    def __init__(self, context: ssl.SSLContext) -> None:
        self._context = context
        self._kept: dict[tuple[str, int], http.client.HTTPSConnection] = {}

    def close(self) -> None:
        """Close them all."""
        while self._kept:
            self._kept.popitem()[1].close()

    def take(
        self, where: tuple[str, int], piece: Piece, seconds: float, enough: Callable[[], bool]
    ) -> bytearray | None:
        """Return a piece from a peer, verified; None if it was not wanted any more.

        Args:
            where: The peer's address and port.
            piece: Which.
            seconds: How long it may take.
            enough: Says whether it is not wanted any more.

        Raises:
            PeerError: The peer did not give it.
        """
        deadline = time.monotonic() + seconds
        content = bytearray(piece.size)
        try:
            connection, response = self._ask(where, piece)
            whole = _fill(response, content, deadline, enough)
        except (OSError, http.client.HTTPException) as error:
            raise PeerError(str(error) or type(error).__name__) from error
        if not whole:
            connection.close()
            return None
        if not piece.is_right(content):
            connection.close()
            raise WrongPieceError("wrong bytes")
        self._keep(where, connection)
        return content

    def _ask(
        self, where: tuple[str, int], piece: Piece
    ) -> tuple[http.client.HTTPSConnection, http.client.HTTPResponse]:
        if kept := self._kept.pop(where, None):
            try:
                return kept, _request(kept, piece)
            except (OSError, http.client.HTTPException):  # the peer has closed it since
                kept.close()
        fresh = http.client.HTTPSConnection(*where, timeout=CONNECT_SECONDS, context=self._context)
        fresh.connect()
        if fresh.sock is not None:
            fresh.sock.settimeout(IDLE_SECONDS)
        return fresh, _request(fresh, piece)

    def _keep(self, where: tuple[str, int], connection: http.client.HTTPSConnection) -> None:
        self._kept[where] = connection
        if len(self._kept) > KEPT:
            self._kept.pop(next(iter(self._kept))).close()


def _request(connection: http.client.HTTPSConnection, piece: Piece) -> http.client.HTTPResponse:
    connection.request("GET", f"/pieces/{piece.number}")
    response = connection.getresponse()
    if response.status != HTTPStatus.OK or response.length != piece.size:
        connection.close()
        raise PeerError(f"it answered {response.status}")
    return response


def _fill(
    response: http.client.HTTPResponse,
    content: bytearray,
    deadline: float,
    enough: Callable[[], bool],
) -> bool:
    """Read an answer's body into ``content``; return False if it is not wanted any more."""
    view, done = memoryview(content), 0
    while done < len(content):
        if enough():
            return False
        if time.monotonic() > deadline:
            raise PeerError(f"it is too slow: {done} bytes until now")
        count = response.readinto(view[done : done + BLOCK])
        if not count:
            raise PeerError("it broke off")
        done += count
    response.read()
    return True
