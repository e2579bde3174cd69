"""Two collections exchange their contents: in one step, under load, and whatever is killed."""

from __future__ import annotations

import random
import threading
import time
from typing import Any

import httpx
import pytest
from qdrant_client import models

pytestmark = [
    pytest.mark.integration,
    pytest.mark.filterwarnings("ignore:Api key is used with an insecure connection"),
]
DOT = models.VectorParams(size=8, distance=models.Distance.DOT)
PASS = "one-time-pass-of-the-tests"


def two(server: Any) -> tuple[Any, httpx.Client]:
    client, http = server.client(), server.http()
    for name, size, number in (("old", 8, 30), ("new", 4, 50)):
        client.create_collection(name, models.VectorParams(size=size, distance=models.Distance.DOT))
        batch = [models.PointStruct(id=n, vector=[n + 1.0] * size) for n in range(number)]
        client.upsert(name, batch)
    return client, http


def shape(client: Any, name: str) -> tuple[int, int]:
    info = client.get_collection(name)
    return info.config.params.vectors.size, client.count(name).count


def test_two_collections_are_exchanged_and_serve_on(fenceable: Any) -> None:
    client, http = two(fenceable)
    both = {"a": "old", "b": "new"}
    assert http.post("/bastide/exchange", json=both).json()["result"] is True
    assert (shape(client, "old"), shape(client, "new")) == ((4, 50), (8, 30))
    client.upsert("old", [models.PointStruct(id=99, vector=[1.0] * 4)])
    fenceable.kill()
    fenceable.start()
    client, http = fenceable.client(), fenceable.http()
    assert (shape(client, "old"), shape(client, "new")) == ((4, 51), (8, 30))
    fenceable.raise_fence()
    assert http.post("/bastide/exchange", json=both).status_code == 503
    passing = {"x-bastide-pass": PASS}
    assert http.post("/bastide/exchange", json=both, headers=passing).status_code == 200
    assert (shape(client, "old"), shape(client, "new")) == ((8, 30), (4, 51))
    for wrong, status in (
        ({"a": "old", "b": "none"}, 404),
        ({"a": "old", "b": "old"}, 400),
        ({"a": "old"}, 400),
        ({**both, "c": 1}, 400),
    ):
        answer = http.post("/bastide/exchange", json=wrong, headers=passing)
        assert answer.status_code == status, answer.text
    assert (shape(client, "old"), shape(client, "new")) == ((8, 30), (4, 51))


def read_for_ever(server: Any, done: threading.Event, bad: list[Any]) -> None:
    with server.http() as http:
        while not done.is_set():
            answer = http.post("/collections/old/points/query", json={"query": [1.0] * 8})
            if answer.status_code != 200 or len(answer.json()["result"]["points"]) < 1:
                bad.append(answer.text)


def write_for_ever(server: Any, done: threading.Event, bad: list[Any], wrote: list[int]) -> None:
    with server.http() as http:
        for n in range(1, 10**6):
            if done.is_set():
                return
            body = {"points": [{"id": n, "vector": [n + 1.0] * 8}]}
            answer = http.put("/collections/old/points", json=body)
            (wrote if answer.status_code == 200 else bad).append(n)


def test_no_request_fails_while_collections_are_exchanged(fenceable: Any) -> None:
    client = fenceable.client()
    for name, n in (("old", 1), ("new", 2)):
        client.create_collection(name, DOT)
        client.upsert(name, [models.PointStruct(id=0, vector=[float(n)] * 8)])
    done, bad, wrote = threading.Event(), [], []  # type: threading.Event, list[Any], list[int]

    threads = [threading.Thread(target=read_for_ever, args=(fenceable, done, bad))]
    threads += [threading.Thread(target=write_for_ever, args=(fenceable, done, bad, wrote))]
    for thread in threads:
        thread.start()
    for _ in range(6):
        answer = fenceable.http().post("/bastide/exchange", json={"a": "new", "b": "old"})
        assert answer.status_code == 200, answer.text
        time.sleep(0.1)
    done.set()
    for thread in threads:
        thread.join()
    assert bad == []
    stored: list[Any] = []
    for name in ("old", "new"):
        stored += [r.id for r in client.scroll(name, limit=10**5)[0] if r.id]
    assert sorted(stored) == wrote


def test_a_kill_leaves_both_before_or_both_after(fenceable: Any) -> None:
    two(fenceable)
    rng = random.Random(9)  # noqa: S311
    seen = set()
    for _ in range(12):
        done = threading.Event()

        def exchange(done: threading.Event = done) -> None:
            with fenceable.http() as http:
                try:
                    while not done.is_set():
                        http.post("/bastide/exchange", json={"a": "old", "b": "new"})
                except httpx.HTTPError:
                    return

        thread = threading.Thread(target=exchange)
        thread.start()
        time.sleep(rng.uniform(0, 0.6))
        fenceable.kill()
        done.set()
        thread.join()
        fenceable.start()
        client = fenceable.client()
        found = (shape(client, "old"), shape(client, "new"))
        assert found in {((8, 30), (4, 50)), ((4, 50), (8, 30))}
        seen.add(found)
    assert len(seen) == 2
