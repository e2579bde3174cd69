"""Hosts that come and go: who is touched, who is let go, and whose data is not left behind."""

from __future__ import annotations

import dataclasses
import io

import plan_factories as make
import pytest
from rich.console import Console

from bastide.cli.plan_view import print_plan
from bastide.errors import ConfigError
from bastide.plan.inputs import PlanInputs
from bastide.plan.leaving import departed_hosts
from bastide.plan.planner import make_plan
from bastide.plan.staleness import is_stale
from bastide.schema.facts import DepartedHost
from bastide.schema.release import Gate
from bastide.schema.site import Group, Site

CORE = (Group.LLM, Group.EMBEDDINGS, Group.VECTORDB)
PAIR = {"data": CORE, "gate": (Group.GATEWAY,)}
SECRET = "/etc/bastide/secrets/api_key"


def settled(hosts: dict[str, tuple[Group, ...]]) -> PlanInputs:
    inputs = make.make_inputs(make.make_site(hosts))
    return make.applied(inputs, make_plan(inputs))


def after(inputs: PlanInputs, site: Site, **departed: DepartedHost) -> PlanInputs:
    """Return the inputs of another site whose hosts are as they were, or new."""
    fresh = make.make_inputs(site)
    known = {name: f for name, f in inputs.facts.hosts.items() if name in site.hosts}
    hosts = {**fresh.facts.hosts, **known}
    return dataclasses.replace(fresh, facts=inputs.facts.replace(hosts=hosts, departed=departed))


def gone(inputs: PlanInputs, name: str, **facts: object) -> DepartedHost:
    host = inputs.site.hosts[name]
    return DepartedHost(
        address=str(host.address),
        groups=tuple(str(group) for group in host.groups),
        facts=inputs.facts.hosts[name].replace(secrets={SECRET: "x"}, **facts),
    )


def three() -> PlanInputs:
    return settled({**PAIR, "extra": (Group.LLM,)})


def test_a_new_host_is_all_that_is_planned_beside_what_its_files_change() -> None:
    before = settled(PAIR)
    plan = make_plan(after(before, make.make_site({**PAIR, "extra": (Group.LLM,)})))
    changing = {host.host for host in plan.hosts if host.changes}
    assert changing == {"extra"}  # these trees name no peers; the real ones: test_render_many_hosts
    assert plan.canary is None
    assert Gate.HEALTH in plan.gates
    assert [host.host for host in plan.hosts][-1] == "gate"  # it learns of the new one last


def test_a_host_that_leaves_stops_and_keeps_its_data() -> None:
    inputs = three()
    plan = make_plan(after(inputs, make.make_site(PAIR), extra=gone(inputs, "extra")))
    (leaving,) = plan.leaving
    assert leaving.units == ("bastide-llm.service",)
    assert leaving.secrets == (SECRET,)
    assert plan.changes == 1
    stream = io.StringIO()
    print_plan(Console(file=stream, width=100), plan)
    assert "extra (10.0.0.13): llm, leaves the site" in stream.getvalue()
    assert "- stop bastide-llm.service" in stream.getvalue()
    assert "1 host leaves the site." in stream.getvalue()


def test_a_host_out_of_reach_must_be_forgotten_by_name() -> None:
    inputs = three()
    lost = gone(inputs, "extra").replace(facts=None, reason="No route to host")
    wanted = after(inputs, make.make_site(PAIR), extra=lost)
    with pytest.raises(ConfigError) as caught:
        make_plan(wanted)
    assert caught.value.code == "BAS-2151"
    assert "--forget extra" in caught.value.hint
    plan = make_plan(dataclasses.replace(wanted, forget=frozenset({"extra"})))
    assert [(each.host, each.forgotten) for each in plan.leaving] == [("extra", True)]
    assert plan.leaving[0].units == ()


def test_a_host_of_the_site_cannot_be_forgotten() -> None:
    with pytest.raises(ConfigError) as caught:
        make_plan(dataclasses.replace(settled(PAIR), forget=frozenset({"data"})))
    assert caught.value.code == "BAS-2153"


def test_vector_data_is_not_left_behind_unless_the_site_says_so() -> None:
    inputs = settled({**PAIR, "extra": (Group.LLM,)})
    inputs = make.with_facts(inputs, "data", data_bytes=4096)
    moved = {"data": (Group.LLM, Group.EMBEDDINGS), "gate": (Group.GATEWAY,)}
    site = make.make_site({**moved, "extra": (Group.LLM, Group.VECTORDB)})
    with pytest.raises(ConfigError) as caught:
        make_plan(after(inputs, site))
    assert caught.value.code == "BAS-2152"
    waived = site.replace(upgrades=site.upgrades.replace(leaves_data_on=("data",)))
    assert make_plan(after(inputs, waived)).changes


@pytest.mark.parametrize("dead", [False, True])
def test_a_vector_db_host_leaves_without_its_data_only_if_it_is_dead(dead: bool) -> None:
    inputs = settled({"old": (Group.VECTORDB,), "rest": (Group.LLM, Group.EMBEDDINGS),
        "gate": (Group.GATEWAY,)})  # fmt: skip
    site = make.make_site(
        {"rest": (Group.LLM, Group.EMBEDDINGS), "gate": (Group.GATEWAY,), "new": (Group.VECTORDB,)}
    )
    left = gone(inputs, "old", data_bytes=4096)
    if dead:
        left = left.replace(facts=None, reason="gone")
        wanted = dataclasses.replace(after(inputs, site, old=left), forget=frozenset({"old"}))
        assert make_plan(wanted).leaving[0].forgotten
        return
    with pytest.raises(ConfigError) as caught:
        make_plan(after(inputs, site, old=left))
    assert caught.value.code == "BAS-2152"


def test_a_new_name_for_a_machine_is_no_departure() -> None:
    before = make.make_site(PAIR)
    after_ = make.make_site({"data2": CORE, "gate": (Group.GATEWAY,)})
    assert departed_hosts(before, after_) == {}
    assert departed_hosts(None, after_) == {}
    alone = make.make_site({"data": tuple(Group)})
    assert list(departed_hosts(before, alone)) == ["gate"]


def test_a_plan_that_did_not_let_a_host_go_is_stale() -> None:
    inputs = three()
    left = gone(inputs, "extra")
    fresh = make_plan(after(inputs, make.make_site(PAIR), extra=left))
    planned = fresh.replace(leaving=())
    assert any("extra" in reason for reason in is_stale(planned, fresh))
    assert is_stale(fresh, fresh) == ()
    assert is_stale(fresh, planned) == ()  # done already
    forgotten = fresh.replace(leaving=(fresh.leaving[0].replace(forgotten=True),))
    assert any("forgotten" in reason for reason in is_stale(fresh, forgotten))
