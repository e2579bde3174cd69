"""The fence, on a real service: what is refused, what goes on, and that files lie still."""

from __future__ import annotations

import functools
import hashlib
import random
import socket
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from qdrant_client import models

from bastide_vectordb.routes import ROUTES

pytestmark = [
    pytest.mark.integration,
    pytest.mark.filterwarnings("ignore:Api key is used with an insecure connection"),
]
DOT = models.VectorParams(size=8, distance=models.Distance.DOT)
PASS = "one-time-pass-of-the-tests"
READ_ONLY = "read-only-key-of-the-tests"
WRITERS, RANGE = 6, 10**6  # threads that write, and how many ids each has


def state(server: Any) -> dict[str, Any]:
    result: dict[str, Any] = server.http().get("/bastide/fence").json()["result"]
    return result


def wait_quiet(server: Any, seconds: float = 60) -> dict[str, Any]:
    until = time.monotonic() + seconds
    while not (found := state(server))["quiet"]:
        assert time.monotonic() < until, found
        time.sleep(0.05)
    return found


def hashes(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def points(start: int, number: int) -> list[dict[str, Any]]:
    return [{"id": n, "vector": [float(n + 1)] * 8} for n in range(start, start + number)]


def write_for_ever(server: Any, offset: int, done: threading.Event, log: list[Any]) -> None:
    """Upsert batches of ten; log first id, status and Retry-After of each."""
    with server.http() as http:
        for start in range(offset, offset + RANGE, 10):
            if done.is_set():
                return
            body = {"points": points(start, 10)}
            answer = http.put("/collections/c/points", json=body)
            log.append((start, answer.status_code, answer.headers.get("retry-after")))


def acknowledged(log: list[Any]) -> list[int]:
    return [start for start, status, _ in list(log) if status == 200]


def has_more(log: list[Any], number: int) -> bool:
    return len(acknowledged(log)) > number


def all_refused(log: list[Any], since: int) -> bool:
    """Return whether every writer has noted a refusal since then, and so all answers before it."""
    refused = {start // RANGE for start, status, _ in log[since:] if status == 503}
    return len(refused) == WRITERS


def test_what_was_acknowledged_is_stored_and_nothing_else(fenceable: Any) -> None:
    fenceable.client().create_collection("c", DOT)
    done, log = threading.Event(), []  # type: threading.Event, list[Any]
    writers = [
        threading.Thread(target=write_for_ever, args=(fenceable, n * RANGE, done, log))
        for n in range(WRITERS)
    ]
    for writer in writers:
        writer.start()
    for _ in range(4):
        enough = len(acknowledged(log)) + 5
        until(functools.partial(has_more, log, enough))
        fenceable.raise_fence()
        found = wait_quiet(fenceable)
        before = hashes(fenceable.folder / "storage")
        until(functools.partial(all_refused, log, len(log)))
        points = 10 * len(acknowledged(log))
        assert found == {"fenced": True, "quiet": True, "collections": {"c": points}}
        assert fenceable.client().query_points("c", query=[1.0] * 8, limit=3).points
        assert hashes(fenceable.folder / "storage") == before
        fenceable.lift_fence()
    until(functools.partial(has_more, log, len(acknowledged(log))))
    done.set()
    for writer in writers:
        writer.join()
    assert {(status, retry) for _, status, retry in log} == {(200, None), (503, "5")}
    wanted = {start + n for start in acknowledged(log) for n in range(10)}
    stored = {r.id for r in fenceable.client().scroll("c", limit=10**6, with_payload=False)[0]}
    assert stored == wanted


def test_every_write_is_refused_and_every_read_goes_on(fenceable: Any) -> None:
    client, http = fenceable.client(), fenceable.http()
    client.create_collection("c", DOT)
    client.upsert("c", [models.PointStruct(id=1, vector=[1.0] * 8)])
    fenceable.raise_fence()
    writing = [route for route in ROUTES if route.writes]
    assert len(writing) == 22
    for route in writing:
        path = route.path.format(collection="c", snapshot="s", field="f", vector="v")
        for headers in ({}, {"x-bastide-pass": ""}, {"x-bastide-pass": "wrong"}):
            answer = http.request(route.method, path, json={}, headers=headers)
            assert (answer.status_code, answer.headers["retry-after"]) == (503, "5"), route
            assert answer.json()["status"]["error"] == (
                "writes are refused while an upgrade is under way: try again"
            )
    for route in ROUTES:
        if not route.writes:
            path = route.path.format(collection="c", snapshot="s", point="1")
            assert http.request(route.method, path, json={}).status_code != 503, route
    assert client.count("c").count == 1
    passing = {"x-bastide-pass": PASS}
    body = {"points": points(7, 1)}
    assert http.put("/collections/c/points", json=body, headers=passing).status_code == 200
    assert wait_quiet(fenceable)["collections"] == {"c": 2}
    fenceable.stop()
    fenceable.start()  # the file is the truth
    http = fenceable.http()
    assert http.put("/collections/c/points", json=body).status_code == 503
    assert wait_quiet(fenceable)["collections"] == {"c": 2}
    fenceable.lift_fence()
    assert http.put("/collections/c/points", json=body).status_code == 200
    assert state(fenceable) == {"fenced": False, "quiet": False, "collections": {"c": 2}}


@pytest.mark.parametrize("content", ["", "{", "[]", '{"pass_sha256": ""}', '{"pass_sha256": 7}'])
def test_a_damaged_fence_refuses_everybody(fenceable: Any, content: str) -> None:
    fenceable.raise_fence(content)
    for headers in ({}, {"x-bastide-pass": ""}, {"x-bastide-pass": PASS}):
        answer = fenceable.http().delete("/collections/c", headers=headers)
        assert answer.status_code == 503


def test_only_the_full_key_may_ask(fenceable: Any) -> None:
    assert fenceable.http(READ_ONLY).get("/bastide/fence").status_code == 403
    assert fenceable.http(None).get("/bastide/fence").status_code == 401
    answer = fenceable.http(READ_ONLY).post("/bastide/exchange", json={"a": "c", "b": "d"})
    assert answer.status_code == 403


def fill(server: Any) -> Path:
    client = server.client()
    client.create_collection(
        "c",
        models.VectorParams(size=64, distance=models.Distance.COSINE),
        optimizers_config=models.OptimizersConfigDiff(indexing_threshold=10),
    )
    rng = random.Random(5)  # noqa: S311
    for start in range(0, 10_000, 1000):
        batch = [
            models.PointStruct(id=n, vector=[rng.uniform(-1, 1) for _ in range(64)])
            for n in range(start, start + 1000)
        ]
        client.upsert("c", batch)
    folder: Path = server.folder / "storage/collections/c"
    return folder


def until(true: Callable[[], object], seconds: float = 120) -> None:
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_an_optimisation_under_way_is_given_up_and_taken_up_again(fenceable: Any) -> None:
    folder = fill(fenceable)
    until(lambda: list(folder.glob("*.catchup")))
    fenceable.raise_fence()
    wait_quiet(fenceable)
    assert len(list(folder.iterdir())) == 2  # the collection's file and the one shard
    before = hashes(fenceable.folder / "storage")
    time.sleep(6)  # the service would find it worth optimising by now
    assert hashes(fenceable.folder / "storage") == before
    assert fenceable.client().get_collection("c").status == models.CollectionStatus.GREEN
    fenceable.lift_fence()
    until(lambda: (fenceable.client().get_collection("c").indexed_vectors_count or 0) > 9000)


def test_a_client_that_draws_out_a_write_does_not_hold_up_the_fence(fenceable: Any) -> None:
    fenceable.client().create_collection("c", DOT)
    head = (
        "{} HTTP/1.1\r\nhost: x\r\napi-key: full-key-of-the-tests\r\ncontent-length: 999\r\n"
        "content-type: multipart/form-data; boundary=b\r\n\r\n--b\r\n"
    )
    lines = [
        "POST /collections/c/snapshots/upload",
        "PUT /collections/c/points",
        "PATCH /collections/c",
    ]
    slow = [socket.create_connection(("127.0.0.1", fenceable.port)) for _ in lines]
    for connection, line in zip(slow, lines, strict=True):
        connection.sendall(head.format(line).encode())
    until(lambda: list((fenceable.folder / "storage/tmp").iterdir()))
    fenceable.raise_fence()
    wait_quiet(fenceable, 5)
    assert list((fenceable.folder / "storage/tmp").iterdir()) == []
    assert slow[0].recv(4096).startswith(b"HTTP/1.1 503 ")
    for connection in slow:
        connection.close()


def test_a_fence_path_must_be_absolute(make_server: Any) -> None:
    with pytest.raises(AssertionError, match=r"storage\.fence_path: expected an absolute path"):
        make_server(settings="  fence_path: here\n")
