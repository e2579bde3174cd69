"""Kills, restarts, snapshots and the swap to an optimised shard, on real processes."""

from __future__ import annotations

import ctypes
import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
from qdrant_client import models
from qdrant_client.http.exceptions import ResponseHandlingException, UnexpectedResponse

pytestmark = [
    pytest.mark.integration,
    pytest.mark.filterwarnings("ignore:Api key is used with an insecure connection"),
]
DOT = models.VectorParams(size=8, distance=models.Distance.DOT)


def points(start: int, number: int) -> list[models.PointStruct]:
    return [
        models.PointStruct(id=n, vector=[float(n)] * 8, payload={"n": n, "tenant": f"t{n % 3}"})
        for n in range(start, start + number)
    ]


def wait_until(true: Callable[[], bool], seconds: float = 120) -> None:
    until = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < until
        time.sleep(0.05)


def test_acknowledged_writes_survive_a_kill_while_writing(make_server: Any) -> None:
    server = make_server()
    client = server.client()
    client.create_collection("c", DOT)
    client.create_payload_index("c", "tenant", models.PayloadSchemaType.KEYWORD)
    acknowledged: list[int] = []

    def write() -> None:
        start = 0
        try:
            while True:
                client.upsert("c", points(start, 20), wait=True)
                acknowledged.append(start + 20)
                start += 20
        except (ResponseHandlingException, UnexpectedResponse):
            return

    writer = threading.Thread(target=write)
    writer.start()
    wait_until(lambda: len(acknowledged) > 50)
    engines = server.engines()
    server.kill()
    writer.join()
    wait_until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in engines), 10)

    server.start()
    client = server.client()
    stored = {record.id for record in client.scroll("c", limit=100_000)[0]}
    assert set(range(acknowledged[-1])) <= stored
    tenant = models.Filter(
        must=[models.FieldCondition(key="tenant", match=models.MatchValue(value="t1"))]
    )
    assert client.count("c", tenant).count == sum(n % 3 == 1 for n in stored)
    client.upsert("c", [models.PointStruct(id=0, vector=[7.0] * 8, payload={"new": True})])
    assert client.retrieve("c", [0])[0].payload == {"new": True}


def test_a_dead_engine_is_replaced_and_has_every_acknowledged_write(make_server: Any) -> None:
    server = make_server()
    client = server.client()
    client.create_collection("c", DOT)
    client.upsert("c", points(0, 100))
    (engine,) = server.engines()
    os.kill(engine, signal.SIGKILL)

    def answers() -> bool:
        answer = server.http().post("/collections/c/points/count", json={})
        assert answer.status_code in (200, 500)
        return bool(answer.status_code == 200 and answer.json()["result"]["count"] == 100)

    wait_until(answers, 30)
    assert client.upsert("c", points(100, 1)).status == models.UpdateStatus.COMPLETED
    assert server.http(None).get("/readyz").status_code == 200


def test_a_crash_in_the_middle_of_creation_or_deletion_leaves_nothing(make_server: Any) -> None:
    server = make_server()
    client = server.client()
    client.create_collection("kept", DOT)
    done = threading.Event()

    def churn() -> None:
        http = server.http()
        try:
            while not done.is_set():
                http.put("/collections/half", json={"vectors": {"size": 8, "distance": "Dot"}})
                http.delete("/collections/half")
        except httpx.HTTPError:
            return

    for _ in range(4):
        thread = threading.Thread(target=churn)
        thread.start()
        time.sleep(random.uniform(0.2, 0.6))  # noqa: S311
        server.kill()
        done.set()
        thread.join()
        done.clear()
        server.start()
        names = {c.name for c in server.client().get_collections().collections}
        assert "kept" in names
        assert names <= {"kept", "half"}
        for name in names:  # whatever is there is whole
            assert server.client().get_collection(name).points_count == 0
        assert not list((server.folder / "storage" / "tmp").iterdir())
        assert not list((server.folder / "storage" / "trash").iterdir())


def test_sigterm_ends_it_soon_and_flushed(make_server: Any) -> None:
    server = make_server()
    client = server.client()
    client.create_collection("c", DOT)
    client.upsert("c", points(0, 500), wait=False)
    engines = server.engines()
    assert server.stop() < 10
    assert not any(Path(f"/proc/{pid}").exists() for pid in engines)
    server.start()
    assert server.client().count("c").count == 500


FORBID = """
import ctypes, os, sys
assert ctypes.CDLL(None).prctl(65, 1, 0, 0, 0) == 0  # PR_SET_MDWE, what systemd 254 sets
os.execv(sys.executable, [sys.executable, *sys.argv[1:]])
"""


