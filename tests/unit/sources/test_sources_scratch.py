from __future__ import annotations

import os
from pathlib import Path

import pytest

from bastide.sources import scratch as module
from bastide.sources.scratch import scratch


def test_it_is_gone_at_the_end_even_after_an_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError), scratch(tmp_path / "new") as folder:
        (folder / "absent" / "file").touch()
    assert list((tmp_path / "new").iterdir()) == []


def test_it_stays_under_a_new_name(tmp_path: Path) -> None:
    with scratch(tmp_path) as folder:
        (folder / "file").write_text("x")
        folder.rename(tmp_path / "result")
    assert [p.name for p in tmp_path.iterdir()] == ["result"]


def test_what_a_killed_process_left_is_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "YOUNG", -1.0)
    for name in ("work-left", "other", "work-file"):
        (tmp_path / name).mkdir() if name != "work-file" else (tmp_path / name).touch()
    child = os.fork()
    if child == 0:
        scratch(tmp_path).__enter__()
        os._exit(9)
    os.waitpid(child, 0)
    with scratch(tmp_path) as outer, scratch(tmp_path) as inner:
        left = {p.name for p in tmp_path.iterdir()}
    assert left == {"other", "work-file", outer.name, inner.name}, "held ones stay"


def test_a_young_one_may_not_be_locked_yet(tmp_path: Path) -> None:
    (tmp_path / "work-new").mkdir()
    with scratch(tmp_path):
        assert (tmp_path / "work-new").is_dir()
