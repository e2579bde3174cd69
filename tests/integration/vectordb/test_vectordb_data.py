"""The host agent's care for data, with the real service: snapshot, restore, kills, damage."""

from __future__ import annotations

import hashlib
import json
import os
import random
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from bastide_host import copying, fence, snapshot
from bastide_host.data import (
    check_data,
    data,
    data_bytes,
    drop_snapshot,
    exchange,
    exchanged,
    lift_fence,
    list_snapshots,
    other_folders,
    raise_fence,
    restore,
    snapshot_damage,
    take_snapshot,
)
from bastide_host.host import AgentError, Paths
from qdrant_client import models

from bastide.schema.facts import DataSnapshot

pytestmark = [
    pytest.mark.integration,
    pytest.mark.filterwarnings("ignore:Api key is used with an insecure connection"),
]
AGENT = Path(fence.__file__).parents[1]
KEY = "full-key-of-the-tests"
PASS = hashlib.sha256(b"pass").hexdigest()


class Host:
    """A root folder laid out as a host, with the service on its storage."""

    def __init__(self, root: Path, make_server: Any) -> None:
        self.paths = Paths(root)
        for folder in (self.paths.state / "vectordb", self.paths.secrets):
            folder.mkdir(parents=True)
        (self.paths.secrets / "api_key").write_text(KEY + "\n")
        self.server = make_server(
            folder=self.paths.state / "vectordb", settings=f"  fence_path: {self.paths.fence}\n"
        )
        self.tell_port()

    def tell_port(self) -> None:
        etc = self.paths.current / "etc"
        etc.mkdir(parents=True, exist_ok=True)
        services = {"bastide-vectordb.service": f"{self.server.url}/readyz"}
        (etc / "host.json").write_text(json.dumps({"services": services}))

    def start(self) -> None:
        self.server.start()
        self.tell_port()

    def fill(self) -> None:
        client = self.server.client()
        rng = random.Random(3)  # noqa: S311
        client.create_collection(
            "plain", models.VectorParams(size=16, distance=models.Distance.COSINE)
        )
        client.create_payload_index("plain", "tenant", models.PayloadSchemaType.KEYWORD)
        client.create_collection(
            "named with out",
            {"text": models.VectorParams(size=4, distance=models.Distance.DOT)},
            sparse_vectors_config={"words": models.SparseVectorParams()},
        )
        client.create_collection("empty", models.VectorParams(size=4, distance=models.Distance.DOT))
        batch = [
            models.PointStruct(
                id=n if n % 2 else str(uuid.UUID(int=n)),
                vector=[rng.uniform(-1, 1) for _ in range(16)],
                payload={"tenant": f"t{n % 3}", "text": "x" * 200},
            )
            for n in range(1000)
        ]
        client.upsert("plain", batch)
        mixed = [models.PointStruct(id=n, vector={"text": [n, 1.0, 2.0, 3.0]}) for n in range(9)]
        mixed[0].vector = {"words": models.SparseVector(indices=[1], values=[1.0])}
        client.upsert("named with out", mixed)

    def more(self) -> None:
        client = self.server.client()
        client.upsert("plain", [models.PointStruct(id=9001, vector=[1.0] * 16)])
        client.delete("plain", [1, 3])
        client.delete_collection("empty")

    def raise_fence(self) -> None:
        raise_fence(self.paths, "run", PASS)


@pytest.fixture
def host(tmp_path: Path, make_server: Any) -> Iterator[Host]:
    host = Host(tmp_path / "root", make_server)
    host.fill()
    yield host
    lift_fence(host.paths)


