"""Checks of the floating address, and of the ports that only engine ``server`` has."""

from __future__ import annotations

import dataclasses
from typing import Any

import plan_factories as make
import preflight_factories as made
import pytest

from bastide.plan.inputs import PlanInputs
from bastide.plan.preflight import Severity
from bastide.run.survey import _floating
from bastide.schema.artifact import Artifact, ArtifactKind, Component
from bastide.schema.condition import HostCondition
from bastide.schema.facts import Listener
from bastide.schema.site import SERVING, Group, Site

REFUSE, WARN = Severity.REFUSE, Severity.WARN
VIP = "10.0.0.100"
TWO = {"host1": SERVING, "host2": (Group.GATEWAY,)}
MAC = "02:00:00:00:00:07"


def inputs(**network: Any) -> PlanInputs:
    return make.make_inputs(make.make_site(TWO, **network))


def floating(**network: Any) -> PlanInputs:
    """Two gateways with a floating address, and a bundle that has keepalived."""
    package = make.artifact("keepalived", ArtifactKind.OS_PACKAGE, (Component.KEEPALIVED,))
    return carrying(inputs(gateway_address=VIP, **network), package)


def carrying(plan: PlanInputs, artifact: Artifact) -> PlanInputs:
    artifacts = (*plan.manifest.artifacts, artifact)
    return dataclasses.replace(plan, manifest=make.make_manifest(artifacts))


def conditions(**changes: Any) -> dict[str, HostCondition]:
    return {
        "host1": made.make_condition(**changes),
        "host2": made.make_condition(machine_id="b" * 32, boot_id="c"),
        "host3": made.make_condition(machine_id="c" * 32, boot_id="d"),
    }


def seen(plan: PlanInputs, **changes: Any) -> list[tuple[str, Severity, str, str]]:
    """Return what is found if host1 is in the condition that is told, and host2 is fit."""
    found = made.findings(plan, conditions(**changes))
    return [(f.code, f.severity, f.problem.where, f.problem.what) for f in found]


CASES: tuple[tuple[str, Severity, dict[str, Any], str], ...] = (
    ("BAS-5192", REFUSE, {"keepalived_unit": "own"}, "the administrator's own"),
    ("BAS-5192", REFUSE, {"rivals": {"keepalived": "keepalived.service"}}, "something else"),
    ("BAS-5192", WARN, {"rivals": {"keepalived": ""}}, "outside any unit"),
    ("BAS-5193", REFUSE, {"floating": {"claimed_by": [MAC]}}, MAC),
    ("BAS-5194", WARN, {"floating": {"vrrp": ["10.0.0.9 number 51"]}}, "10.0.0.9"),
)


@pytest.mark.parametrize(("code", "severity", "changes", "words"), CASES)
def test_others_who_would_fight_for_the_address(
    code: str, severity: Severity, changes: dict[str, Any], words: str
) -> None:
    ((found, how, where, what),) = seen(floating(), **changes)
    assert (found, how, where) == (code, severity, "host1")
    assert words in what


@pytest.mark.parametrize(("code", "severity", "changes", "words"), CASES)
def test_without_a_floating_address_nothing_of_it_matters(
    code: str, severity: Severity, changes: dict[str, Any], words: str
) -> None:
    del code, severity, words
    assert seen(inputs(), **changes) == []


def test_another_number_is_nobodys_business() -> None:
    assert seen(floating(), floating={"vrrp": ["10.0.0.9 number 7"]}) == []
    ((code, *_),) = seen(floating(gateway_router=7), floating={"vrrp": ["10.0.0.9 number 7"]})
    assert code == "BAS-5194"


def test_a_masked_keepalived_is_what_we_leave() -> None:
    assert seen(floating(), keepalived_unit="masked") == []


def with_server() -> PlanInputs:
    """A cluster of Qdrant's own server, with gRPC."""
    hosts = {"host1": SERVING, "host2": (Group.VECTORDB,), "host3": (Group.VECTORDB,)}
    plain = make.make_site().model_dump(mode="json")
    told = {
        name: {"address": f"10.0.0.1{number}", "groups": groups}
        for number, (name, groups) in enumerate(hosts.items(), 1)
    }
    rules = {"engine": "server", "grpc_port": 6334}
    site = Site.model_validate({**plain, "hosts": told, "vectordb": rules})
    program = make.artifact("qdrant", ArtifactKind.BINARY, (Component.VECTORDB,))
    return carrying(make.make_inputs(site), program)


@pytest.mark.parametrize(("name", "port"), [("peer_port", 6335), ("grpc_port", 6334)])
def test_a_taken_port_of_the_vector_server(name: str, port: int) -> None:
    plan = with_server()
    taken = (Listener(address="0.0.0.0", port=port, process="other", unit="other.service"),)
    (found,) = made.findings(make.with_facts(plan, listeners=taken), conditions())
    assert (found.code, found.severity) == ("BAS-5008", REFUSE)
    assert found.problem.where == "host1"
    assert f"port {port}" in found.problem.what
    assert "other.service" in found.problem.what
    assert f"vectordb.{name}" in found.problem.hint


@pytest.mark.parametrize("port", [6335, 6334])
def test_ports_that_are_ours_or_unused_are_free(port: int) -> None:
    ours = (Listener(address="10.0.0.11", port=port, unit="bastide-vectordb.service"),)
    plan = with_server()
    assert seen(make.with_facts(plan, listeners=ours)) == []
    other = (Listener(address="0.0.0.0", port=port, process="other"),)
    edge = inputs()
    assert seen(make.with_facts(edge, listeners=other)) == []


def test_gateways_that_leave_may_still_hold_the_address() -> None:
    site = make.make_site(TWO, gateway_address=VIP)
    before = make.make_site({**TWO, "host3": (Group.GATEWAY,)}, gateway_address=VIP)
    asked = _floating(site, "host1", before)
    assert asked == {
        "address": VIP,
        "here": "10.0.0.11",
        "gateways": ["10.0.0.11", "10.0.0.12", "10.0.0.13"],
    }
    assert _floating(make.make_site(TWO), "host1", before) is None
