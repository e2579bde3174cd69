"""Follows a run: keeps its state, writes its log and tells whoever watches."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

from bastide.progress import human_bytes
from bastide.run.events import Event, PhaseStarted, Status, StepEnded
from bastide.run.state import (
    Fetched,
    RunState,
    advance,
    end_phase,
    with_pulled,
    with_to_pull,
)

TICK_SECONDS = 0.25  # how often transfers are looked at
PULL_LINE_SECONDS = 5.0  # a plain log gets at most one line a host about a transfer in this time


class RunObserver(Protocol):
    """Who watches a run; the command line draws it, tests collect it."""

    def show(self, state: RunState, elapsed: float) -> None:
        """See where the run stands, ``elapsed`` seconds after its start; often, from any thread."""

    def line(self, text: str) -> None:
        """Take one line of the timeline, as it also stands in the log file."""


class SilentObserver:
    """Watches nothing."""

    def show(self, state: RunState, elapsed: float) -> None:
        """Look away."""

    def line(self, text: str) -> None:
        """Drop the line."""


class Follower:
    """Takes events and byte counts from any thread, one after the other.

    Args:
        state: The state to begin with.
        log: The log file; it is appended to.
        observer: Who watches.
    """

    def __init__(self, state: RunState, log: Path, observer: RunObserver) -> None:
        self.state = state
        self._observer = observer
        self._pulled: Callable[[], Mapping[str, Fetched]] = dict
        self._started = time.monotonic()
        self._spoken: dict[str, float] = {}
        self._lock = threading.Lock()
        self._log = log.open("a", encoding="utf-8", buffering=1)
        log.chmod(0o600)

    @property
    def elapsed(self) -> float:
        """Seconds since the start."""
        return time.monotonic() - self._started

    def watch(self, pulled: Callable[[], Mapping[str, Fetched]]) -> None:
        """Ask ``pulled`` from now on for what each host has fetched so far."""
        self._pulled = pulled

    def expect(self, to_pull: Mapping[str, int]) -> None:
        """Take note of how many bytes each host is going to fetch."""
        with self._lock:
            self.state = with_to_pull(self.state, to_pull)

    def event(self, event: Event) -> None:
        """Take one event of the playbook under way."""
        with self._lock:
            before, self.state = self.state, advance(self.state, event, self.elapsed)
            if isinstance(event, PhaseStarted):
                self._say(event.name)
            elif isinstance(event, StepEnded):
                self._say_step(before, event)
            self._observer.show(self.state, self.elapsed)

    def phase(self, name: str) -> None:
        """Begin a phase that no playbook announces."""
        self.event(PhaseStarted(name))

    def end_phase(self) -> None:
        """End the phase under way."""
        with self._lock:
            self.state = end_phase(self.state, self.elapsed)

    def note(self, text: str) -> None:
        """Write a line that belongs to no host."""
        with self._lock:
            self._say(text)

    def tick(self) -> None:
        """Look at the transfers and tell those who watch."""
        with self._lock:
            before = self.state
            self.state = with_pulled(self.state, self._pulled())
            self._say_pulls(before)
            self._observer.show(self.state, self.elapsed)

    def close(self) -> None:
        """Close the log."""
        self._log.close()

    @contextmanager
    def ticking(self) -> Iterator[None]:
        """Look at the transfers now and then while the block lasts."""
        stop = threading.Event()

        def work() -> None:
            while not stop.wait(TICK_SECONDS):
                self.tick()

        thread = threading.Thread(target=work, name="follower", daemon=True)
        thread.start()
        try:
            yield
        finally:
            stop.set()
            thread.join()
            self.tick()

    def _say(self, text: str) -> None:
        line = f"{self.elapsed:7.1f} s  {text}"
        self._log.write(line + "\n")
        self._observer.line(line)

    def _say_step(self, before: RunState, event: StepEnded) -> None:
        if event.status is Status.SKIPPED:
            return
        label = before.phases[-1].label if before.phases else ""
        took = f"  {event.seconds:.1f} s" if event.seconds >= 0.1 else ""
        status = "" if event.status is Status.OK else f"  {event.status}"
        self._say(f"{event.host}  {label}  {event.step}{took}{status}")
        for line in event.message.splitlines():
            self._say(f"{event.host}  |  {line}")

    def _say_pulls(self, before: RunState) -> None:
        label = self.state.phases[-1].label if self.state.phases else ""
        for name, host in self.state.hosts.items():
            if host.pulled == before.hosts[name].pulled:
                continue
            whole = host.pulled >= host.to_pull > before.hosts[name].pulled
            if not whole and self.elapsed - self._spoken.get(name, 0.0) < PULL_LINE_SECONDS:
                continue
            self._spoken[name] = self.elapsed
            of = f" of {human_bytes(host.to_pull)}" if host.to_pull else ""
            peers = f", {human_bytes(host.from_peers)} of them from other hosts"
            peers = peers if host.from_peers else ""
            self._say(f"{name}  {label}  pull artifacts  {human_bytes(host.pulled)}{of}{peers}")