def test_a_snapshot_is_restored_and_the_later_data_as_well(host: Host) -> None:
    paths = host.paths
    with pytest.raises(AgentError, match="no snapshot without a fence"):
        take_snapshot(paths, "one", 4)
    host.raise_fence()
    before = take_snapshot(paths, "one", 4)
    assert before["points"] == {"plain": 1000, "named with out": 9, "empty": 0}
    assert [len(before["probes"][n]) for n in ("plain", "named with out", "empty")] == [5, 4, 0]
    assert (before["creator"], before["edge"], before["generation"]) == ("0.1.0", "0.9.0", 4)
    assert take_snapshot(paths, "one", 4) == before  # kept as it is
    assert check_data(paths, before) == []
    lift_fence(paths)
    host.more()
    assert check_data(paths, before) == [
        "collection 'empty' is missing",
        "collection 'plain' has 999 points, expected 1000",
    ]
    host.raise_fence()
    after = take_snapshot(paths, "two", None)
    with pytest.raises(AgentError, match="the vector DB service runs"):
        exchange(paths, "one")
    host.server.stop()
    assert not exchanged(paths, "one")
    assert restore(paths, "one")
    assert exchanged(paths, "one")
    assert not restore(paths, "one")
    assert other_folders(paths) == {"one": "displaced"}
    with pytest.raises(AgentError, match="is the snapshot one itself"):
        take_snapshot(paths, "one", 4)
    host.start()
    assert check_data(paths, before) == []
    assert check_data(paths, after) != []
    host.server.stop()
    exchange(paths, "one")  # and back
    assert not exchanged(paths, "one")
    host.start()
    assert check_data(paths, after) == []
    assert [each["id"] for each in list_snapshots(paths)] == ["one", "two"]
    assert snapshot_damage(paths, "two") == []
    assert snapshot_damage(paths, "one") != []  # it has been live: the engine has touched it
    for each in list_snapshots(paths):
        DataSnapshot.model_validate(each)
    assert drop_snapshot(paths, "one")
    assert not drop_snapshot(paths, "one")
    assert [each["id"] for each in list_snapshots(paths)] == ["two"]


def test_the_restored_data_takes_writes_and_further_snapshots(host: Host) -> None:
    paths = host.paths
    host.raise_fence()
    take_snapshot(paths, "one", 1)
    host.server.stop()
    restore(paths, "one")
    drop_snapshot(paths, "one")
    host.start()
    stamp = take_snapshot(paths, "two", 2)  # of data that carries the mark of "one"
    assert ".bastide-data" not in stamp["files"]
    assert snapshot_damage(paths, "two") == []
    lift_fence(paths)
    host.more()
    host.raise_fence()
    host.server.stop()
    assert restore(paths, "two")
    host.start()
    assert check_data(paths, stamp) == []
    lift_fence(paths)
    host.more()


def test_a_service_that_does_not_run_is_quiet_and_cannot_start_meanwhile(host: Host) -> None:
    host.raise_fence()
    host.server.stop()
    stamp = take_snapshot(host.paths, "one", 1)
    assert (stamp["asked"], stamp["points"]) == (False, {})
    assert check_data(host.paths, stamp) == []
    with fence.still(host.paths) as database:
        assert database is None
        host.server.ready_seconds = 5
        with pytest.raises(AssertionError, match="in use by another bastide-vectordb"):
            host.start()


def test_owners_modes_times_and_holes_are_kept(host: Host) -> None:
    host.raise_fence()
    take_snapshot(host.paths, "one", 1)
    copy = host.paths.snapshots / "one/storage"
    here, there = copying.scan(host.paths.storage), copying.scan(copy)
    assert set(there) - {snapshot.MARKER} == set(here)
    for name, state in here.items():
        kept = there[name]
        for field in ("st_uid", "st_gid", "st_mode", "st_mtime_ns"):
            assert getattr(kept, field) == getattr(state, field), name
        assert kept.st_blocks <= state.st_blocks + 8, name
    assert copy.stat().st_mode == host.paths.storage.stat().st_mode
    assert data_bytes(host.paths) < sum(state.st_size for state in here.values())


