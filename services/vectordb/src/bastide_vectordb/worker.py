"""The engine process: ``python -m bastide_vectordb.worker FD``, started by the service only.

It serves one collection's shard over a socket, one request after the other, and ends when the
socket does. It ignores SIGTERM: the HTTP process asks it to close, after the last request.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import select
import signal
import socket
import sys
import time
from pathlib import Path
from typing import Any

import orjson

from bastide_vectordb import frames
from bastide_vectordb.engine import Engine
from bastide_vectordb.errors import from_engine
from bastide_vectordb.shard_files import create_shard
from bastide_vectordb.vector_names import of_shard

_TICK_MILLISECONDS = 1000
_RECEIVE_BYTES = 1 << 20
_PR_SET_PDEATHSIG = 1
_LOW_PRIORITY = 15


class Worker:
    """Answers frames; holds the shard once it is opened."""

    def __init__(self) -> None:
        self._engine: Engine | None = None

    def answer(self, operation: str, body: bytes, meta: dict[str, Any]) -> tuple[int, bytes]:
        """Status and JSON result, or error text, of one request."""
        try:
            if operation in ("create", "open"):
                return 200, self._open(operation, meta)
            if operation == "vector_names":
                return 200, orjson.dumps(sorted(of_shard(Path(str(meta["path"])))))
            if self._engine is None:
                return 500, b"Service internal error: the shard is not open"
            if operation != "close":
                return 200, self._engine.call(operation, body, meta)
            self._engine.close()
            self._engine = None
        except (KeyboardInterrupt, SystemExit):
            raise
        except BaseException as error:  # noqa: BLE001 - a panic in Rust is no Exception
            refused = from_engine(error)
            return refused.status, refused.message.encode()
        else:
            return 200, b"true"

    def _open(self, operation: str, meta: dict[str, Any]) -> bytes:
        path = Path(str(meta["path"]))
        if operation == "create":
            create_shard(path, meta["settings"])
        else:
            if meta.get("background"):
                with contextlib.suppress(OSError):  # a strict unit may forbid it
                    os.nice(_LOW_PRIORITY)
            self._engine = Engine(path, meta["settings"])
        return b"true"

    def tick(self, idle_seconds: float) -> None:
        """Upkeep between requests; a failed flush is reported and tried again."""
        try:
            if self._engine is not None:
                self._engine.tick(idle_seconds)
        except Exception as error:  # noqa: BLE001 - Edge raises nothing narrower
            sys.stderr.write(f"flush failed: {error}\n")


def serve(connection: socket.socket) -> None:
    """Answer requests until the other side closes."""
    worker = Worker()
    requests = frames.Requests()
    poll = select.poll()
    poll.register(connection, select.POLLIN)
    last = time.monotonic()
    while True:
        for number, operation, meta, body in requests:
            status, result = worker.answer(operation, body, meta)
            connection.sendall(frames.response(number, status, result))
            last = time.monotonic()
        worker.tick(time.monotonic() - last)
        if not poll.poll(_TICK_MILLISECONDS):
            continue
        data = connection.recv(_RECEIVE_BYTES)
        if not data:
            worker.answer("close", b"", {})
            return
        requests.feed(data)


def main() -> None:
    """Entry point of the engine process."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # A service that was killed must not leave an engine behind that holds the shard's lock.
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    try:
        serve(socket.socket(fileno=int(sys.argv[1])))
    except (BrokenPipeError, ConnectionResetError):
        return


if __name__ == "__main__":
    main()
