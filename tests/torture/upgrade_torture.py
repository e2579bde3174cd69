"""A site that is disturbed: operations, moments, re-runs, and the judgement."""

from __future__ import annotations

import json
import random
import subprocess
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from upgrade_data import COLLECTION, NetworkThread, Writer, point
from upgrade_faults import KINDS, Strike
from upgrade_judge import chat, faults_of, query
from upgrade_site import COMMAND_SECONDS, HOSTS, NEW, OLD, Known, Site, kill_hard, timed

POINTS_AT_FIRST = 300


@dataclass
class Result:
    """One line of the results file."""

    number: int
    operation: str
    fault: str
    moment: float = 0.0
    duration: float = 0.0
    detail: str = ""
    phase: str = ""
    first_exit: int | None = None
    rerun_exit: int | None = None
    outcome: str = ""
    data: str = ""
    points: int = 0
    seconds: float = 0.0
    ok: bool = False
    why_not: list[str] = field(default_factory=list)
    rerun: bool = True
    evidence: list[str] = field(default_factory=list)


class Torture:
    """A site under torture.

    Args:
        site: The site, set up.
        seed: What chance begins with.
    """

    def __init__(self, site: Site, seed: int) -> None:
        self.site = site
        self._seed = seed
        self._log = site.work / "commands.log"
        self._known = Known()
        self._thread = NetworkThread(site.control)
        self._state = ""  # the release that both hosts run
        self._writer: Writer | None = None

    @property
    def is_new(self) -> bool:
        """Whether both hosts run the new one."""
        return self._state == NEW

    # --- undisturbed -------------------------------------------------------------------------
    def calibrate(self) -> None:
        """Run every operation undisturbed: how long each takes, and what it leads to."""
        kept = self.site.work / "known.json"
        if kept.exists():
            self._known = Known(**json.loads(kept.read_text()))
            before = self._known.seconds["install"]
            self._renew()
            pace = self._known.seconds["install"] / before  # of this machine, now and then
            for operation in ("upgrade", "rollback"):
                self._known.seconds[operation] *= pace
            return
        self._renew()
        for operation, release in (("upgrade", NEW), ("rollback", OLD)):
            with timed() as took:
                self._plainly(operation)
            self._known.seconds[operation] = took["seconds"]
            self._learn(release)
        kept.write_text(json.dumps(asdict(self._known)))

    def prepare(self) -> None:
        """Install the old one, and learn from a plan what the new one is."""
        self._renew()
        self.site.want(NEW)
        said = self.site.bastide("plan", "--site", "site", "--json", inside=True).stdout
        hosts = json.loads(said)["result"]["plan"]["hosts"]
        self._known.digests[NEW] = {each["host"]: each["generation_digest"] for each in hosts}

    def _renew(self) -> None:
        """Install the old release on empty hosts, with data."""
        self.site.wipe()
        with timed() as took:
            self._plainly("install")
        self._known.seconds["install"] = took["seconds"]
        self._learn(OLD)
        self._new_data()

    def _plainly(self, operation: str) -> None:
        code = self._run(operation)
        if code != 0:
            raise RuntimeError(f"an undisturbed {operation} ended with {code}: see {self._log}")

    def _learn(self, release: str) -> None:
        digests = {host: self.site.look(host)["facts"]["generation_digest"] for host in HOSTS}
        self._known.digests.setdefault(release, digests)
        self._state = release

    def _new_data(self) -> None:
        number = self._writer.next_number if self._writer else 1
        self._writer = Writer(self.site.gateway(), self._thread, next_number=number)
        self._writer.create(POINTS_AT_FIRST)

    # --- a point -----------------------------------------------------------------------------
    def disturb(self, number: int) -> Result:
        """Do one operation, disturbed at some moment, and once more; return what came of it."""
        chance = random.Random(f"{self._seed}/{number}")  # noqa: S311
        operation = "upgrade" if self._state == OLD else "rollback"
        if chance.random() < 0.25 or not self._state:
            operation = "install"
        duration = self._known.seconds[operation]
        result = Result(number, operation, KINDS[number % len(KINDS)], duration=round(duration, 1))
        result.moment = round(chance.uniform(0, duration), 2)
        self.carry_out(result, chance)
        return result

    def carry_out(self, result: Result, chance: random.Random) -> None:
        """Do the operation that a result names, disturbed, and once more; complete the result."""
        with timed() as took:
            try:
                self._strike(result, chance)
            except (OSError, RuntimeError, ValueError, subprocess.SubprocessError) as error:
                result.why_not.append(f"{type(error).__name__}: {error}"[:2000])
        result.seconds = took["seconds"]
        result.ok = not result.why_not

    def _strike(self, result: Result, chance: random.Random) -> None:
        snapshot = self._before(result.operation)
        goal = NEW if result.operation == "upgrade" else OLD
        targets = {host: self._number(host, goal) for host in HOSTS}
        before = self.site.newest_run()
        process = self._start(result.operation)
        self._await(process, result, before)
        strike = Strike(self.site, process, chance, targets)
        result.detail, remove = strike.cause(result.fault)
        try:
            result.first_exit = process.wait(COMMAND_SECONDS)
        except subprocess.TimeoutExpired:
            kill_hard(process, all_of_them=True)
            result.why_not.append("the disturbed run did not end by itself")
        self.site.bastide("lab", "up")
        remove()
        if result.first_exit != 0 and result.rerun:
            result.rerun_exit = self._run(result.operation)
        elif result.fault == "model":  # it was not noticed: the next apply has to
            result.rerun_exit = self._run("apply")
        self._judge(result, snapshot)

    def _await(self, process: subprocess.Popen[bytes], result: Result, before: str) -> None:
        """Wait until the moment of the fault: so many seconds, or the phase if one is named.

        Args:
            process: The installer.
            result: Says the moment; its phase and moment are made what they were.
            before: The run that was the newest before this one.
        """
        started = time.monotonic()
        while process.poll() is None:
            passed, phase = time.monotonic() - started, self.site.phase(before)
            if passed > result.moment and (not result.phase or result.phase in phase):
                result.phase, result.moment = phase, round(passed, 2)
                return
            time.sleep(0.05)
        result.phase = "ended before"

    def _before(self, operation: str) -> int | None:
        """Prepare an operation; return how many points a rollback would put back."""
        if operation == "install":
            self.site.wipe()
            return None
        if self._writer is None:
            raise RuntimeError("there is no data yet")
        stamps = [s for s in self.site.look("host1")["snapshots"].values() if s]
        stamps.sort(key=lambda stamp: str(stamp["created"]))
        old = self._number("host1", OLD)
        counts = [s["points"].get(COLLECTION) for s in stamps if s["generation"] == old]
        self._writer.start()
        return counts[-1] if operation == "rollback" and counts else None

    def _number(self, host: str, release: str) -> int:
        """Return the number that a release's generation has on a host, or would get."""
        folder = self.site.disk(host) / "opt/bastide/generations"
        numbers = [int(path.name) for path in folder.glob("*") if path.name.isdigit()]
        wanted = self._known.digests.get(release, {}).get(host)
        for number in numbers:
            stamp = folder / str(number) / "generation.json"
            if stamp.exists() and json.loads(stamp.read_text())["digest"] == wanted:
                return number
        return max(numbers, default=0) + 1

    def _start(self, operation: str) -> subprocess.Popen[bytes]:
        if operation != "apply":
            self.site.want(NEW if operation == "upgrade" else OLD)
        words = "rollback" if operation == "rollback" else "apply"
        with self._log.open("a") as stream:
            stream.write(f"\n===== {time.strftime('%H:%M:%S')} {operation}\n")
        return self.site.start(words, "--site", "site", "--yes", log=self._log)

    def _run(self, operation: str) -> int | None:
        process = self._start(operation)
        try:
            return process.wait(COMMAND_SECONDS)
        except subprocess.TimeoutExpired:
            kill_hard(process, all_of_them=True)
            return None

    # --- the judgement -----------------------------------------------------------------------
    def _judge(self, result: Result, snapshot: int | None) -> None:
        seen = {host: self.site.look(host) for host in HOSTS}
        states = {self._state_of(host, each) for host, each in seen.items()}
        if len(states) != 1 or not states <= {"", OLD, NEW}:
            result.outcome = "mixed"
            result.why_not.append(f"mixed: {sorted(states)}")
            return
        self._state = states.pop()
        wanted = NEW if result.operation == "upgrade" else OLD
        result.outcome = "new" if self._state == wanted else "old"
        for host, each in seen.items():
            result.evidence += [f"{host}: {name}" for name in each["evidence"]]
            digest = self._known.digests.get(self._state, {}).get(host, "")
            result.why_not += [f"{host}: {line}" for line in faults_of(each, digest)]
        if not self._state:
            result.why_not.append("nothing is installed after the re-run")
            return
        if result.operation == "install":
            self._new_data()
        self._judge_data(result, snapshot)

    def _state_of(self, host: str, seen: Mapping[str, Any]) -> str:
        """Return what a host runs: ``OLD``, ``NEW``, nothing, or something unknown."""
        digest = seen["facts"].get("generation_digest")
        if not digest:
            return ""
        known = {digests[host]: name for name, digests in self._known.digests.items()}
        return known.get(digest, f"unknown {digest[:12]}")

    def _judge_data(self, result: Result, snapshot: int | None) -> None:
        writer = self._writer
        if writer is None:
            raise RuntimeError("there is no data")
        if result.operation != "install":
            before, deadline = len(writer.timeline), time.monotonic() + 30
            while len(writer.timeline) == before and time.monotonic() < deadline:
                time.sleep(0.2)
            if len(writer.timeline) == before:
                result.why_not.append("no write is acknowledged any more")
            writer.stop()
        result.data, wrong = writer.settle(snapshot)
        result.points = len(writer.timeline)
        result.why_not += wrong + [f"a 503 without Retry-After: {each}" for each in writer.unkind]
        writer.unkind.clear()
        gateway = writer.gateway
        result.why_not += [
            each
            for each in (
                chat(gateway, self._thread),
                query(gateway, self._thread, point(writer.timeline[0])),
            )
            if each
        ]

    def repair(self) -> None:
        """Begin anew after a point that went wrong."""
        if self._writer is not None:
            self._writer.abandon()
        self.site.bastide("lab", "up")
        for host in HOSTS:
            self.site.on_host(host, "rm -rf /etc/systemd/system/bastide-*.service.d")
        (self.site.disk("host1") / "var/lib/bastide/.filler").unlink(missing_ok=True)
        (self.site.disk("host1") / "opt/bastide/.filler").unlink(missing_ok=True)
        self._renew()
