"""The journal says where a killed run was, whatever is left of its last line."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bastide.layout import RunFolder, SiteFolder
from bastide.run.journal import (
    RUN,
    UNDO,
    begun_rollback,
    last_unfinished,
    open_journal,
    read_journal,
    unfinished,
)


def now() -> str:
    return "2026-11-22T20:00:00.000+00:00"


def make_run(
    folder: SiteFolder, run: str, *, end: bool, phase: str = "STAGE", back_to: str = ""
) -> RunFolder:
    where = RunFolder(folder.runs / run)
    where.root.mkdir(parents=True)
    with open_journal(where.journal, now) as journal:
        journal.intend(RUN, plan="abc", back_to=back_to)
        journal.intend("preflight")
        journal.conclude("preflight", "done")
        journal.intend(phase)
        if end:
            journal.conclude(phase, "failed")
            journal.conclude(RUN, "failed")
    return where


def test_a_killed_run_is_found_with_its_phase(tmp_path: Path) -> None:
    folder = SiteFolder(tmp_path)
    make_run(folder, "20260101T000000Z-a", end=True)
    make_run(folder, "20260102T000000Z-b", end=False, phase="(2/5) STAGE: x")
    found = last_unfinished(folder)
    assert found is not None
    assert (found.run, found.phase) == ("20260102T000000Z-b", "(2/5) STAGE: x")


def test_only_the_newest_run_counts(tmp_path: Path) -> None:
    folder = SiteFolder(tmp_path)
    assert last_unfinished(folder) is None
    make_run(folder, "20260101T000000Z-a", end=False)
    make_run(folder, "20260102T000000Z-b", end=True)
    assert last_unfinished(folder) is None


def test_a_journal_is_never_written_twice(tmp_path: Path) -> None:
    where = make_run(SiteFolder(tmp_path), "r", end=True)
    with pytest.raises(FileExistsError), open_journal(where.journal, now):
        pass
    assert where.journal.stat().st_mode & 0o777 == 0o600


@given(st.integers(0, 600))
def test_a_cut_journal_can_be_read(cut: int) -> None:
    import tempfile  # noqa: PLC0415 - hypothesis and tmp_path don't mix

    with tempfile.TemporaryDirectory() as name:
        where = make_run(SiteFolder(Path(name)), "r", end=True)
        content = where.journal.read_bytes()
        where.journal.write_bytes(content[:cut])
        entries = read_journal(where.journal)
        assert len(entries) <= content.count(b"\n")
        found = unfinished(entries, "r")
        ended = cut >= len(content) - 1
        assert (found is None) == (ended or not entries)


def test_a_rollback_that_was_cut_off_is_known_by_its_end_or_by_what_it_left_open(
    tmp_path: Path,
) -> None:
    folder = SiteFolder(tmp_path)
    make_run(folder, "1", end=True)
    assert begun_rollback(folder, []) == ""
    make_run(folder, "2", end=True, back_to="1")
    assert begun_rollback(folder, []) == ""
    assert begun_rollback(folder, ["2"]) == "1"
    assert begun_rollback(folder, ["1"]) == ""
    make_run(folder, "3", end=False, back_to=UNDO)
    assert begun_rollback(folder, ["1"]) == UNDO
    make_run(folder, "4", end=False)
    assert begun_rollback(folder, []) == ""
