"""The agent's care for data, apart from the service: fence, copies, stamps, neighbours."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from bastide_host import copying, data, vectors
from bastide_host.facts import facts
from bastide_host.host import AgentError, Paths

from bastide.schema.facts import HostFacts

PASS = "0" * 64


@pytest.fixture
def host(tmp_path: Path) -> Paths:
    paths = Paths(tmp_path)
    paths.storage.mkdir(parents=True)
    return paths


def test_raising_and_lifting_a_fence_twice_is_once(host: Paths) -> None:
    assert data.raise_fence(host, "run", PASS)
    first = json.loads(host.fence.read_text())
    assert not data.raise_fence(host, "run", PASS)
    assert data.raise_fence(host, "run", "1" * 64)  # a later run, with a pass of its own
    second = json.loads(host.fence.read_text())
    assert (second["since"], second["pass_sha256"]) == (first["since"], "1" * 64)
    assert host.fence.stat().st_mode & 0o777 == 0o644
    assert data.lift_fence(host)
    assert not data.lift_fence(host)


@pytest.mark.parametrize("wrong", ["", "0" * 63, "G" * 64, "the pass itself"])
def test_a_fence_wants_a_digest_not_a_pass(host: Paths, wrong: str) -> None:
    with pytest.raises(AgentError) as refused:
        data.raise_fence(host, "run", wrong)
    assert refused.value.code == "BAS-6070"
    assert not host.fence.exists()


def sparse(path: Path) -> None:
    with path.open("wb") as stream:
        stream.write(b"head")
        stream.seek(5 << 20)
        stream.write(b"middle" * 5000)
        stream.truncate(9 << 20)


@pytest.mark.parametrize("clones", [True, False])
def test_a_copy_has_the_content_the_holes_and_the_times(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, clones: bool
) -> None:
    if not clones:
        monkeypatch.setattr(copying, "_clone", lambda *_: False)
    source, target = tmp_path / "source", tmp_path / "target"
    (source / "folder").mkdir(parents=True)
    sparse(source / "folder/sparse")
    (source / "empty").touch()
    (source / "small").write_bytes(b"small")
    (source / "small").chmod(0o640)
    os.utime(source / "folder", ns=(1, 1_000_000_007))
    files = copying.copy_tree(source, target)
    assert set(files) == {"empty", "folder/sparse", "small"}
    for name, digest in files.items():
        assert digest == copying.digest_of(target / name, from_disk=True)
        assert (source / name).read_bytes() == (target / name).read_bytes()
    assert (target / "folder").stat().st_mtime_ns == 1_000_000_007
    assert (target / "small").stat().st_mode & 0o777 == 0o640
    assert copying.allocated_bytes(target) <= copying.allocated_bytes(source) < 1 << 20
    assert copying.differences(target, files) == []
    (target / "new").touch()
    assert copying.differences(target, files) == ["new should not be there"]


def test_digests_tell_content_and_size_and_not_holes(tmp_path: Path) -> None:
    sparse(tmp_path / "sparse")
    content = (tmp_path / "sparse").read_bytes()
    (tmp_path / "full").write_bytes(content)
    digest = copying.digest_of(tmp_path / "sparse")
    assert copying.digest_of(tmp_path / "full") == digest
    others = {digest}
    for place in (0, 4, (5 << 20) + 7, 7 << 20, len(content) - 1):
        changed = bytearray(content)
        changed[place] ^= 1
        (tmp_path / "other").write_bytes(changed)
        others.add(copying.digest_of(tmp_path / "other"))
    for size in (len(content) - 1, len(content) + 1):
        (tmp_path / "other").write_bytes(content[:size].ljust(size, b"\0"))
        others.add(copying.digest_of(tmp_path / "other"))
    (tmp_path / "other").write_bytes(content[1 << 20 :])  # the same blocks, elsewhere
    others.add(copying.digest_of(tmp_path / "other"))
    assert len(others) == 9


def test_what_is_no_file_is_not_copied(tmp_path: Path) -> None:
    (tmp_path / "source").mkdir()
    (tmp_path / "source/link").symlink_to("/etc/passwd")
    with pytest.raises(AgentError, match="neither a file nor a folder"):
        copying.copy_tree(tmp_path / "source", tmp_path / "target")


def lay_out(host: Paths, name: str, **changed: Any) -> None:
    folder = host.snapshots / name
    (folder / "storage").mkdir(parents=True)
    (folder / "storage/.bastide-data").write_text(json.dumps({"id": changed.pop("mark", name)}))
    stamp = {
        "format": "bastide.snapshot/1",
        "id": name,
        "generation": 3,
        "created": name,
        "creator": "0.1.0",
        "edge": "0.9.0",
        "asked": True,
        "points": {"c": 1},
        "probes": {},
        "size": 5,
        "files": {},
        **changed,
    }
    (folder / "snapshot.json").write_text(json.dumps(stamp))


def test_only_whole_snapshots_are_facts(host: Paths) -> None:
    for folder in ("opt", "etc", "proc/net"):
        host.at(folder).mkdir(parents=True)
    lay_out(host, "b")
    lay_out(host, "a", created="z")
    lay_out(host, "moved", mark="other")
    lay_out(host, "foreign", format="bastide.snapshot/2")
    (host.snapshots / "half/storage").mkdir(parents=True)
    (host.snapshots / "cut").mkdir()
    (host.snapshots / "cut/snapshot.json").write_text("{")
    (host.storage / "file").write_bytes(b"x" * 5000)
    found = HostFacts.model_validate(facts(host))
    assert [each.id for each in found.snapshots] == ["b", "a"]
    assert found.data_bytes == 8192
    assert data.other_folders(host) == {
        "cut": "incomplete",
        "foreign": "incomplete",
        "half": "incomplete",
        "moved": "displaced",
    }


def test_an_exchange_is_one_rename_each_way(host: Paths) -> None:
    lay_out(host, "one")
    (host.storage / "live").touch()
    assert data.restore(host, "one")
    assert data.exchanged(host, "one")
    assert (host.snapshots / "one/storage/live").exists()
    assert not data.restore(host, "one")
    data.exchange(host, "one")
    assert (host.storage / "live").exists()
    for missing in ("two", "three"):
        (host.snapshots / "three/storage").mkdir(parents=True, exist_ok=True)
        with pytest.raises(AgentError, match="no complete snapshot"):
            data.exchange(host, missing)


@pytest.mark.parametrize(
    ("found", "same"),
    [
        ([[1, 0.9], [2, 0.8], [3, 0.5]], True),
        ([[1, 0.90005], [2, 0.8], [3, 0.5]], True),
        ([[2, 0.9], [1, 0.8], [3, 0.5]], False),
        ([[1, 0.9], [2, 0.8], [7, 0.5]], True),  # as far away as the last: cut off by chance
        ([[1, 0.9], [7, 0.8], [3, 0.5]], False),
        ([[1, 0.9], [2, 0.79], [3, 0.5]], False),
        ([[1, 0.9], [2, 0.8]], False),
        ([], False),
    ],
)
def test_neighbours_are_compared_by_id_and_score(found: list[Any], same: bool) -> None:
    assert vectors.same_hits([[1, 0.9], [2, 0.8], [3, 0.5]], found) is same


def test_a_host_without_a_vector_db_says_so(host: Paths) -> None:
    with pytest.raises(AgentError) as refused:
        vectors.VectorDb(host)
    assert refused.value.code == "BAS-6078"
