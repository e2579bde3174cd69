"""A plan's way onto the hosts: staged, switched, past its gates; then kept, or undone."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from bastide.plan.resume import Move
from bastide.plan.switching import early_gateways
from bastide.run.events import Event, PhaseStarted, Status, StepEnded
from bastide.run.gates import GateKeeper, GateResult
from bastide.run.runner import Outcome
from bastide.schema.plan import Plan
from bastide.schema.release import Gate
from bastide.schema.site import Group

INSTALL, STAGE, SWITCH = "install.yml", "stage.yml", "switch.yml"
ROTATE_IN, PROMOTE, REVERT = "rotate_in.yml", "promote.yml", "revert.yml"
RETIRE = "retire.yml"
GATES_PHASE = "(5/6) GATES: prove the new generations before they are kept"
CLOSED_STEP = "Data is as before, writes are let in"  # a host's last step of a revert
SWITCH_PHASE = "(4/6) SWITCH"  # before its first step there is nothing to undo
MARKED_STEP = "Generation is marked good"  # from its first one on there is no way back


_MODELS = frozenset({Group.LLM, Group.EMBEDDINGS})
# What stands for a playbook's outcome when a gate was stopped; 254 is ansible-runner's own code.
STOPPED = Outcome(finished=None, returncode=254, cancelled=True, last_words="")


class Ending(StrEnum):
    """What became of the transitions that a run opened or found."""

    KEPT = "kept"  # the new generations are marked good
    UNTOUCHED = "untouched"  # it failed before the first switch
    OPEN = "open"  # it was asked to end, or marks are left: the next run goes on
    UNDONE = "undone"  # every host runs the generation before again
    STUCK = "stuck"  # some host could not be brought back


@dataclass(frozen=True)
class Ended:
    """How a change-over ended.

    Args:
        outcome: Of the playbook that decided it.
        ending: What became of the transitions.
        gates: What the gates found, in order.
        undone: Hosts that were brought back.
    """

    outcome: Outcome
    ending: Ending
    gates: tuple[GateResult, ...] = ()
    undone: tuple[str, ...] = ()

    @property
    def refused(self) -> GateResult | None:
        """The gate that was not passed; None if all were."""
        return next((gate for gate in self.gates if not gate.passed), None)


class Stage(Protocol):
    """Where a change-over plays: the run under way."""

    @property
    def plan(self) -> Plan:
        """The plan that is carried out."""

    @property
    def cancelled(self) -> threading.Event:
        """Set once somebody has asked for the end."""

    def play(self, playbook: str, variables: Mapping[str, str]) -> Outcome:
        """Run a playbook to its end; return how it ended."""

    def announce(self, phase: str) -> None:
        """Begin a phase that no playbook announces."""

    def say(self, note: str) -> None:
        """Write a line into the timeline."""


class ChangeOver:
    """One plan on its way.

    Args:
        stage: The run.
        keeper: Who looks at the gates.
        pass_: What lets the gates write vectors while clients may not.
    """

    def __init__(self, stage: Stage, keeper: GateKeeper, pass_: str) -> None:
        self._stage = stage
        self._keeper = keeper
        self._pass = pass_
        self._gates: list[GateResult] = []
        self._closed: set[str] = set()
        self._begun = False
        self._marking = False

    def go(self, move: Move) -> Ended:
        """Carry the plan out, or finish what an earlier run left open."""
        if move is Move.REVERT:
            self._stage.say("an earlier run had decided to go back: that is finished now")
            return self._undo(None)
        if move is Move.PROMOTE:
            self._stage.say("an earlier run had passed its gates: only marks are left")
            return self._promote()
        plan = self._stage.plan
        if set(plan.gates) <= {Gate.HEALTH}:
            return self._in_one_go(move)
        staged = self._play(STAGE)
        if not staged.succeeded:
            return Ended(staged, self._ending_of_failed_stage(move))
        for host in self._evaluated() if Gate.EVALUATION in plan.gates else ():
            self._stage.say(f"{host}  asking the present generation the golden questions")
            self._keeper.before(host, self._stage.cancelled)
            if self._stage.cancelled.is_set():
                return Ended(STOPPED, self._ending_of_failed_stage(move))
        return self._switch_batches() or self._prove_site() or self._promote()

    def take(self, event: Event) -> None:
        """See an event of a playbook under way."""
        if isinstance(event, PhaseStarted):
            self._begun |= event.name.startswith(SWITCH_PHASE)
        if not isinstance(event, StepEnded):
            return
        self._marking |= event.step == MARKED_STEP
        if event.step == CLOSED_STEP:
            self._closed |= {event.host} if event.status is Status.CHANGED else set()

    # --- inside ------------------------------------------------------------------------------
    def _in_one_go(self, move: Move) -> Ended:
        outcome = self._play(INSTALL, self._hosts(), self._partial())
        if outcome.succeeded:
            return self._retire(outcome)
        if not self._begun:
            return Ended(outcome, self._ending_of_failed_stage(move))
        if self._marking:  # some hosts may have closed their transition: only forward is left
            return self._ended(outcome, Ending.OPEN)
        return self._undo(outcome)

    def _ending_of_failed_stage(self, move: Move) -> Ending:
        return Ending.OPEN if move is Move.FORWARD else Ending.UNTOUCHED

    def _switch_batches(self) -> Ended | None:
        """Switch the canary, prove it, then the others; None if all went well."""
        canary = self._stage.plan.canary
        if canary is not None:
            apart = self._has_stand_in(canary)
            failed = self._switch((canary,), stay_out=apart)
            if not failed and canary in self._evaluated():
                failed = self._ask_gate(Gate.EVALUATION, canary)
            if failed:
                return failed
            if apart:
                back = self._play(ROTATE_IN, (canary,))
                if not back.succeeded:
                    return self._undo(back)
        return self._switch([name for name in self._hosts() if name != canary], stay_out=False)

    def _switch(self, hosts: Iterable[str], *, stay_out: bool) -> Ended | None:
        variables = {"bastide_stay_out": "true"} if stay_out else self._partial()
        outcome = self._play(SWITCH, hosts, variables)
        return None if outcome.succeeded else self._undo(outcome)

    def _prove_site(self) -> Ended | None:
        plan = self._stage.plan
        asked = {result.host for result in self._gates if result.gate is Gate.EVALUATION}
        for host in (each for each in self._evaluated() if each not in asked):
            failed = self._ask_gate(Gate.EVALUATION, host)
            if failed:
                return failed
        if Gate.VERIFICATION in plan.gates:
            return self._ask(lambda: self._keeper.verify(self._pass, self._stage.cancelled))
        return None

    def _ask_gate(self, gate: Gate, host: str) -> Ended | None:
        if gate not in self._stage.plan.gates:
            return None
        return self._ask(lambda: self._keeper.evaluate(host, self._stage.cancelled))

    def _ask(self, look: Callable[[], GateResult]) -> Ended | None:
        self._stage.announce(GATES_PHASE)
        started = time.monotonic()
        result = look()
        if self._stage.cancelled.is_set():  # no verdict: the transition stays open
            self._stage.say(f"gate {result.gate} was stopped on request")
            return self._ended(STOPPED, Ending.OPEN)
        self._gates.append(result)
        mark = "passed" if result.passed else "NOT PASSED"
        took = time.monotonic() - started
        where = f"{result.host}  " if result.host else ""
        self._stage.say(f"{where}gate {result.gate} {mark} in {took:.1f} s: {result.words}")
        return None if result.passed else self._undo(None)

    def _promote(self) -> Ended:
        outcome = self._play(PROMOTE)
        return self._retire(outcome) if outcome.succeeded else self._ended(outcome, Ending.OPEN)

    def _retire(self, promoted: Outcome) -> Ended:
        """Take out of service what has left the site: nobody is sent there any more."""
        for gone in (each for each in self._stage.plan.leaving if each.forgotten):
            self._stage.say(f"{gone.host}  left the site and is forgotten: nothing was done on it")
        if all(each.forgotten for each in self._stage.plan.leaving):
            return self._ended(promoted, Ending.KEPT)
        outcome = self._play(RETIRE)
        return self._ended(outcome, Ending.KEPT if outcome.succeeded else Ending.OPEN)

    def _undo(self, failed: Outcome | None) -> Ended:
        """Bring every host with an open transition back; all of them, or say which could not."""
        if failed is not None and failed.cancelled:
            return self._ended(failed, Ending.OPEN)
        hosts = self._hosts()  # as they went: the gateway learns last where everything is
        self._stage.say("going back: every host returns to the generation before")
        outcome = self._play(REVERT, hosts)
        if not outcome.succeeded and not outcome.cancelled and len(hosts) > 1:
            # A serial play ends with the first host that fails: each of them gets its own.
            each = [self._play(REVERT, (host,)) for host in hosts]
            outcome = next((o for o in each if not o.succeeded), outcome)
            outcome = each[-1] if all(o.succeeded for o in each) else outcome
        if outcome.cancelled:
            return self._ended(outcome, Ending.OPEN)
        stuck = not outcome.succeeded
        return self._ended(failed or outcome, Ending.STUCK if stuck else Ending.UNDONE)

    def _ended(self, outcome: Outcome, ending: Ending) -> Ended:
        undone = tuple(host for host in self._hosts() if host in self._closed)
        if ending is Ending.UNDONE and not undone and not self._gates:
            ending = Ending.UNTOUCHED  # it failed before any transition was open
        return Ended(outcome, ending, tuple(self._gates), undone)

    def _play(
        self, playbook: str, hosts: Iterable[str] = (), variables: Mapping[str, str] | None = None
    ) -> Outcome:
        batch = {"bastide_batch": ",".join(hosts)} if hosts else {}
        return self._stage.play(playbook, {**batch, **(variables or {})})

    def _hosts(self) -> tuple[str, ...]:
        return tuple(host.host for host in self._stage.plan.hosts)

    def _partial(self) -> dict[str, str]:
        """Return the variable that names gateways with nothing behind them at their turn."""
        early = early_gateways(self._stage.plan)
        return {"bastide_partial": ",".join(early)} if early else {}

    def _has_stand_in(self, canary: str) -> bool:
        """Return whether other hosts do all that the canary does, so that it can stay out."""
        hosts = {host.host: set(host.groups) for host in self._stage.plan.hosts}
        others = set().union(*(groups for name, groups in hosts.items() if name != canary))
        return Group.GATEWAY not in hosts[canary] and hosts[canary] <= others

    def _evaluated(self) -> tuple[str, ...]:
        """Return the hosts that are asked the golden questions: as few as serve all models.

        The canary comes first, if it serves any; then who serves most of what is left.
        """
        canary = self._stage.plan.canary
        serving = {host.host: _MODELS & set(host.groups) for host in self._stage.plan.hosts}
        chosen: list[str] = [canary] if canary is not None and serving.get(canary) else []
        left = _MODELS.difference(*(serving[name] for name in chosen))
        while serving and left:
            best = max(serving, key=lambda name: len(serving[name] & left))
            if not serving[best] & left:
                break
            chosen.append(best)
            left -= serving[best]
        return tuple(chosen)