def test_too_little_room_is_said_to_the_byte_before_anything_is_copied(
    host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    host.raise_fence()
    host.paths.snapshots.mkdir()
    with fence.still(host.paths):
        pass  # flushed: it takes what it will take
    need = copying.needed_bytes(host.paths.storage, host.paths.snapshots) + (1 << 20)
    state = os.statvfs(host.paths.snapshots)
    free = state.f_bavail * state.f_frsize
    monkeypatch.setattr(snapshot, "RESERVE", 2 * free)
    with pytest.raises(AgentError) as refused:
        take_snapshot(host.paths, "one", 1)
    assert refused.value.code == "BAS-6073"
    assert f"needs {need} bytes" in str(refused.value)
    assert not (host.paths.snapshots / "one").exists()
    monkeypatch.setattr(snapshot, "RESERVE", 0)
    assert take_snapshot(host.paths, "one", 1)["size"] <= need


def test_a_full_disk_leaves_no_half_a_snapshot(host: Host) -> None:
    host.raise_fence()
    host.paths.snapshots.mkdir()
    small = ["mount", "-t", "tmpfs", "-o", "size=60m", "small", str(host.paths.snapshots)]
    if subprocess.run(small, check=False, capture_output=True).returncode != 0:
        pytest.skip("not allowed to mount a small file system")
    try:
        with pytest.raises(AgentError, match="are lacking; nothing was copied"):
            take_snapshot(host.paths, "one", 1)
        filler = host.paths.snapshots / "filler"
        filler.write_bytes(bytes((60 << 20) - (1 << 18)))
        snapshot_reserve, snapshot.RESERVE = snapshot.RESERVE, -(1 << 40)
        try:
            with pytest.raises(AgentError) as full:
                take_snapshot(host.paths, "one", 1)
        finally:
            snapshot.RESERVE = snapshot_reserve
        assert full.value.code == "BAS-6073"
        assert [path.name for path in host.paths.snapshots.iterdir()] == ["filler"]
        host.server.stop()
        other = host.paths.snapshots / "two/storage"
        other.mkdir(parents=True)
        with pytest.raises(AgentError) as apart:  # two file systems
            copying.exchange_names(host.paths.storage, other)
        assert apart.value.code == "BAS-6076"
    finally:
        subprocess.run(["umount", str(host.paths.snapshots)], check=True)


def test_a_corrupted_copy_is_noticed(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    paths = host.paths
    host.raise_fence()
    take_snapshot(paths, "one", 1)
    victim = max((paths.snapshots / "one/storage").rglob("*.dat"), key=lambda p: p.stat().st_size)
    content = bytearray(victim.read_bytes())
    content[-1] ^= 1
    victim.write_bytes(content)
    name = str(victim.relative_to(paths.snapshots / "one/storage"))
    assert snapshot_damage(paths, "one") == [f"{name} has other content"]
    victim.unlink()
    assert snapshot_damage(paths, "one") == [f"{name} is missing"]
    drop_snapshot(paths, "one")
    sync = copying.sync_file_system

    def damaging(folder: Path) -> None:  # as a bad disk would
        sync(folder)
        bad = next(folder.rglob("collection.json"))
        bad.write_text(bad.read_text().replace("{", "[", 1))

    monkeypatch.setattr(copying, "sync_file_system", damaging)
    with pytest.raises(AgentError, match="is not what was read"):
        take_snapshot(paths, "one", 1)
    assert not (paths.snapshots / "one").exists()


def test_data_that_moves_is_not_taken(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    host.raise_fence()
    ask = snapshot._asked

    def and_write(database: Any) -> dict[str, Any]:
        passing = {"x-bastide-pass": "pass"}
        body = {"points": [{"id": 7, "vector": [1.0] * 16}]}
        url = "/collections/plain/points"
        assert host.server.http().put(url, json=body, headers=passing).status_code == 200
        return ask(database)

    monkeypatch.setattr(snapshot, "_asked", and_write)
    with pytest.raises(AgentError, match="data changed while it was copied"):
        take_snapshot(host.paths, "one", 1)
    assert not (host.paths.snapshots / "one").exists()


def test_the_agents_command_shows_and_compares(host: Host) -> None:
    host.raise_fence()
    raise_fence(host.paths, "run", PASS)
    stamp = take_snapshot(host.paths, "one", 4)
    argv = [
        sys.executable,
        "-c",
        "import sys; from bastide_host.main import main; sys.exit(main())",
    ]
    argv += ["data", "--root", str(host.paths.root), "--snapshot", "one"]
    done = subprocess.run(
        argv, env={"PYTHONPATH": str(AGENT)}, capture_output=True, text=True, check=True
    )
    shown = json.loads(done.stdout)
    assert shown == data(host.paths, "one")
    assert (shown["fenced"], shown["differences"]) == (True, [])
    assert shown["snapshots"][0]["points"] == stamp["points"]
    assert PASS not in done.stdout
    with pytest.raises(AgentError, match="no complete snapshot"):
        data(host.paths, "two")
    for bad in ("", "..", "a/b", "-x"):
        with pytest.raises(AgentError, match="no snapshot's id"):
            take_snapshot(host.paths, bad, 1)


SNAPSHOT = """
from bastide_host.data import take_snapshot as work
"""
RESTORE = """
from bastide_host.data import restore, exchange, exchanged
def work(paths, name, forth):
    if exchanged(paths, name) != bool(forth):
        exchange(paths, name)
"""
RUN = """
import sys
from pathlib import Path
from bastide_host.host import Paths
paths = Paths(Path(sys.argv[1]))
print("ready", flush=True)
work(paths, sys.argv[2], int(sys.argv[3]))
print("done", flush=True)
"""


def killed_after(host: Host, program: str, number: int, seconds: float) -> bool:
    """Run the agent's function in a process that is killed; whether it had not ended before."""
    argv = [sys.executable, "-c", program + RUN, str(host.paths.root), "one", str(number)]
    process = subprocess.Popen(argv, env={"PYTHONPATH": str(AGENT)}, stdout=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stdout.readline() == b"ready\n"
    time.sleep(seconds)
    process.kill()
    process.wait()
    with process.stdout:
        return process.stdout.read() == b""


def test_whenever_the_agent_is_killed_a_second_run_takes_the_snapshot(host: Host) -> None:
    host.raise_fence()
    started = time.monotonic()
    take_snapshot(host.paths, "one", 1)
    seconds = time.monotonic() - started
    drop_snapshot(host.paths, "one")
    rng = random.Random(11)  # noqa: S311
    cut = 0
    while cut < 30:
        cut += killed_after(host, SNAPSHOT, 1, rng.uniform(0, seconds))
        if rng.random() < 0.3:  # else the next one finds what is left of it
            stamp = take_snapshot(host.paths, "one", 1)
            assert snapshot_damage(host.paths, "one") == []
            assert other_folders(host.paths) == {}
            assert check_data(host.paths, stamp) == []
            drop_snapshot(host.paths, "one")
        elif list_snapshots(host.paths):
            assert snapshot_damage(host.paths, "one") == []
            drop_snapshot(host.paths, "one")


def test_whenever_the_agent_is_killed_the_disk_tells_what_lies_where(host: Host) -> None:
    paths = host.paths
    host.raise_fence()
    before = take_snapshot(paths, "one", 1)
    lift_fence(paths)
    host.more()
    host.raise_fence()
    after = take_snapshot(paths, "two", 2)
    host.server.stop()
    copy = paths.snapshots / "one/storage"
    rng = random.Random(12)  # noqa: S311
    cut = 0
    for turn in range(60):
        forth = (turn + 1) % 2
        cut += killed_after(host, RESTORE, forth, rng.uniform(0, 0.003))
        assert (paths.storage / "collections/empty").exists() == exchanged(paths, "one")
        assert (copy / "collections/empty").exists() != exchanged(paths, "one")
        if exchanged(paths, "one") != bool(forth):  # a plain second run
            exchange(paths, "one")
        assert exchanged(paths, "one") == bool(forth)
    assert cut > 5
    host.start()
    assert check_data(paths, after) == []
    host.server.stop()
    restore(paths, "one")
    host.start()
    assert check_data(paths, before) == []
