"""All hosts or none: which playbooks run, on which hosts, when something fails at each step."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import dataclass, field

import plan_factories as make
import pytest

from bastide.plan.planner import make_plan
from bastide.plan.resume import Move
from bastide.run.changeover import (
    CLOSED_STEP,
    MARKED_STEP,
    SWITCH_PHASE,
    ChangeOver,
    Ending,
)
from bastide.run.events import Finished, PhaseStarted, Status, StepEnded
from bastide.run.gates import GateResult
from bastide.run.runner import Outcome
from bastide.schema.plan import LeavingHost, Plan
from bastide.schema.release import Gate
from bastide.schema.site import SERVING, Group

PAIR = {"host1": SERVING, "host2": (Group.LLM, Group.EMBEDDINGS)}
ALL = (Gate.HEALTH, Gate.VERIFICATION, Gate.EVALUATION)


def outcome(*, good: bool = True, cancelled: bool = False) -> Outcome:
    finished = Finished({}, {"host1": 0 if good else 1}, {}, ("host1", "host2"))
    return Outcome(finished, 0 if good else 2, cancelled, "")


@dataclass
class Boards:
    """A stage on which playbooks end as they are told to."""

    plan: Plan
    fails: Mapping[str, Outcome] = field(default_factory=dict)
    played: list[str] = field(default_factory=list)
    cancelled: threading.Event = field(default_factory=threading.Event)

    def play(self, playbook: str, variables: Mapping[str, str]) -> Outcome:
        hosts = variables.get("bastide_batch", "")
        out = " out" if variables.get("bastide_stay_out") else ""
        name = f"{playbook.removesuffix('.yml')} {hosts}{out}".strip()
        self.played.append(name)
        return self.fails.get(name, outcome())

    def announce(self, phase: str) -> None:
        self.played.append(phase.split(":", maxsplit=1)[0])

    def say(self, note: str) -> None:
        """Nobody listens."""


@dataclass
class Keeper:
    """Looks, and finds what it is told to."""

    refuses: Gate | None = None
    seen: list[str] = field(default_factory=list)
    stopped_in: str = ""

    def before(self, host: str, cancelled: threading.Event) -> None:
        self._sees(f"before {host}", cancelled)

    def evaluate(self, host: str, cancelled: threading.Event) -> GateResult:
        self._sees(f"evaluate {host}", cancelled)
        return GateResult(Gate.EVALUATION, self.refuses is not Gate.EVALUATION, "", host)

    def _sees(self, what: str, cancelled: threading.Event) -> None:
        self.seen.append(what)
        if what.startswith(self.stopped_in or "never"):
            cancelled.set()

    def verify(self, pass_: str, cancelled: threading.Event) -> GateResult:
        self._sees(f"verify {pass_}", cancelled)
        return GateResult(Gate.VERIFICATION, self.refuses is not Gate.VERIFICATION, "")


def plan_of(gates: tuple[Gate, ...], canary: str | None = "host2") -> Plan:
    hosts = make_plan(make.make_inputs(make.make_site(PAIR))).hosts
    ordered = tuple(sorted(hosts, key=lambda host: host.host, reverse=True))
    return make_plan(make.make_inputs(make.make_site(PAIR))).replace(
        hosts=ordered, gates=gates, canary=canary
    )


def test_a_change_of_settings_goes_in_one_go() -> None:
    boards = Boards(plan_of((Gate.HEALTH,)))
    assert ChangeOver(boards, Keeper(), "p").go(Move.FRESH).ending is Ending.KEPT
    assert boards.played == ["install host2,host1"]


def test_the_canary_passes_its_gate_before_the_others_switch() -> None:
    boards, keeper = Boards(plan_of(ALL)), Keeper()
    ended = ChangeOver(boards, keeper, "p").go(Move.FRESH)
    assert boards.played == [
        "stage", "switch host2 out", "(5/6) GATES", "rotate_in host2", "switch host1",
        "(5/6) GATES", "promote",
    ]  # fmt: skip
    assert keeper.seen == ["before host2", "evaluate host2", "verify p"]
    assert ended.ending is Ending.KEPT
    assert [gate.gate for gate in ended.gates] == [Gate.EVALUATION, Gate.VERIFICATION]


@pytest.mark.parametrize(
    ("hosts", "before", "asked"),
    [
        ({"host1": SERVING, "host2": (Group.LLM,)}, ["host2", "host1"],
         ["evaluate host2", "evaluate host1"]),
        ({"host1": (Group.LLM, Group.EMBEDDINGS, Group.GATEWAY), "host2": (Group.VECTORDB,)},
         ["host1"], ["evaluate host1"]),
        ({"host1": (Group.LLM, Group.VECTORDB, Group.GATEWAY), "host2": (Group.EMBEDDINGS,)},
         ["host2", "host1"], ["evaluate host2", "evaluate host1"]),
    ],
    ids=["llm-only", "no-model", "embeddings-only"],
)  # fmt: skip
def test_what_the_canary_does_not_serve_is_asked_of_another_host(
    hosts: dict[str, tuple[Group, ...]], before: list[str], asked: list[str]
) -> None:
    made = make_plan(make.make_inputs(make.make_site(hosts))).hosts
    plan = plan_of(ALL).replace(hosts=tuple(sorted(made, key=lambda h: h.host, reverse=True)))
    boards, keeper = Boards(plan), Keeper()
    ended = ChangeOver(boards, keeper, "p").go(Move.FRESH)
    assert keeper.seen == [*(f"before {host}" for host in before), *asked, "verify p"]
    assert ended.ending is Ending.KEPT


@pytest.mark.parametrize("gate", [Gate.EVALUATION, Gate.VERIFICATION])
def test_a_gate_that_is_not_passed_takes_every_host_back(gate: Gate) -> None:
    boards = Boards(plan_of(ALL))
    ended = ChangeOver(boards, Keeper(gate), "p").go(Move.FRESH)
    assert ended.ending is Ending.UNDONE
    assert ended.refused is not None
    assert boards.played[-1] == "revert host2,host1"
    assert "promote" not in boards.played
    assert ("switch host1" in boards.played) is (gate is Gate.VERIFICATION)


@pytest.mark.parametrize("failing", ["switch host2 out", "rotate_in host2", "switch host1"])
def test_a_host_that_fails_takes_the_others_back(failing: str) -> None:
    boards = Boards(plan_of(ALL), {failing: outcome(good=False)})
    ended = ChangeOver(boards, Keeper(), "p").go(Move.FRESH)
    assert ended.ending is Ending.UNDONE or failing == "switch host2 out"
    assert not ended.outcome.succeeded
    assert boards.played[-1] == "revert host2,host1"


def test_nothing_is_taken_back_that_was_never_switched() -> None:
    boards = Boards(plan_of(ALL), {"stage": outcome(good=False)})
    assert ChangeOver(boards, Keeper(), "p").go(Move.FRESH).ending is Ending.UNTOUCHED
    assert boards.played == ["stage"]


def test_one_that_was_asked_to_end_leaves_the_rest_to_the_next_run() -> None:
    boards = Boards(plan_of(ALL), {"switch host1": outcome(good=False, cancelled=True)})
    assert ChangeOver(boards, Keeper(), "p").go(Move.FRESH).ending is Ending.OPEN
    assert boards.played[-1] == "switch host1"


def test_a_host_that_cannot_go_back_does_not_keep_the_others() -> None:
    bad = outcome(good=False)
    boards = Boards(
        plan_of((Gate.HEALTH,)),
        {"install host2,host1": bad, "revert host2,host1": bad, "revert host1": bad},
    )
    over = ChangeOver(boards, Keeper(), "p")
    over.take(PhaseStarted(SWITCH_PHASE))
    assert over.go(Move.FRESH).ending is Ending.STUCK
    assert boards.played[-2:] == ["revert host2", "revert host1"]


def test_what_was_decided_is_only_finished() -> None:
    boards = Boards(plan_of(ALL))
    assert ChangeOver(boards, Keeper(), "p").go(Move.PROMOTE).ending is Ending.KEPT
    assert ChangeOver(boards, Keeper(), "p").go(Move.REVERT).ending is not Ending.KEPT
    assert boards.played == ["promote", "revert host2,host1"]


@pytest.mark.parametrize(("step", "ending"), [(MARKED_STEP, Ending.OPEN), ("x", Ending.UNDONE)])
def test_nothing_goes_back_once_a_host_was_marked_good(step: str, ending: Ending) -> None:
    """A host that is lost while the others are marked: they have closed their transitions."""
    boards = Boards(plan_of((Gate.HEALTH,)), {"install host2,host1": outcome(good=False)})
    over = ChangeOver(boards, Keeper(), "p")
    over.take(PhaseStarted(f"{SWITCH_PHASE}: host by host"))
    over.take(StepEnded("host2", step, "base", Status.CHANGED))
    over.take(StepEnded("host2", CLOSED_STEP, "base", Status.CHANGED))
    assert over.go(Move.FRESH).ending is ending
    assert ("revert host2,host1" in boards.played) is (ending is Ending.UNDONE)


@pytest.mark.parametrize(
    ("move", "ending"), [(Move.FRESH, Ending.UNTOUCHED), (Move.FORWARD, Ending.OPEN)]
)
def test_a_failure_before_the_switch_disturbs_no_host(move: Move, ending: Ending) -> None:
    boards = Boards(plan_of((Gate.HEALTH,)), {"install host2,host1": outcome(good=False)})
    over = ChangeOver(boards, Keeper(), "p")
    over.take(PhaseStarted("(2/6) STAGE: bring agent"))
    assert over.go(move).ending is ending
    assert boards.played == ["install host2,host1"]


@pytest.mark.parametrize("gate", [Gate.EVALUATION, Gate.VERIFICATION])
@pytest.mark.parametrize("passes", [True, False])
def test_a_gate_that_was_stopped_is_no_verdict(gate: Gate, passes: bool) -> None:
    boards = Boards(plan_of(ALL))
    stopped = {Gate.EVALUATION: "evaluate", Gate.VERIFICATION: "verify"}[gate]
    ended = ChangeOver(boards, Keeper(None if passes else gate, stopped_in=stopped), "p").go(
        Move.FRESH
    )
    assert ended.ending is Ending.OPEN
    assert ended.outcome.cancelled
    assert ended.refused is None
    assert boards.played[-1] == "(5/6) GATES"


@pytest.mark.parametrize(
    ("move", "ending"), [(Move.FRESH, Ending.UNTOUCHED), (Move.FORWARD, Ending.OPEN)]
)
def test_one_that_is_stopped_before_the_switch_has_changed_nothing_live(
    move: Move, ending: Ending
) -> None:
    boards = Boards(plan_of(ALL))
    ended = ChangeOver(boards, Keeper(stopped_in="before"), "p").go(move)
    assert (ended.ending, ended.outcome.cancelled) == (ending, True)
    assert boards.played == ["stage"]


@pytest.mark.parametrize("gates", [(Gate.HEALTH,), ALL])
def test_hosts_that_left_stop_after_everything_is_good(gates: tuple[Gate, ...]) -> None:
    left = LeavingHost(host="host3", address="10.0.0.13", groups=(Group.LLM,))
    boards = Boards(plan_of(gates).replace(leaving=(left,)))
    assert ChangeOver(boards, Keeper(), "p").go(Move.FRESH).ending is Ending.KEPT
    assert boards.played[-1] == "retire"
    assert boards.played[-2] in {"promote", "install host2,host1"}


def test_a_host_that_is_forgotten_is_left_alone() -> None:
    left = LeavingHost(host="host3", address="10.0.0.13", groups=(Group.LLM,), forgotten=True)
    boards = Boards(plan_of((Gate.HEALTH,)).replace(leaving=(left,)))
    assert ChangeOver(boards, Keeper(), "p").go(Move.FRESH).ending is Ending.KEPT
    assert boards.played == ["install host2,host1"]


def test_a_host_that_does_not_stop_is_tried_again_by_the_next_run() -> None:
    left = LeavingHost(host="host3", address="10.0.0.13", groups=(Group.LLM,))
    boards = Boards(
        plan_of((Gate.HEALTH,)).replace(leaving=(left,)), {"retire": outcome(good=False)}
    )
    assert ChangeOver(boards, Keeper(), "p").go(Move.FRESH).ending is Ending.OPEN


def test_nothing_stops_while_hosts_go_back() -> None:
    left = LeavingHost(host="host3", address="10.0.0.13", groups=(Group.LLM,))
    boards = Boards(plan_of(ALL).replace(leaving=(left,)))
    assert ChangeOver(boards, Keeper(Gate.VERIFICATION), "p").go(Move.FRESH).ending is Ending.UNDONE
    assert "retire" not in boards.played
