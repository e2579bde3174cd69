"""The timeline: the same lines in the log as for those who watch, and the live table."""

from pathlib import Path

from rich.console import Console

from bastide.cli.live import TableWatcher
from bastide.progress import human_bytes
from bastide.run.events import PhaseStarted, Status, StepEnded, StepStarted
from bastide.run.follow import Follower
from bastide.run.state import Fetched, RunState


class Collector:
    def __init__(self) -> None:
        self.lines: list[str] = []
        self.states: list[RunState] = []

    def show(self, state: RunState, elapsed: float) -> None:
        assert elapsed >= 0
        self.states.append(state)

    def line(self, text: str) -> None:
        self.lines.append(text)


def follow(log: Path, observer: Collector | TableWatcher) -> Follower:
    follower = Follower(RunState.begin({"host1": 0}), log, observer)
    follower.expect({"host1": 100_000_000})
    follower.event(PhaseStarted("(2/5) STAGE: put artifacts on hosts"))
    follower.event(StepStarted("Artifacts", "base"))
    follower.watch(lambda: {"host1": Fetched(40_000_000)})
    follower.tick()
    follower.watch(lambda: {"host1": Fetched(60_000_000, 40_000_000)})
    follower.tick()
    follower.event(
        StepEnded("host1", "Artifacts", "base", Status.FAILED, "no room\non disk", seconds=1.5)
    )
    return follower


def test_log_and_observer_get_the_same_lines(tmp_path: Path) -> None:
    log, watcher = tmp_path / "run.log", Collector()
    follow(log, watcher).close()
    assert log.read_text().splitlines() == watcher.lines
    assert log.stat().st_mode & 0o777 == 0o600
    text = "\n".join(watcher.lines)
    assert (
        "host1  (2/5) STAGE  pull artifacts  100.0 MB of 100.0 MB, 40.0 MB of them from other"
        in text
    )
    assert "host1  (2/5) STAGE  Artifacts  1.5 s  failed" in text
    assert "host1  |  on disk" in text
    assert watcher.states[-1].hosts["host1"].pulled == 100_000_000


def test_the_table_shows_host_step_state_and_bytes(tmp_path: Path) -> None:
    table = TableWatcher("starter-2026.11.0")
    follow(tmp_path / "run.log", table).close()
    console = Console(width=100, record=True, file=(tmp_path / "drawn").open("w"))
    console.print(table.live.get_renderable())
    drawn = console.export_text()
    for words in ("starter-2026.11.0", "(2/5) STAGE", "host1", "failed", "100.0 MB of 100.0 MB"):
        assert words in drawn


def test_ticking_reads_transfers_and_stops(tmp_path: Path) -> None:
    watcher = Collector()
    follower = Follower(RunState.begin({"host1": 0}), tmp_path / "log", watcher)
    follower.watch(lambda: {"host1": Fetched(7)})
    with follower.ticking():
        pass
    assert follower.state.hosts["host1"].pulled == 7
    follower.close()


def test_bytes_for_people() -> None:
    assert [human_bytes(n) for n in (0, 999, 98_362_432, 5e12)] == [
        "0 bytes",
        "999 bytes",
        "98.4 MB",
        "5.0 TB",
    ]
