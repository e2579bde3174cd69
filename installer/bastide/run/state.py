"""Where a run stands: a value that each event turns into the next one. Pure."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping
from dataclasses import dataclass

from bastide.run.events import Event, Finished, PhaseStarted, Status, StepEnded, StepStarted

_PHASE = re.compile(r"^\((?P<number>\d+)/(?P<of>\d+)\)\s*(?P<word>[^:]+)(?::\s*(?P<text>.*))?$")


@dataclass(frozen=True)
class Failure:
    """What went wrong on one host.

    Args:
        host: The host's name.
        phase: The phase's name.
        step: The step's name.
        kind: ``failed`` or ``unreachable``.
        message: What was said.
        code: The host agent's code, or empty.
        hint: The host agent's advice, or empty.
    """

    host: str
    phase: str
    step: str
    kind: Status
    message: str
    code: str = ""
    hint: str = ""


@dataclass(frozen=True)
class HostState:
    """One host in a run.

    Args:
        step: The step that ended last.
        status: How that ended; a failure stays.
        done: Steps that ended well.
        changed: Steps that changed something.
        failure: What went wrong, if anything did.
        pulled: Bytes that the host has fetched, from the depot and from other hosts.
        to_pull: Bytes that the plan makes it fetch.
        from_peers: Those of ``pulled`` that came from other hosts.
    """

    step: str = ""
    status: Status | None = None
    done: int = 0
    changed: int = 0
    failure: Failure | None = None
    pulled: int = 0
    to_pull: int = 0
    from_peers: int = 0


@dataclass(frozen=True)
class Phase:
    """A phase that has begun.

    Args:
        name: Its whole name.
        started: When it began, in seconds since the run's start.
        ended: When it ended; None while it lasts.
    """

    name: str
    started: float
    ended: float | None = None

    @property
    def label(self) -> str:
        """The short form: ``(2/5) STAGE``."""
        found = _PHASE.match(self.name)
        return f"({found['number']}/{found['of']}) {found['word'].strip()}" if found else self.name

    @property
    def word(self) -> str:
        """The phase's one word in lower case: ``stage``."""
        found = _PHASE.match(self.name)
        return (found["word"] if found else self.name).strip().lower()


@dataclass(frozen=True)
class RunState:
    """The whole run.

    Args:
        hosts: By name, in the site's order.
        phases: Those that have begun, in order.
        step: The step that is being worked on.
        finished: Ansible's final count; None until it came.
    """

    hosts: Mapping[str, HostState]
    phases: tuple[Phase, ...] = ()
    step: str = ""
    finished: Finished | None = None

    @classmethod
    def begin(cls, to_pull: Mapping[str, int]) -> RunState:
        """Return the state before anything happened, for hosts with the bytes each will pull."""
        return cls({host: HostState(to_pull=size) for host, size in to_pull.items()})

    @property
    def phase(self) -> Phase | None:
        """The phase that lasts now."""
        return self.phases[-1] if self.phases and self.phases[-1].ended is None else None

    @property
    def failures(self) -> tuple[Failure, ...]:
        """What went wrong, host by host."""
        return tuple(host.failure for host in self.hosts.values() if host.failure)

    @property
    def changed(self) -> int:
        """How many steps changed something, over all hosts."""
        return sum(host.changed for host in self.hosts.values())

    def seconds_by_phase(self) -> dict[str, float]:
        """Return how long each ended phase took; plays of one name count together."""
        seconds: dict[str, float] = {}
        for phase in self.phases:
            if phase.ended is not None:
                seconds[phase.word] = seconds.get(phase.word, 0.0) + phase.ended - phase.started
        return seconds


def advance(state: RunState, event: Event, at: float) -> RunState:
    """Return the state after ``event``, which happened ``at`` seconds after the run's start."""
    match event:
        case PhaseStarted(name):
            phases = (*end_phase(state, at).phases, Phase(name, at))
            return dataclasses.replace(state, phases=phases, step="")
        case StepStarted(name):
            return dataclasses.replace(state, step=name)
        case StepEnded():
            host = _after_step(state, state.hosts.get(event.host, HostState()), event)
            return dataclasses.replace(state, hosts={**state.hosts, event.host: host})
        case Finished():
            return dataclasses.replace(end_phase(state, at), finished=event, step="")


def end_phase(state: RunState, at: float) -> RunState:
    """Return the state with its phase ended."""
    if state.phase is None:
        return state
    ended = dataclasses.replace(state.phase, ended=at)
    return dataclasses.replace(state, phases=(*state.phases[:-1], ended))


@dataclass(frozen=True)
class Fetched:
    """What a host has fetched so far, in bytes.

    Args:
        from_depot: From the control node.
        from_peers: From other hosts.
    """

    from_depot: int = 0
    from_peers: int = 0


def with_pulled(state: RunState, fetched: Mapping[str, Fetched]) -> RunState:
    """Return the state with what hosts have fetched so far."""
    hosts = dict(state.hosts)
    for name, each in fetched.items():
        total = each.from_depot + each.from_peers
        if name in hosts and hosts[name].pulled != total:
            hosts[name] = dataclasses.replace(hosts[name], pulled=total, from_peers=each.from_peers)
    return dataclasses.replace(state, hosts=hosts)


def with_to_pull(state: RunState, to_pull: Mapping[str, int]) -> RunState:
    """Return the state with the bytes that hosts are going to fetch."""
    hosts = {
        name: dataclasses.replace(host, to_pull=to_pull.get(name, 0))
        for name, host in state.hosts.items()
    }
    return dataclasses.replace(state, hosts=hosts)


def _after_step(state: RunState, host: HostState, event: StepEnded) -> HostState:
    if event.status in {Status.FAILED, Status.UNREACHABLE}:
        phase = state.phases[-1].label if state.phases else ""
        failure = Failure(
            event.host, phase, event.step, event.status, event.message, event.code, event.hint
        )
        return dataclasses.replace(
            host, step=event.step, status=event.status, failure=host.failure or failure
        )
    if event.status is Status.SKIPPED:
        return host
    return dataclasses.replace(
        host,
        step=event.step,
        status=host.status if host.failure else event.status,
        done=host.done + 1,
        changed=host.changed + (event.status is Status.CHANGED),
    )