def test_it_runs_where_memory_may_not_be_writable_and_executable(make_server: Any) -> None:
    if ctypes.CDLL(None).prctl(66, 0, 0, 0, 0) < 0:  # PR_GET_MDWE
        pytest.skip("the kernel is older than 6.3")
    server = make_server(before=("-c", FORBID))
    client = server.client()
    client.create_collection("c", DOT)
    client.upsert("c", points(0, 10))
    assert client.query_points("c", query=[1.0] * 8, limit=1).points[0].id == 9


def test_the_engines_do_not_see_the_keys(server: Any) -> None:
    server.client().create_collection("c", DOT)
    (engine,) = server.engines()
    assert b"QDRANT__" not in Path(f"/proc/{engine}/environ").read_bytes()
    assert b"key" not in Path(f"/proc/{engine}/cmdline").read_bytes()


def test_a_second_process_on_the_same_storage_is_refused(make_server: Any, tmp_path: Path) -> None:
    server = make_server()
    text = (tmp_path / "config.yaml").read_text().replace(str(server.port), "1")
    (tmp_path / "other.yaml").write_text(text)
    other = subprocess.run(
        [sys.executable, "-m", "bastide_vectordb.main", "--config", str(tmp_path / "other.yaml")],
        check=False,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert other.returncode == 2
    assert "in use by another bastide-vectordb" in other.stderr


def test_a_damaged_collection_is_reported_and_the_others_serve(make_server: Any) -> None:
    server = make_server()
    client = server.client()
    client.create_collection("good", DOT)
    client.create_collection("bad", DOT)
    server.stop()
    (server.folder / "storage/collections/bad/collection.json").write_text("{")
    server.ready_seconds = 3
    with pytest.raises(AssertionError):  # never ready: one collection is not served
        server.start()
    http = server.http()
    assert http.get("/readyz").status_code == 503
    assert http.get("/collections/good").status_code == 200
    assert http.get("/collections/bad").status_code == 500
    assert http.get("/healthz").status_code == 200


def fill(server: Any, number: int = 3000) -> Any:
    """A collection that is optimised as soon as it is quiet: its threshold is 10 KB."""
    client = server.client()
    client.create_collection(
        "c",
        models.VectorParams(size=8, distance=models.Distance.COSINE),
        optimizers_config=models.OptimizersConfigDiff(indexing_threshold=10),
    )
    client.create_payload_index("c", "tenant", models.PayloadSchemaType.KEYWORD)
    rng = random.Random(5)  # noqa: S311
    for start in range(0, number, 500):
        client.upsert(
            "c",
            [
                models.PointStruct(
                    id=n,
                    vector=[rng.uniform(-1, 1) for _ in range(8)],
                    payload={"tenant": f"t{n % 3}"},
                )
                for n in range(start, start + 500)
            ],
        )
    return client


def shard(server: Any) -> str:
    data = json.loads((server.folder / "storage/collections/c/collection.json").read_text())
    return str(data["shard"])


def test_optimising_swaps_the_shard_and_loses_no_write_meanwhile(make_server: Any) -> None:
    server = make_server()
    client = fill(server)
    before = shard(server)
    model: dict[int, Any] = {n: {"tenant": f"t{n % 3}"} for n in range(3000)}
    rng = random.Random(6)  # noqa: S311

    def change() -> None:
        n = rng.randrange(3500)
        kind = rng.randrange(3)
        if kind == 0:
            model[n] = {"tenant": "new", "step": rng.randrange(99)}
            vector = [rng.uniform(-1, 1) for _ in range(8)]
            client.upsert("c", [models.PointStruct(id=n, vector=vector, payload=model[n])])
        elif kind == 1:
            model.pop(n, None)
            client.delete("c", [n])
        elif n in model:
            model[n] = {**model[n], "set": rng.randrange(99)}
            client.set_payload("c", {"set": model[n]["set"]}, points=[n])

    folder = server.folder / "storage/collections/c"
    wait_until(lambda: len(list(folder.glob("*.catchup"))) == 1)  # the copy is being optimised
    while shard(server) == before:
        change()
    for _ in range(50):
        change()
    records = client.scroll("c", limit=10_000)[0]
    assert {record.id: record.payload for record in records} == model
    info = client.get_collection("c")
    assert info.indexed_vectors_count > 2000
    assert sorted(p.name for p in folder.iterdir()) == ["collection.json", shard(server)]
    server.kill()
    server.start()
    records = server.client().scroll("c", limit=10_000)[0]
    assert {record.id: record.payload for record in records} == model


def test_a_kill_while_optimising_falls_back_to_the_old_shard(make_server: Any) -> None:
    server = make_server()
    client = fill(server)
    folder = server.folder / "storage/collections/c"
    wait_until(lambda: len(list(folder.glob("*.catchup"))) == 1)
    client.delete("c", [1, 2])
    server.kill()
    server.start()
    assert server.client().count("c").count == 2998
    assert sorted(p.name for p in folder.iterdir()) == ["collection.json", shard(server)]


def test_a_change_of_settings_does_not_wait_for_the_optimiser(make_server: Any) -> None:
    server = make_server()
    client = fill(server)
    folder = server.folder / "storage/collections/c"
    wait_until(lambda: len(list(folder.glob("*.catchup"))) == 1)
    client.update_collection("c", metadata={"owner": "tests"})
    assert client.get_collection("c").config.metadata == {"owner": "tests"}
    assert client.count("c").count == 3000
    wait_until(lambda: len(list(folder.iterdir())) == 2)  # nothing is left of the attempt
    client.delete_collection("c")
    assert not folder.exists()


def test_snapshots_restore_in_place_and_under_another_name(make_server: Any) -> None:
    server = make_server()
    client, http = server.client(), server.http()
    client.create_collection("c", DOT)
    client.create_payload_index("c", "n", models.PayloadSchemaType.INTEGER)
    client.upsert("c", points(0, 300))
    made = client.create_snapshot("c")
    assert [s.name for s in client.list_snapshots("c")] == [made.name]
    path = server.snapshots / "c" / made.name
    stamp = json.loads(path.with_name(path.name + ".json").read_text())
    assert (stamp["points"], stamp["edge"], stamp["sha256"]) == (300, "0.9.0", made.checksum)
    assert path.stat().st_size < 10_000_000  # preallocated files are not stored in full

    client.delete(
        "c", models.Filter(must=[models.FieldCondition(key="n", range=models.Range(gte=10))])
    )
    assert client.count("c").count == 10
    client.recover_snapshot("c", f"file://{path}", checksum=made.checksum)
    assert client.count("c").count == 300
    assert "n" in client.get_collection("c").payload_schema
    client.upsert("c", [models.PointStruct(id=5, vector=[0.0] * 8, payload={"later": 1})])
    assert client.retrieve("c", [5])[0].payload == {"later": 1}

    downloaded = http.get(f"/collections/c/snapshots/{made.name}").content
    assert len(downloaded) == made.size
    files = {"snapshot": ("x.snapshot", downloaded)}
    url = "/collections/copy/snapshots/upload?priority=snapshot"
    assert http.post(url, files=files).json()["result"] is True
    assert client.count("copy").count == 300
    server.stop()
    server.start()
    assert server.client().count("copy").count == 300
    assert server.client().delete_snapshot("c", made.name)
    assert list((server.snapshots / "c").iterdir()) == []


def test_damaged_or_foreign_snapshots_change_nothing(make_server: Any) -> None:
    server = make_server()
    client, http = server.client(), server.http()
    client.create_collection("c", DOT)
    client.upsert("c", points(0, 30))
    made = client.create_snapshot("c")
    whole = (server.snapshots / "c" / made.name).read_bytes()
    stamped = whole.replace(b'"edge":"0.9.0"', b'"edge":"0.8.0"', 1)
    fewer = whole.replace(b'"points":30', b'"points":31', 1)
    for content, says in (
        (b"", "snapshot"),
        (b"not a tar" * 1000, "snapshot"),
        (whole[: len(whole) // 2], "damaged"),
        (stamped, "made by Qdrant Edge 0.8.0"),
        (fewer, "30 points, expected 31"),
    ):
        answer = http.post("/collections/c/snapshots/upload", files={"snapshot": ("x", content)})
        assert answer.status_code == 400, answer.text
        assert says in answer.json()["status"]["error"]
        answer = http.post("/collections/new/snapshots/upload", files={"snapshot": ("x", content)})
        assert answer.status_code == 400
    wrong = http.post(
        "/collections/c/snapshots/upload?checksum=" + "0" * 64, files={"snapshot": ("x", whole)}
    )
    assert "checksum" in wrong.json()["status"]["error"]
    assert client.count("c").count == 30
    assert not client.collection_exists("new")
    assert not list((server.folder / "storage" / "tmp").iterdir())
