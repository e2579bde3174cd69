"""What goes with a generation that is collected, and what never goes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from bastide_host import data
from bastide_host.collect import collect, sweep
from bastide_host.host import Paths


def put_generation(paths: Paths, number: int, *contents: str) -> None:
    folder = paths.generations / str(number)
    folder.mkdir(parents=True)
    named = {name: name for name in contents}
    record = {"number": number, "contents": named, "tree": f"tree{number}"}
    (folder / "generation.json").write_text(json.dumps(record))
    for name in contents:
        (paths.state / f"models/{name}.gguf").touch()


def put_snapshot(paths: Paths, name: str, generation: int) -> Path:
    folder = paths.snapshots / name
    (folder / "storage").mkdir(parents=True)
    stamp = {
        "format": "bastide.snapshot/1", "id": name, "generation": generation, "created": "",
        "creator": "", "asked": False, "points": {}, "probes": {}, "size": 0, "files": {},
    }  # fmt: skip
    (folder / "snapshot.json").write_text(json.dumps(stamp))
    (folder / "storage/.bastide-data").write_text(json.dumps({"id": name}))
    return folder


@pytest.fixture
def paths(tmp_path: Path) -> Paths:
    paths = Paths(tmp_path)
    (paths.state / "models").mkdir(parents=True)
    for number in (1, 2, 3, 4):
        put_generation(paths, number, "shared", f"own{number}")
    paths.current.symlink_to("generations/4")
    paths.good.write_text(json.dumps({"good": [{"number": n} for n in (1, 2, 3, 4)]}))
    return paths


def test_a_generation_goes_with_what_only_it_has(paths: Paths) -> None:
    mine, other = put_snapshot(paths, "s1", 1), put_snapshot(paths, "s2", 2)
    removed = collect(paths, [1])
    assert not (paths.generations / "1").exists()
    assert {p.name for p in (paths.state / "models").iterdir()} == {
        "shared.gguf", "own2.gguf", "own3.gguf", "own4.gguf",
    }  # fmt: skip
    assert (mine.exists(), other.exists()) == (False, True)
    assert str(mine) in removed


def test_the_live_one_the_last_good_one_and_an_open_switch_stay(paths: Paths) -> None:
    paths.good.write_text(json.dumps({"good": [{"number": 3}]}))
    (paths.state / "transition.json").write_text(
        json.dumps({"format": "bastide.transition/1", "before": 2, "after": 4})
    )
    collect(paths, [1, 2, 3, 4])
    assert {p.name for p in paths.generations.iterdir()} == {"2", "3", "4"}


def test_what_a_rollback_set_aside_goes_with_the_generation_that_wrote_it(paths: Paths) -> None:
    asides = []
    for name, left in (("s1", 1), ("s2", 2)):
        folder = put_snapshot(paths, name, 9)
        paths.storage.mkdir(parents=True, exist_ok=True)
        (paths.storage / ".bastide-data").write_text(json.dumps({"id": name}))  # it is live now
        data.set_aside(paths, name, left)
        assert not folder.exists()
        asides.append(paths.snapshots / f"aside-{name}")
    assert sweep(paths) == []  # it has no stamp, but is no leftover
    by_hand = paths.snapshots / "aside-by-an-older-agent"
    by_hand.mkdir()
    removed = collect(paths, [1])
    assert [each.exists() for each in asides] == [False, True]
    assert by_hand.exists()
    assert str(asides[0]) in removed
