"""The end of a run as one frozen value: what each host came to, and what to do. Pure."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from bastide.errors import ApplyError, BastideError, Problem, RollbackError, VerifyError
from bastide.host.files import write_atomic
from bastide.layout import HOST_EVIDENCE
from bastide.run.advice import advise
from bastide.run.changeover import Ended, Ending
from bastide.run.gates import GateResult
from bastide.run.runner import Outcome
from bastide.run.state import Failure, RunState

STEP_FAILED = "BAS-6001"
HOST_LOST = "BAS-6002"
INTERRUPTED = "BAS-6003"
NO_FINAL_COUNT = "BAS-6004"
BROKE_DOWN = "BAS-6005"
ROLLED_BACK = "BAS-6006"
GATE_REFUSED = "BAS-7040"
NOT_ROLLED_BACK = "BAS-8002"

_LAST_LINES = 20


class HostOutcome(StrEnum):
    """What a host came to."""

    OK = "ok"
    CHANGED = "changed"
    FAILED = "failed"
    UNREACHABLE = "unreachable"
    UNFINISHED = "unfinished"


@dataclass(frozen=True)
class HostResult:
    """One host's end.

    Args:
        host: Its name.
        outcome: What it came to.
        changed: Steps that changed something.
        done: Steps that ended well.
        pulled: Bytes fetched, from the depot and from other hosts.
        phase: Where it failed; empty if it did not.
        step: Where it failed; empty if it did not.
        message: What was said; empty if it did not fail.
        code: The host agent's own code, if it gave one.
        advice: What to do; empty if it did not fail.
        from_peers: Bytes of ``pulled`` that came from other hosts.
    """

    host: str
    outcome: HostOutcome
    changed: int
    done: int
    pulled: int
    phase: str = ""
    step: str = ""
    message: str = ""
    code: str = ""
    advice: str = ""
    from_peers: int = 0


@dataclass(frozen=True)
class RunFailure:
    """Why a run is not called good, in the words for the operator.

    Args:
        code: The stable code.
        message: What happened, where.
        hint: What to do.
        problems: Findings, host by host.
        error: What the command fails with, and so its exit code.
    """

    code: str
    message: str
    hint: str
    problems: tuple[Problem, ...] = ()
    error: type[BastideError] = ApplyError


@dataclass(frozen=True)
class ApplyResult:
    """What an apply did. A true ``error`` makes the command fail with its code.

    Args:
        run: The run's id.
        release: The release that was applied.
        generations: The generation of each host that the plan leads to.
        hosts: Each host's end.
        seconds: How long each phase took, in order.
        elapsed: Seconds over all.
        directory: The run's folder.
        log: The timeline.
        notes: What the operator should know besides.
        failure: Why it is not called good; None if it is.
        plan: Digest of the plan that was carried out.
        bundle: Digest of the bundle that it comes from.
        ending: What became of the switch.
        gates: What the gates found.
        undone: Hosts that were brought back to the generation before.
    """

    run: str
    release: str
    generations: dict[str, int]
    hosts: tuple[HostResult, ...]
    seconds: dict[str, float]
    elapsed: float
    directory: Path
    log: Path
    notes: tuple[str, ...] = ()
    failure: RunFailure | None = None
    plan: str = ""
    bundle: str = ""
    ending: Ending = Ending.KEPT
    gates: tuple[GateResult, ...] = ()
    undone: tuple[str, ...] = ()

    @property
    def error(self) -> BastideError | None:
        """What makes the command fail; None if the run is good."""
        if self.failure is None:
            return None
        failure = self.failure
        return failure.error(
            failure.message, code=failure.code, hint=failure.hint, problems=failure.problems
        )

    @property
    def changed(self) -> int:
        """Steps that changed something, over all hosts."""
        return sum(host.changed for host in self.hosts)


def host_results(state: RunState, outcome: Outcome) -> tuple[HostResult, ...]:
    """Return every host's end, worst first and otherwise in the site's order."""
    worst_first = [HostOutcome.UNREACHABLE, HostOutcome.FAILED, HostOutcome.UNFINISHED]
    results = [_host_result(name, state, outcome) for name in state.hosts]
    return tuple(
        sorted(
            results,
            key=lambda r: worst_first.index(r.outcome) if r.outcome in worst_first else 9,
        )
    )


def _host_result(name: str, state: RunState, outcome: Outcome) -> HostResult:
    host = state.hosts[name]
    failure = host.failure
    if failure is not None:
        return HostResult(
            host=name,
            outcome=HostOutcome(str(failure.kind)),
            changed=host.changed,
            done=host.done,
            pulled=host.pulled,
            phase=failure.phase,
            step=failure.step,
            message=_last_lines(failure.message),
            code=failure.code,
            advice=advise(failure),
            from_peers=host.from_peers,
        )
    ending = HostOutcome.CHANGED if host.changed else HostOutcome.OK
    if not outcome.succeeded:
        ending = HostOutcome.UNFINISHED
    return HostResult(
        name, ending, host.changed, host.done, host.pulled, from_peers=host.from_peers
    )


def failure_of(state: RunState, ended: Ended, log: Path) -> RunFailure | None:
    """Return what to tell the operator of a run that did not succeed; None if it did.

    Args:
        state: Where the run stood at its end.
        ended: How it ended.
        log: The timeline, for the hint.
    """
    if ended.ending is Ending.KEPT:
        return None
    if ended.ending is Ending.STUCK:
        return _stuck(state, ended, log)
    if ended.refused is not None and ended.ending is Ending.UNDONE:
        return _refused(ended.refused, log)
    if ended.ending is Ending.UNDONE:
        return _undone(state, ended, log)
    return _cut_off(state, ended, log)


def _refused(gate: GateResult, log: Path) -> RunFailure:
    where = f" on {gate.host}" if gate.host else ""
    report = f"; the whole comparison: {gate.report}" if gate.report else ""
    return RunFailure(
        message=f"the gate '{gate.gate}' was not passed{where}: {gate.words}. Every host runs the "
        "generation before again, with its data",
        code=GATE_REFUSED,
        hint=f"nothing has to be done now{report}; the story: {log}; what the hosts said is in "
        f"{HOST_EVIDENCE} on each",
        error=VerifyError,
    )


def _undone(state: RunState, ended: Ended, log: Path) -> RunFailure:
    failures = state.failures
    why = f"{failures[0].host} failed" if failures else "an earlier run had decided so"
    return RunFailure(
        message=f"rolled back: {why}, so that every host runs the generation before again, with "
        f"its data (brought back: {', '.join(ended.undone) or 'none had been switched'})",
        code=ROLLED_BACK,
        hint=f"put right what is said above, then run `bastide apply` again; the story: {log}; "
        f"what the hosts said is in {HOST_EVIDENCE} on each",
        problems=_problems(failures),
    )


def _stuck(state: RunState, ended: Ended, log: Path) -> RunFailure:
    return RunFailure(
        message="the way back is not complete: a host could not be brought back to the generation "
        f"before (brought back: {', '.join(ended.undone) or 'none'})",
        code=NOT_ROLLED_BACK,
        hint="a person is needed now: do what is said above, then run `bastide apply` again: it "
        f"finishes the way back; the story: {log}",
        problems=_problems(state.failures),
        error=RollbackError,
    )


def _cut_off(state: RunState, ended: Ended, log: Path) -> RunFailure:
    outcome = ended.outcome
    if outcome.cancelled:
        where = f" in phase {state.phases[-1].label}" if state.phases else ""
        untouched = ended.ending is Ending.UNTOUCHED
        what = (
            "every host runs the generation that it ran"
            if untouched
            else "hosts may be changed in part, and a switch that has begun is open: until it is "
            "decided, the vector DB may refuse writes"
        )
        back = "" if untouched else ", or `bastide rollback`: it undoes an open switch"
        return RunFailure(
            message=f"the run was stopped on request{where}: {what}",
            code=INTERRUPTED,
            hint=f"run `bastide apply` again: it goes on{back}",
            problems=_problems(state.failures),
        )
    if state.failures:
        return _failed(state.failures, len(state.hosts), log)
    code = NO_FINAL_COUNT if outcome.finished is None else BROKE_DOWN
    what = "without its final count" if outcome.finished is None else "with an error"
    return RunFailure(
        message=f"Ansible ended {what} (exit code {outcome.returncode}), so nothing is taken for"
        f" good; its last words:\n{_last_lines(outcome.last_words)}",
        code=code,
        hint=f"see {log}; common causes are a full disk on this machine and a killed process",
    )


def _failed(failures: tuple[Failure, ...], hosts: int, log: Path) -> RunFailure:
    lost = all(failure.kind == "unreachable" for failure in failures)
    verb = "could not be reached" if lost else "failed"
    return RunFailure(
        message=f"{len(failures)} of {hosts} hosts {verb}; "
        "hosts are changed in part, none is called good before it has passed HEALTH",
        code=HOST_LOST if lost else STEP_FAILED,
        hint=f"do what is said above, then run `bastide apply` again; the whole story: {log}",
        problems=_problems(failures),
    )


def _problems(failures: tuple[Failure, ...]) -> tuple[Problem, ...]:
    """Return the failures as problems; hosts that failed for one cause stand together."""
    causes: dict[tuple[str, str, str, str], list[Failure]] = {}
    for failure in failures:
        key = (failure.phase, failure.step, failure.code, failure.message)
        causes.setdefault(key, []).append(failure)
    problems = []
    for (phase, step, code, message), group in causes.items():
        hosts = ", ".join(failure.host for failure in group)
        mark = f" [{code}]" if code else ""
        what = f"{phase} {step}{mark}: {_last_lines(message)}".strip()
        problems.append(Problem(hosts, what, advise(group[0])))
    return tuple(problems)


def write_summary(result: ApplyResult, path: Path) -> None:
    """Keep ``result`` as JSON at ``path``, for its owner only."""
    record = {"format": "bastide.summary/1", **dataclasses.asdict(result)}
    if result.failure is not None:
        record["failure"]["error"] = result.failure.error.__name__
    text = json.dumps(record, indent=2, default=str)
    write_atomic(path, text.encode() + b"\n", mode=0o600)


def _last_lines(text: str) -> str:
    return "\n".join(text.strip().splitlines()[-_LAST_LINES:])
