"""In which order hosts switch, past which gates, with what data; and what a cut-off run left."""

from __future__ import annotations

import dataclasses
from typing import Any

import plan_factories as make
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bastide.errors import PreflightError
from bastide.plan import switching
from bastide.plan.path import Road
from bastide.plan.planner import make_plan
from bastide.plan.resume import Move, next_move
from bastide.schema.facts import DataSnapshot, GoodGeneration, HostFacts, Transition
from bastide.schema.plan import UnitChange
from bastide.schema.site import SERVING, Group

WANTED = make.sha("wanted")
OLD = make.sha("old")
PAIR = {
    "host1": SERVING,
    "host2": (Group.LLM, Group.EMBEDDINGS),
}


def opened(**changes: Any) -> Transition:
    values = {"run": "r2", "before": 1, "after": 2, "content": WANTED}
    return Transition.model_validate({**values, **changes})


def good(number: int, content: str = OLD, run: str = "r1") -> GoodGeneration:
    return GoodGeneration(number=number, content=content, since="2026-11-26T00:00:00Z", run=run)


def live(generation: int | None = 1, **changes: Any) -> HostFacts:
    return make.make_facts(generation=generation, **changes)


def test_the_canary_is_the_llm_server_with_the_least_to_do() -> None:
    site = make.make_site(PAIR)
    assert switching.canary_of(site, {"host1": live(), "host2": live()}) == "host2"


def test_a_site_of_one_host_and_a_first_installation_have_no_canary() -> None:
    assert switching.canary_of(make.make_site(), {"host1": live()}) is None
    site = make.make_site(PAIR)
    assert switching.canary_of(site, {"host1": live(), "host2": live(None)}) is None


def test_the_site_may_name_its_canary() -> None:
    site = make.make_site(PAIR)
    site = site.replace(upgrades=site.upgrades.replace(canary="host1"))
    assert switching.canary_of(site, {"host1": live(), "host2": live()}) == "host1"


@given(st.permutations(["a", "b", "c", "d"]), st.sampled_from(["a", "b", "c", "d", None]))
def test_every_host_switches_once_the_gateway_last(names: list[str], canary: str | None) -> None:
    groups = ((Group.LLM,), (Group.VECTORDB,), (Group.GATEWAY,), (Group.EMBEDDINGS,))
    order = switching.host_order(make.make_site(dict(zip(names, groups, strict=True))), canary)
    assert sorted(order) == sorted(names)
    if canary is not None:
        assert order[0] == canary
    if canary != names[2]:
        assert order[-1] == names[2]


def snapshot(generation: int, id_: str = "s1") -> DataSnapshot:
    return DataSnapshot(
        id=id_, generation=generation, created="2026-11-26T00:00:00Z", creator="0.1.0", size=10,
        points={"docs": 4},
    )  # fmt: skip


RESTART = (UnitChange(name=switching.VECTORDB_UNIT, action="restart"),)
RUNS = {"bastide-vectordb.service": "active"}


def test_data_is_copied_before_its_service_changes_and_only_then() -> None:
    inputs, facts = make.make_inputs(), live(units=RUNS, data_bytes=77)
    (step,) = switching.data_steps(inputs, facts, RESTART, 2)
    assert (step.kind, step.bytes) == ("snapshot", 77)
    assert switching.data_steps(inputs, facts, (), 2) == ()
    assert switching.data_steps(inputs, live(None), RESTART, 1) == ()
    assert switching.data_steps(inputs, live(2, units=RUNS), RESTART, 2) == ()


def test_a_rollback_puts_back_the_data_of_the_generation_that_it_goes_to() -> None:
    inputs = dataclasses.replace(make.make_inputs(), road=Road(rollback=True))
    facts = live(3, units=RUNS, snapshots=(snapshot(1), snapshot(2, "s2")))
    (step,) = switching.data_steps(inputs, facts, RESTART, 2)
    assert (step.kind, step.snapshot) == ("restore", "s2")
    assert switching.data_steps(inputs, live(3, units=RUNS), RESTART, 2) == ()
    kept = dataclasses.replace(inputs, keep_data=True)
    assert [s.kind for s in switching.data_steps(kept, facts, RESTART, 2)] == ["snapshot"]


