"""The joined host agent, killed (SIGKILL) at random operations of a change-over, and run again.

Each command runs in a fork whose file and process operations are counted by an audit hook; at a
drawn one it is killed. What is on the disk then must be a state that everybody can live with, and
the same commands, run once more, must end as if nothing had happened.
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
import os
import random
import signal
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.integration

ROOT = Path(__file__).resolve().parents[3]
POINTS = int(os.environ.get("BASTIDE_CRASH_POINTS", "35"))  # of each way
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
UNITS = ["bastide-llm.service", "bastide-vectordb.service"]
COUNTED = {"open", "os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.symlink", "os.chmod",
           "os.chown", "os.utime", "os.truncate", "os.listdir", "os.scandir", "subprocess.Popen",
           "fcntl.flock", "ctypes.dlsym"}  # fmt: skip
SYSTEMCTL = """#!/bin/sh
[ "$1" = show ] || exit 0
shift 2
for unit; do printf 'Id=%s\\nActiveState=active\\n\\n' "$unit"; done
"""
SNAPSHOT = "run-of-the-upgrade"
Stage = dict[str, Any]


def stage(number: int, run: str, *, snapshot: bool = False, restore: str = "") -> Stage:
    """Return what a host is told of a generation, as far as a change-over needs it."""
    way = {"run": run, "pass_sha256": "0" * 64, "snapshot": snapshot, "restore": restore}
    return {
        "format": "bastide.stage/1",
        "generation": number,
        "digest": digest_of(number),
        "units": UNITS,
        "transition": way,
        "collect": [],
    }


def digest_of(number: int) -> str:
    return hashlib.sha256(str(number).encode()).hexdigest()


UPGRADE = stage(2, SNAPSHOT, snapshot=True)
ONWARD = {**stage(3, "run-after", snapshot=True), "collect": [1]}
BACK = stage(1, "run-back", restore=SNAPSHOT)


def way(told: Stage) -> list[tuple[str, Stage]]:
    return [(command, told) for command in ("begin", "switch", "promote")]


@dataclass(frozen=True)
class Way:
    """Commands on a host that has had others.

    Args:
        before: What has been done, undisturbed.
        commands: What is disturbed.
        live: The generation after it.
        ends: Generations that may be live in between.
    """

    before: Sequence[tuple[str, Stage]]
    commands: Sequence[tuple[str, Stage]]
    live: int
    ends: tuple[int, ...]


REVERT: list[tuple[str, Stage]] = [(name, {}) for name in ("revert-begin", "revert", "revert-end")]
WAYS = {
    "upgrade": Way((), way(UPGRADE), 2, (1, 2)),
    "upgrade that collects": Way(way(UPGRADE), way(ONWARD), 3, (2, 3)),
    "undone": Way(way(UPGRADE)[:2], REVERT, 1, (1, 2)),
    "undone before the switch": Way(way(UPGRADE)[:1], REVERT, 1, (1,)),
    "rollback": Way(way(UPGRADE), way(BACK), 1, (1, 2)),
    "undone rollback": Way([*way(UPGRADE), *way(BACK)[:2]], REVERT, 2, (1, 2)),
}


class Agent:
    """The joined program, with programs of our own for it to call.

    Args:
        programs: A folder for these.
    """

    def __init__(self, programs: Path) -> None:
        for name, text in (("systemctl", SYSTEMCTL), ("journalctl", "#!/bin/sh\necho none\n")):
            (programs / name).write_text(text)
            (programs / name).chmod(0o755)
        text = _join().replace(PATH, f"{programs}:{PATH}")
        self._program = text.partition("from bastide_host.main import main")[0]
        self._main = self._load()

    def _load(self) -> Callable[[list[str]], int]:
        """Load the program's modules, none of which is the tests' own of the same name."""
        aside = {n: sys.modules.pop(n) for n in [*sys.modules] if n.startswith("bastide_host")}
        finders = list(sys.meta_path)
        try:
            exec(compile(self._program, "bastide_host.py", "exec"), {"__name__": "agent"})  # noqa: S102
            main = importlib.import_module("bastide_host.main").main
        finally:
            sys.meta_path[:] = finders
            for name in [n for n in sys.modules if n.startswith("bastide_host")]:
                del sys.modules[name]
            sys.modules.update(aside)
        return main  # type: ignore[no-any-return]

    def run(self, root: Path, command: str, told: Stage, kill_at: int = 0) -> tuple[int, int]:
        """Run one command; return its exit code (-9 if killed) and how many operations it had.

        Args:
            root: The host's root.
            command: The agent's command.
            told: What it gets for a stage description.
            kill_at: The operation at which it is killed; 0: none.
        """
        told_file, said, count = (root.parent / n for n in ("stage.json", "said", "count"))
        told_file.write_text(json.dumps(told))
        child = os.fork()
        if child == 0:
            code = 99
            try:
                sys.stdout = said.open("w")
                counter = _Counter(root, kill_at)
                sys.addaudithook(counter)
                code = self._main([command, f"--root={root}", f"--stage={told_file}"])
                seen, counter.kill_at = counter.seen, 0
                sys.stdout.flush()
                count.write_text(str(seen))
            finally:
                os._exit(code)
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        return code, int(count.read_text()) if code == 0 else 0


class _Counter:
    """An audit hook: counts operations, and kills this process at one of them."""

    def __init__(self, root: Path, kill_at: int) -> None:
        self.root = root
        self.kill_at = kill_at
        self.seen = 0

    def __call__(self, event: str, _arguments: tuple[object, ...]) -> None:
        if event in COUNTED:
            self.seen += 1
            if self.seen == self.kill_at:
                os.kill(os.getpid(), signal.SIGKILL)


def _join() -> str:
    source = ROOT / "playbooks/roles/base/files/join_agent.py"
    spec = importlib.util.spec_from_file_location("join_agent", source)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return str(module.join())


class Host:
    """A host's root with three generations, the first of which is live and good.

    Args:
        root: The root.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self.state = root / "var/lib/bastide"
        self.storage = self.state / "vectordb/storage"
        self.opt = root / "opt/bastide"
        for folder in ("etc/bastide", "etc/systemd/system", "run", "var/lib/bastide/started"):
            (root / folder).mkdir(parents=True, exist_ok=True)
        for number in (1, 2, 3):
            self._build(number)
        (self.opt / "current").symlink_to("generations/1")
        good = [{"number": 1, "content": digest_of(1), "since": "-", "run": "first"}]
        document = {"format": "bastide.good/1", "good": good}
        (self.state / "good.json").write_text(json.dumps(document))
        self.storage.mkdir(parents=True)
        (self.storage / "lock").touch()
        (self.storage / "points").write_bytes(os.urandom(70_000))

    def _build(self, number: int) -> None:
        folder = self.opt / f"generations/{number}"
        (folder / "etc").mkdir(parents=True)
        (folder / "units").mkdir()
        for unit in UNITS:
            (folder / "units" / unit).write_text(f"[Service]\nExecStart=/bin/true {number}\n")
        record = {"digest": digest_of(number), "units": UNITS, "number": number, "files": {}}
        (folder / "generation.json").write_text(json.dumps(record))

    @property
    def live(self) -> int:
        return int((self.opt / "current").readlink().name)

    @property
    def good(self) -> list[int]:
        found = json.loads((self.state / "good.json").read_text())["good"]
        return [each["number"] for each in found]

    @property
    def fenced(self) -> bool:
        return (self.state / "vectordb.fence").exists()

    def transition(self) -> dict[str, Any] | None:
        path = self.state / "transition.json"
        return json.loads(path.read_text()) if path.exists() else None

    def client_writes(self, word: str) -> bool:
        """Write as a client would; return whether it was taken."""
        if not self.fenced:
            (self.storage / word).write_text(word)
        return not self.fenced

    def check(self, ends: tuple[int, ...]) -> None:
        """Check what must hold at any moment, whoever is killed."""
        assert self.live in ends
        for number in (self.live, self.good[-1]):
            record = self.opt / f"generations/{number}/generation.json"
            assert json.loads(record.read_text())["digest"] == digest_of(number)
        found = self.transition()
        if found is not None:
            moved = self.live == found["after"] or found["reverting"]
            # Whatever is written in between could be taken back by a later revert.
            assert self.fenced or not moved, "writes are let in, and the transition is open"
        assert (self.storage / "points").is_file()

    def check_end(self, live: int, *, aside: bool) -> None:
        """Check what must hold when the commands have ended."""
        self.check((live,))
        assert self.transition() is None
        assert not self.fenced, "writes are refused for ever"
        assert self.good[-1] == live
        folders = (self.state / "snapshots").glob("*")
        left = {p.name for p in folders if not (p / "snapshot.json").exists()}
        assert left == ({f"aside-{SNAPSHOT}"} if aside else set())


