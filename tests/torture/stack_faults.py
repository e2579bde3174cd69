"""Breaks a running lab site in every way, and tells what its users saw and its alerts said.

    python tests/torture/stack_faults.py --work DIR --lab NAME --prepare   # before the first apply
    python tests/torture/stack_faults.py --work DIR --lab NAME             # every fault
    python tests/torture/stack_faults.py --work DIR --lab NAME --short     # one of each kind

DIR has ``home`` (BASTIDE_HOME) and ``site`` (site.yaml, applied). Clients ask for chats, embeddings
and vectors all the time, and one writes points. Each fault is held, then removed; the next comes
when every question is answered again. At the end every acknowledged point must be there. Needs
root; faults of clocks need Debian's package libfaketime on this machine.
"""

from __future__ import annotations

import argparse
import http.client
import json
import sys
import time
import urllib.parse
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import yaml
from stack_kinds import (
    KINDS,
    Fault,
    cause,
    faults_of,
    give_back,
    has_clock_library,
    small_disk,
    units_of,
)
from stack_probe import Prober, Seen, seen
from upgrade_data import COLLECTION, Gateway, NetworkThread, Writer, vector
from upgrade_site import Site

HOLD_SECONDS = {"kill": 0.0, "clock": 20.0}
HEAL_SECONDS = 180.0  # within which everything has to be answered again
POINTS = 200
Alert = frozenset[tuple[str, str]]  # labels and their values, its name and state among them


@dataclass
class Outcome:
    """One line of the table."""

    fault: str
    kind: str
    held: float
    healed: float | None = None  # seconds from the removal of its cause
    seen: dict[str, Any] = field(default_factory=dict)
    alerts: list[str] = field(default_factory=list)
    data: str = ""
    why_not: list[str] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        """Whether the site came back by itself with nothing lost."""
        return not self.why_not


class Stack:
    """A site under torture.

    Args:
        site: Where it lies.
    """

    def __init__(self, site: Site) -> None:
        self.site = site
        told: dict[str, Any] = yaml.safe_load((site.folder / "site.yaml").read_text())
        self.hosts: dict[str, dict[str, Any]] = told["hosts"]
        said = json.loads(
            site.bastide("keys", "show", "--site", "site", "--json", inside=True).stdout
        )
        address = urllib.parse.urlsplit(said["result"]["base_urls"][0]).hostname or ""
        self.gateway = Gateway(address, site.folder / "ca.pem", said["result"]["key"])
        self._models: dict[str, str] = told["models"]
        self._thread = NetworkThread(site.control)
        self.writer = Writer(self.gateway, self._thread)
        self.prober = Prober(
            self.gateway, site.control, self._models["llm"], self._models["embeddings"],
            (COLLECTION, vector(1)),
        )  # fmt: skip

    def units(self) -> dict[str, list[str]]:
        """Return Bastide's running services by host."""
        return {host: units_of(self.site, host) for host in self.hosts}

    def begin(self) -> None:
        """Make data, then ask and write until ``end``."""
        self.writer.create(POINTS)
        self.prober.start()
        if not self._wait(time.monotonic(), HEAL_SECONDS):
            raise RuntimeError(f"the site does not answer: {self._last()}")

    def end(self) -> None:
        """Stop asking."""
        self.prober.stop()

    def suffer(self, fault: Fault, hold: float) -> Outcome:
        """Cause a fault, hold it, remove it, and wait until everything is answered again."""
        outcome = Outcome(fault.words, fault.kind, HOLD_SECONDS.get(fault.kind, hold))
        self.writer.start()
        began, clock = time.monotonic(), time.time()
        before = self._alerts_between(clock - 5, clock)
        undo = cause(self.site, fault)
        time.sleep(outcome.held)  # what users see while it lasts is what is measured
        undo()
        removed = time.monotonic()
        if self._wait(removed, HEAL_SECONDS):
            outcome.healed = round(self._well_from(removed) - removed, 1)
        else:
            outcome.why_not.append(f"not well after {HEAL_SECONDS:.0f} s: {self._last()}")
        ended = time.monotonic()
        outcome.seen = {
            kind: asdict(seen(answers, began, ended))
            for kind, answers in self.prober.answers.items()
        }
        outcome.alerts = self._alerts(before, clock)
        self._judge_data(outcome)
        return outcome

    def _wait(self, since: float, seconds: float) -> bool:
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            if self.prober.well_since(since):
                return True
            time.sleep(0.2)
        return False

    def _well_from(self, removed: float) -> float:
        """Return when the last bad answer ended, or ``removed`` if none came after it."""
        bad = [a.ended for each in self.prober.answers.values() for a in each if not a.good]
        return max([removed, *bad])

    def _last(self) -> dict[str, str]:
        return {
            kind: f"{answers[-1].status} {answers[-1].problem}".strip() if answers else "nothing"
            for kind, answers in self.prober.answers.items()
        }

    def _alerts(self, before: set[Alert], since: float) -> list[str]:
        """Return the alerts that came since then, as Prometheus remembers them."""
        came = [dict(each) for each in self._alerts_between(since, time.time()) - before]
        fired = {each["alertname"] for each in came if each["alertstate"] == "firing"}
        pending = {each["alertname"] for each in came} - fired
        return sorted(fired) + [f"({name})" for name in sorted(pending)]

    def _alerts_between(self, start: float, end: float) -> set[Alert]:
        """Return all alerts that were not inactive between two times, with all their labels.

        The same alert of two services is two. A site without monitoring has none.
        """
        query = urllib.parse.urlencode({"query": "ALERTS", "start": start, "end": end, "step": 5})
        path, deadline = f"/monitoring/api/v1/query_range?{query}", time.monotonic() + HEAL_SECONDS
        status, said, _ = self._thread.do(lambda: self.gateway.ask("GET", path))
        while status >= http.client.INTERNAL_SERVER_ERROR and time.monotonic() < deadline:
            time.sleep(1)  # Prometheus was hit as well, and reads its log
            status, said, _ = self._thread.do(lambda: self.gateway.ask("GET", path))
        if status == http.client.NOT_FOUND:
            return set()
        if status != http.client.OK:
            raise RuntimeError(f"the gateway says {status} when asked for alerts: {said}")
        return {frozenset(each["metric"].items()) for each in said["data"]["result"]}

    def _judge_data(self, outcome: Outcome) -> None:
        before, deadline = len(self.writer.timeline), time.monotonic() + 30
        while len(self.writer.timeline) == before and time.monotonic() < deadline:
            time.sleep(0.2)
        if len(self.writer.timeline) == before:
            outcome.why_not.append("no write is acknowledged any more")
        self.writer.stop()
        outcome.data, wrong = self.writer.settle(None)
        outcome.why_not += wrong


