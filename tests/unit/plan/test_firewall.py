"""A host's packet filter: which lines it has, and what of it a plan shows."""

from __future__ import annotations

import dataclasses
from ipaddress import ip_network

import plan_factories as make
import pytest

from bastide.plan.firewall import (
    FIREWALL_FILE,
    FIREWALL_UNIT,
    REFUSALS,
    firewall_lines,
    firewall_peers,
    firewall_words,
    ssh_networks,
)
from bastide.plan.inputs import PlanInputs
from bastide.plan.needs import host_needs
from bastide.plan.planner import facts_digest, make_plan
from bastide.schema.facts import FirewallFacts
from bastide.schema.isolation import Isolation
from bastide.schema.plan import FirewallChange
from bastide.schema.site import Group, Site


def two_hosts(**isolation: object) -> Site:
    groups = {"host1": (Group.LLM, Group.EMBEDDINGS, Group.VECTORDB), "host2": (Group.GATEWAY,)}
    return make.make_site(groups).replace(isolation=Isolation.model_validate(isolation))


def matches(site: Site, host: str, direction: str) -> list[str]:
    return [line.match for line in firewall_lines(site, host) if line.direction == direction]


def test_a_flow_is_a_line_in_and_one_out_for_what_was_there_before() -> None:
    incoming, outgoing = (matches(two_hosts(), "host1", each) for each in ("in", "out"))
    assert "ip saddr { 10.0.0.12 } tcp dport 8081" in incoming
    assert "ip daddr { 10.0.0.12 } tcp sport 8081 tcp flags & (syn | ack) != syn" in outgoing
    assert "ip daddr { 10.0.0.1 } tcp dport 8740" in outgoing
    assert "ip saddr { 10.0.0.1 } tcp sport 8740 tcp flags & (syn | ack) != syn" in incoming


def test_both_families_have_lines_of_their_own() -> None:
    site = two_hosts(clients=["10.7.0.0/16", "fd00:7::/48"])
    lines = [line for line in firewall_lines(site, "host2") if "clients" in line.words]
    assert [line.match for line in lines] == [
        "ip saddr { 10.7.0.0/16 } tcp dport 8443",
        "ip6 saddr { fd00:7::/48 } tcp dport 8443",
    ]
    assert lines[0].words == "in tcp 8443 from 10.7.0.0/16: clients ask the gateway"


def test_dhcp_can_be_closed() -> None:
    assert any("dport 67" in match for match in matches(two_hosts(), "host1", "out"))
    assert not any("dport 67" in m for m in matches(two_hosts(dhcp=False), "host1", "out"))


def test_udp_has_no_line_for_the_way_back() -> None:
    flow = {"direction": "out", "protocol": "udp", "port": 123, "networks": ["10.9.0.1"]}
    site = two_hosts(flows={"time": {**flow, "why": "time"}})
    assert "ip daddr { 10.9.0.1 } udp dport 123" in matches(site, "host1", "out")
    assert not any("sport 123" in match for match in matches(site, "host1", "in"))


def test_words_end_with_what_is_refused_and_are_told_apart() -> None:
    words = firewall_words(two_hosts(), "host1")
    assert words[-3:] == REFUSALS
    assert len(set(words)) == len(words)


def test_who_logs_in_and_who_is_of_the_site() -> None:
    site = two_hosts(ssh=["10.8.0.0/24"])
    assert ssh_networks(site, "host1") == (ip_network("10.0.0.1"), ip_network("10.8.0.0/24"))
    assert firewall_peers(site) == ("ip saddr { 10.0.0.1, 10.0.0.11, 10.0.0.12 }",)


# --- in the plan -----------------------------------------------------------------------------
def with_firewall(inputs: PlanInputs) -> PlanInputs:
    trees = {
        name: dataclasses.replace(
            tree,
            sha256=make.sha(f"{tree.sha256} with a filter"),
            files={
                **tree.files,
                FIREWALL_FILE: make.sha("rules"),
                f"units/{FIREWALL_UNIT}": make.sha("unit"),
            },
        )
        for name, tree in inputs.trees.items()
    }
    return dataclasses.replace(inputs, trees=trees)


def change(rule: str, action: str) -> FirewallChange:
    return FirewallChange.model_validate({"rule": rule, "action": action})


def test_a_first_filter_is_all_new_and_has_a_user_and_a_unit() -> None:
    host = make_plan(with_firewall(make.make_inputs(two_hosts()))).hosts[0]
    words = firewall_words(two_hosts(), host.host)
    assert host.firewall == tuple(change(each, "add") for each in words)
    assert "bastide-firewall" in {user.name for user in host.users}
    assert FIREWALL_UNIT in {unit.name for unit in host.units}


def test_a_release_without_nftables_plans_no_rules() -> None:
    assert make_plan(make.make_inputs(two_hosts())).hosts[0].firewall == ()


def test_only_what_differs_is_in_the_plan() -> None:
    site, before = two_hosts(ssh=["10.8.0.0/24"]), two_hosts(ssh=["10.9.0.0/24"])
    rules = [each for each in firewall_words(before, "host1") if each not in REFUSALS]
    known = {"host1": make.make_facts(firewall=FirewallFacts(state="live", rules=tuple(rules)))}
    inputs = with_firewall(make.make_inputs(site, known))
    host = next(each for each in make_plan(inputs).hosts if each.host == "host1")
    assert set(host.firewall) == {
        change("in tcp 22 from 10.8.0.0/24: people log in by SSH", "add"),
        change("in tcp 22 from 10.9.0.0/24: people log in by SSH", "remove"),
    }


@pytest.mark.parametrize(("state", "words"), [("missing", "are missing"), ("changed", "by hand")])
def test_other_rules_than_the_generations_are_drift(state: str, words: str) -> None:
    inputs = with_firewall(make.make_inputs(make.make_site()))
    done = make.applied(inputs, make_plan(inputs))
    rules = firewall_words(inputs.site, "host1")[:-3]
    good = make.with_facts(done, firewall=FirewallFacts(state="live", rules=rules))
    assert make_plan(good).changes == 0
    facts = FirewallFacts.model_validate({"state": state, "rules": ()})
    drifted = make.with_facts(done, firewall=facts, outdated=(FIREWALL_UNIT,))
    host = make_plan(drifted).hosts[0]
    assert any(words in each for each in host.drift)
    assert [(unit.name, unit.action) for unit in host.units] == [(FIREWALL_UNIT, "restart")]
    assert host.firewall, "the rules that are not in force are shown"
    assert facts_digest(drifted) != facts_digest(good)


def test_the_filter_alone_restarts_for_its_rules_and_its_package() -> None:
    inputs = with_firewall(make.make_inputs())
    needs = host_needs(inputs.site, inputs.manifest, inputs.trees)[0]
    assert needs.affected_by_file(FIREWALL_FILE) == {FIREWALL_UNIT}
    assert needs.affected_by_file(f"units/{FIREWALL_UNIT}") == {FIREWALL_UNIT}
    package = next(each for each in needs.artifacts if each.name == "nftables")
    assert needs.affected_by(package) == {FIREWALL_UNIT}