@given(
    built=st.sets(st.integers(1, 12), min_size=1),
    proved=st.sets(st.integers(1, 12)),
    keep=st.integers(2, 5),
    data=st.data(),
)
def test_the_last_good_generation_is_never_collected(
    built: set[int], proved: set[int], keep: int, data: st.DataObject
) -> None:
    current = data.draw(st.sampled_from(sorted(built)))
    target = data.draw(st.sampled_from([*sorted(built), max(built) + 1]))
    facts = live(
        current,
        generations={n: make.sha(str(n)) for n in built},
        good=tuple(good(n) for n in sorted(proved)),
    )
    gone = set(switching.collected(facts, target, keep))
    kept_good = sorted((proved & built) - {target})[-(keep - 1) :]
    assert not gone & {current, target, *kept_good}
    assert gone <= built


def moves(*, undo: bool = False, **hosts: HostFacts) -> Move:
    return next_move(hosts, dict.fromkeys(hosts, WANTED), undo=undo)


def new(**changes: Any) -> HostFacts:
    return live(2, generation_digest=WANTED, **changes)


def test_what_a_cut_off_run_left_is_finished_in_one_way_for_all_hosts() -> None:
    done = new(good=(good(1), good(2, WANTED, "r2")))
    half, not_yet = new(transition=opened()), live(1, good=(good(1),))
    assert moves(host1=not_yet, host2=not_yet) is Move.FRESH
    assert moves(host1=half, host2=not_yet) is Move.FORWARD
    assert moves(host1=half, host2=done) is Move.PROMOTE
    back = live(1, transition=opened(reverting=True))
    assert moves(host1=half, host2=back) is Move.REVERT
    assert moves(host1=back, host2=not_yet) is Move.REVERT


def test_a_host_that_is_marked_good_has_no_way_back() -> None:
    done, half = new(good=(good(2, WANTED, "r2"),)), new(transition=opened())
    behind = live(1, transition=opened())
    assert moves(host1=half, host2=done, undo=True) is Move.PROMOTE
    assert moves(host1=behind, host2=done) is Move.FORWARD, "not all of them are switched"
    assert moves(host1=behind, host2=done, undo=True) is Move.FORWARD
    marking = new(good=(good(2, WANTED, "r2"),), transition=opened())
    assert moves(host1=marking) is Move.PROMOTE, "killed between the mark and the end"
    again = new(good=(good(2, WANTED, "r1"),), transition=opened())
    assert moves(host1=again) is Move.FORWARD, "the mark is of an earlier stay"
    with pytest.raises(PreflightError) as caught:
        moves(host1=new(transition=opened(content=OLD)), host2=done, undo=True)
    assert "rollback" not in caught.value.hint


def test_an_undo_goes_back_whatever_is_wanted() -> None:
    foreign = live(2, transition=opened(content=OLD))
    assert moves(host1=foreign, undo=True) is Move.REVERT
    assert moves(host1=live(1), undo=True) is Move.REVERT, "a fence may have been left"


def test_a_switch_to_something_else_is_not_overrun() -> None:
    with pytest.raises(PreflightError, match="does not lead to what is wanted") as caught:
        moves(host1=live(2, transition=opened(content=OLD)))
    assert "bastide rollback" in caught.value.hint


def test_an_unproved_generation_is_a_change_and_has_gates() -> None:
    inputs = make.make_inputs()
    plan = make_plan(inputs)
    host = plan.hosts[0]
    facts = make.make_facts(
        generation=1, generation_digest=host.generation_digest, contents={},
        generations={1: host.generation_digest},
        transition=opened(after=1, before=None, content=host.generation_digest),
    )  # fmt: skip
    again = make_plan(
        dataclasses.replace(inputs, facts=make.make_inputs(facts={"host1": facts}).facts)
    )
    assert any("cut off" in what for what in again.hosts[0].drift)
    assert again.changes


TWO_GATEWAYS = {"host1": SERVING, "host2": (Group.LLM, Group.GATEWAY)}


def test_a_gateway_may_come_before_what_it_needs_only_if_nobody_serves_it() -> None:
    inputs = make.make_inputs(make.make_site(TWO_GATEWAYS))
    plan = make_plan(inputs)
    assert [host.host for host in plan.hosts] == ["host2", "host1"]
    assert switching.early_gateways(plan) == ("host2",)  # no vector DB, no embeddings yet
    done = make.applied(inputs, plan)
    assert switching.early_gateways(make_plan(done)) == ()


def test_one_gateway_comes_last_and_needs_everything() -> None:
    site = make.make_site({"host1": (Group.GATEWAY,), "host2": SERVING[:-1]})
    assert switching.early_gateways(make_plan(make.make_inputs(site))) == ()
    assert switching.early_gateways(make_plan(make.make_inputs())) == ()
