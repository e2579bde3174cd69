"""A stop answers what was begun."""

from __future__ import annotations

import json
import signal
import socket
import time
from typing import Any

import pytest
from qdrant_client import models

pytestmark = [
    pytest.mark.integration,
    pytest.mark.filterwarnings("ignore:Api key is used with an insecure connection"),
]
KEY = "full-key-of-the-tests"


def test_a_write_that_has_begun_is_carried_out_and_answered(make_server: Any) -> None:
    server = make_server()
    client = server.client()
    client.create_collection("c", models.VectorParams(size=4, distance=models.Distance.DOT))
    body = json.dumps({"points": [{"id": 1, "vector": [1.0, 2.0, 3.0, 4.0]}]}).encode()
    head = (
        "PUT /collections/c/points?wait=true HTTP/1.1\r\nhost: x\r\n"
        f"api-key: {KEY}\r\ncontent-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n"
    )
    with socket.create_connection(("127.0.0.1", server.port), timeout=30) as connection:
        connection.sendall(head.encode() + body[:10])
        client.get_collections()  # the service has read what came before this
        server.process.send_signal(signal.SIGTERM)
        until = time.monotonic() + 20
        while "Waiting for connections to close" not in server.log():
            assert time.monotonic() < until, server.log()
            time.sleep(0.05)
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", server.port), timeout=5)
        connection.sendall(body[10:])
        answer = connection.recv(1 << 16)
    assert answer.startswith(b"HTTP/1.1 200 "), answer
    server.process.wait(20)
    server.start()
    assert server.client().count("c").count == 1