def table(outcomes: list[dict[str, Any]]) -> str:
    """Return the outcomes as a Markdown table; pure."""
    lines = [
        "| fault | chat | embeddings | search | well again | alerts (pending in brackets) | data |",
        "|---|---|---|---|---|---|---|",
    ]
    for each in outcomes:
        cells = [_cell(Seen(**each["seen"][kind])) for kind in ("chat", "embeddings", "search")]
        healed = "no" if each["healed"] is None else f"{each['healed']:.0f} s"
        data = "; ".join(each["why_not"]) or each["data"]
        alerts = ", ".join(each["alerts"]) or "none"
        lines.append(f"| {each['fault']} | {' | '.join(cells)} | {healed} | {alerts} | {data} |")
    good = sum(not each["why_not"] for each in outcomes)
    lines += ["", f"{good} of {len(outcomes)} came back by themselves with nothing lost."]
    return "\n".join(lines)


def _cell(of: Seen) -> str:
    bad = ", ".join(f"{count} x {name}" for name, count in sorted(of.bad.items()))
    return f"{bad}; {of.gap:.0f} s" if bad else f"all good; {of.gap:.0f} s"


def _one_of_each(faults: list[Fault]) -> list[Fault]:
    """Return one fault of each kind, of a service that users feel where there is a choice."""
    preferred = ("bastide-llm.service", "bastide-vectordb.service", "")
    chosen: dict[str, Fault] = {}
    for fault in sorted(
        faults, key=lambda f: preferred.index(f.unit) if f.unit in preferred else 9
    ):
        chosen.setdefault(fault.kind, fault)
    return [chosen[kind] for kind in KINDS if kind in chosen]


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--work", type=Path, required=True, help="folder with home and site")
    parser.add_argument("--lab", required=True, help="the lab's name")
    parser.add_argument("--kinds", default=",".join(KINDS), help="which faults")
    parser.add_argument("--hold", type=float, default=90.0, help="seconds that a fault is held")
    parser.add_argument("--short", action="store_true", help="one fault of each kind")
    parser.add_argument("--prepare", action="store_true", help="only give the hosts small disks")
    parser.add_argument("--give-back", action="store_true", help="only take the small disks away")
    parser.add_argument("--results", type=Path, help="gets a JSON line a fault; goes on with it")
    parser.add_argument("--json", action="store_true", help="print the outcomes as JSON")
    return parser.parse_args()


def main() -> int:
    """Read the options, run and print."""
    options = _parse()
    site = Site(options.work.resolve(), options.lab)
    lab_hosts = sorted(
        each.name for each in (site.work / "home/lab" / site.lab / "hosts").iterdir()
    )
    if options.prepare:
        for host in lab_hosts:
            small_disk(site, host)
        site.bastide("lab", "up")
        return 0
    if options.give_back:
        give_back(site, lab_hosts)
        return 0
    return _run(site, options)


def _run(site: Site, options: argparse.Namespace) -> int:
    kinds = [kind for kind in options.kinds.split(",") if kind in KINDS]
    if "clock" in kinds and not has_clock_library():
        print("clocks are left out: this machine has no libfaketime", file=sys.stderr)
        kinds.remove("clock")
    stack = Stack(site)
    faults = faults_of(stack.units(), kinds)
    if options.short:
        faults = _one_of_each(faults)
    file: Path = options.results or site.work / "stack-faults.jsonl"
    outcomes = [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []
    done = {each["fault"] for each in outcomes}
    stack.begin()
    for fault in faults:
        if fault.words in done:
            continue
        outcomes.append(asdict(stack.suffer(fault, options.hold)))
        with file.open("a") as stream:
            stream.write(json.dumps(outcomes[-1]) + "\n")
        print(json.dumps(outcomes[-1]), file=sys.stderr, flush=True)
    stack.end()
    print(json.dumps(outcomes, indent=2) if options.json else table(outcomes))
    return 0 if all(not each["why_not"] for each in outcomes) else 1


if __name__ == "__main__":
    sys.exit(main())
