"""The ledger: a chain that only grows, and that shows every change made to it."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from click import command
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from bastide import cli
from bastide.cli.main import main
from bastide.cli.recording import recorded
from bastide.errors import BastideError, ConfigError, TrustError
from bastide.ledger.chain import require_head
from bastide.ledger.record import append, read


def filled(path: Path, entries: int = 4) -> Path:
    for number in range(entries):
        append(path, "apply", "done", {"run": str(number)})
    return path


def test_entries_follow_each_other_and_are_private(tmp_path: Path) -> None:
    ledger = filled(tmp_path / "ledger.jsonl")
    entries = read(ledger)
    assert [entry.number for entry in entries] == [1, 2, 3, 4]
    assert [e.previous for e in entries[1:]] == [e.digest() for e in entries[:-1]]
    assert ledger.stat().st_mode & 0o777 == 0o600


@given(st.data())
def test_no_change_of_a_line_goes_unseen(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    ledger = filled(tmp_path_factory.mktemp("ledger") / "ledger.jsonl", 3)
    content = bytearray(ledger.read_bytes())
    at = data.draw(st.integers(0, content.rindex(b"\n", 0, len(content) - 1)))
    content[at] ^= data.draw(st.integers(1, 255))
    ledger.write_bytes(content)
    with pytest.raises(TrustError) as refused:
        read(ledger)
    assert refused.value.code == "BAS-4070"
    with pytest.raises(TrustError):
        append(ledger, "apply", "done", {})


@pytest.mark.parametrize("order", [(0, 2, 3), (1, 0, 2, 3), (0, 1, 1, 2, 3), (1, 2, 3)])
def test_no_line_can_be_taken_out_moved_or_repeated(tmp_path: Path, order: tuple[int, ...]) -> None:
    ledger = filled(tmp_path / "ledger.jsonl")
    lines = ledger.read_bytes().splitlines(keepends=True)
    ledger.write_bytes(b"".join(lines[number] for number in order))
    with pytest.raises(TrustError):
        read(ledger)


def test_a_ledger_that_was_cut_off_lacks_the_head_that_somebody_noted(tmp_path: Path) -> None:
    ledger = filled(tmp_path / "ledger.jsonl")
    head = read(ledger)[-1].digest()
    append(ledger, "verify", "done", {})
    require_head(read(ledger), head, "ledger")  # it has only grown
    lines = ledger.read_bytes().splitlines(keepends=True)
    ledger.write_bytes(b"".join(lines[:2]))
    with pytest.raises(TrustError, match="cut off or written anew"):
        require_head(read(ledger), head, "ledger")


def test_a_line_that_a_crash_cut_off_is_dropped_on_the_record(tmp_path: Path) -> None:
    ledger = filled(tmp_path / "ledger.jsonl", 2)
    with ledger.open("ab") as file:
        file.write(b'{"format":"bastide.led')
    assert len(read(ledger)) == 2
    assert "repaired" in append(ledger, "apply", "started", {}).details
    assert len(read(ledger)) == 3


WRITER = """
import sys
from pathlib import Path
from bastide.ledger.record import append
for number in range(20):
    append(Path(sys.argv[1]), "apply", "done", {"writer": sys.argv[2]})
"""


def test_two_writers_take_turns(tmp_path: Path) -> None:
    ledger = tmp_path / "ledger.jsonl"
    writers = [
        subprocess.Popen([sys.executable, "-c", WRITER, str(ledger), name]) for name in ("a", "b")
    ]
    assert [writer.wait() for writer in writers] == [0, 0]
    assert len(read(ledger)) == 40


def run_recorded(error: BaseException | None) -> None:
    @command()
    @recorded("try", lambda result: {"answer": result})
    def action() -> str:
        if error:
            raise error
        return "42"

    CliRunner().invoke(action, [], catch_exceptions=True)


@pytest.mark.parametrize(
    ("error", "outcome", "code"),
    [
        (None, "done", ""),
        (ConfigError("no", code="BAS-2020"), "refused", "BAS-2020"),
        (BastideError("no", code="BAS-1001"), "failed", "BAS-1001"),
        (KeyboardInterrupt(), "failed", "BAS-1000"),
    ],
)
def test_a_command_leaves_its_start_and_its_end(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    error: BaseException | None,
    outcome: str,
    code: str,
) -> None:
    monkeypatch.setenv("BASTIDE_HOME", str(tmp_path))
    run_recorded(error)
    start, end = read(tmp_path / "ledger.jsonl")
    assert (start.outcome, end.outcome, end.code) == ("started", outcome, code)


def test_nothing_is_done_without_a_record(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BASTIDE_HOME", str(tmp_path))
    (tmp_path / "ledger.jsonl").mkdir()
    done = []

    @recorded("try", lambda _: {})
    def action() -> None:
        done.append(1)

    with pytest.raises(BastideError) as refused:
        action()
    assert refused.value.code == "BAS-1030"
    assert not done


def test_status_shows_the_ledger_and_its_head(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BASTIDE_HOME", str(tmp_path))
    filled(tmp_path / "ledger.jsonl")
    head = read(tmp_path / "ledger.jsonl")[-1].digest()
    shown = CliRunner().invoke(main, ["status", "--ledger"])
    assert head in shown.output
    asked = ["status", "--json", "--expect-head", head.upper()]
    assert len(json.loads(CliRunner().invoke(main, asked).output)["result"]["entries"]) == 4
    refused = CliRunner().invoke(main, ["status", "--ledger", "--expect-head", "0" * 64])
    assert refused.exit_code == 4


def test_the_docs_name_every_operation() -> None:
    folder = Path(cli.__file__).parent
    found = {
        name
        for path in folder.glob("*.py")
        for name in re.findall(r'@recorded\(\s*"([^"]+)"', path.read_text())
    }
    assert {"apply", "vectordb migrate", "bundle build", "trust rotate"} <= found
    told = (Path(__file__).resolve().parents[3] / "docs/ledger.md").read_text()
    table = [line for line in told.splitlines() if line.startswith("|")]
    assert {name for line in table for name in re.findall(r"`([^`]+)`", line)} == found