@pytest.fixture(scope="module")
def agent(tmp_path_factory: pytest.TempPathFactory) -> Agent:
    return Agent(tmp_path_factory.mktemp("programs"))


def run_all(agent: Agent, host: Host, commands: Sequence[tuple[str, Stage]]) -> list[int]:
    """Run commands undisturbed; return the number of operations of each."""
    counts = []
    for command, told in commands:
        code, count = agent.run(host.root, command, told)
        assert code == 0, (command, (host.root.parent / "said").read_text())
        counts.append(count)
    return counts


def prepared(agent: Agent, folder: Path, chosen: Way) -> Host:
    (folder / "host").mkdir(parents=True)
    host = Host(folder / "host")
    run_all(agent, host, chosen.before)
    if chosen.before and host.transition() is None:
        assert host.client_writes("written-after-the-upgrade")
    return host


@pytest.mark.parametrize("name", WAYS)
def test_a_killed_agent_run_again_ends_as_if_nothing_had_happened(
    agent: Agent, tmp_path: Path, name: str
) -> None:
    chosen, chance = WAYS[name], random.Random(f"crashes {name}")  # noqa: S311
    clean = prepared(agent, tmp_path / "clean", chosen)
    counts = run_all(agent, clean, chosen.commands)
    clean.check_end(chosen.live, aside=name == "rollback")
    points = sorted(chance.sample(range(sum(counts)), min(POINTS, sum(counts))))
    for point in points:
        host = prepared(agent, tmp_path / f"point-{point}", chosen)
        left = point
        for (command, told), count in zip(chosen.commands, counts, strict=True):
            if left < count:
                assert agent.run(host.root, command, told, left + 1)[0] == -signal.SIGKILL
                break
            assert agent.run(host.root, command, told)[0] == 0
            left -= count
        where = f"{name}, operation {point}: {command} {left + 1}"
        try:
            host.check(chosen.ends)
            taken = host.client_writes("written-after-the-crash")
            run_all(agent, host, chosen.commands)
            host.check_end(chosen.live, aside=name == "rollback")
            expected = taken and (chosen.live != 1 or name != "rollback")
            if expected:
                assert (host.storage / "written-after-the-crash").exists(), "a write is lost"
        except AssertionError as error:
            raise AssertionError(f"{where}: {error}") from error
