"""The host agent's care for data, with the real service: snapshot, restore, kills, damage."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
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
from bastide_host.host import AgentError

from bastide.schema.facts import DataSnapshot

pytestmark = [
    pytest.mark.integration,
    pytest.mark.filterwarnings("ignore:Api key is used with an insecure connection"),
]
AGENT = Path(fence.__file__).parents[1]
KEY = "full-key-of-the-tests"
PASS = hashlib.sha256(b"pass").hexdigest()


def test_a_snapshot_is_restored_and_the_later_data_as_well(host: Any) -> None:
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


def test_the_restored_data_takes_writes_and_further_snapshots(host: Any) -> None:
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


def test_a_service_that_does_not_run_is_quiet_and_cannot_start_meanwhile(host: Any) -> None:
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


def test_owners_modes_times_and_holes_are_kept(host: Any) -> None:
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
    host: Any, monkeypatch: pytest.MonkeyPatch
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


def test_a_full_disk_leaves_no_half_a_snapshot(host: Any) -> None:
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


def test_a_corrupted_copy_is_noticed(host: Any, monkeypatch: pytest.MonkeyPatch) -> None:
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


def test_data_that_moves_is_not_taken(host: Any, monkeypatch: pytest.MonkeyPatch) -> None:
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


def test_the_agents_command_shows_and_compares(host: Any) -> None:
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
