"""What a plan says of services that go over to mutual TLS, or back."""

from __future__ import annotations

import plan_factories as make
import pytest

from bastide.plan.inputs import PlanInputs
from bastide.plan.planner import make_plan
from bastide.schema.artifact import Component
from bastide.schema.site import Group

SERVED = (Group.LLM, Group.EMBEDDINGS, Group.VECTORDB)
TLS = ("bastide-embeddings.service", "bastide-llm.service", "bastide-vectordb.service")
ONE = {"svc": SERVED, "gate": (Group.GATEWAY,)}
TWO = {"near": (*SERVED, Group.GATEWAY), "far": (Group.LLM,)}  # near is asked on loopback
FAR = {"a": SERVED, "b": (Group.LLM,), "gate": (Group.GATEWAY,)}


def running(
    hosts: dict[str, tuple[Group, ...]], *, wanted: bool, now: dict[str, tuple[str, ...]]
) -> PlanInputs:
    site = make.make_site(hosts)
    site = site.replace(certificates=site.certificates.replace(mutual_tls=wanted))
    inputs = make.make_inputs(site)
    inputs = make.applied(inputs, make_plan(inputs))
    for host, units in now.items():
        inputs = make.with_facts(inputs, host, tls_units=units)
    return inputs


def told(inputs: PlanInputs) -> dict[str, dict[str, int]]:
    found = {
        h.host: {str(k): v for k, v in h.interruption.items()} for h in make_plan(inputs).hosts
    }
    return {host: each for host, each in found.items() if each}


@pytest.mark.parametrize(("wanted", "now"), [(True, ()), (False, TLS)])
def test_what_changes_on_its_only_server_is_out_of_reach_until_the_gateway_changes(
    wanted: bool, now: tuple[str, ...]
) -> None:
    inputs = running(ONE, wanted=wanted, now={"svc": now})
    assert inputs.upgrade is not None
    expected = inputs.upgrade.expected_interruption
    whole = sum(expected[Component(str(group))] for group in SERVED)
    assert told(inputs) == {"svc": dict.fromkeys(("llm", "embeddings", "vectordb"), whole)}


def test_a_server_that_the_gateway_asks_on_loopback_answers_meanwhile() -> None:
    assert told(running(TWO, wanted=True, now={})) == {}


def test_of_several_servers_the_last_begins_the_pause() -> None:
    inputs = running(FAR, wanted=True, now={})
    assert inputs.upgrade is not None
    expected = inputs.upgrade.expected_interruption
    found = told(inputs)
    assert found["a"]["llm"] == sum(expected[Component(str(group))] for group in SERVED)
    assert "b" not in found, "the canary's stand-in answers"


def test_nothing_is_said_where_nothing_changes() -> None:
    assert told(running(ONE, wanted=True, now={"svc": TLS})) == {}
    assert told(running(ONE, wanted=False, now={"svc": ()})) == {}
