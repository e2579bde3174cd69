"""Who talks to whom: the site's flows, and what they mean for each host."""

from __future__ import annotations

from ipaddress import ip_address, ip_network

import plan_factories as make
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from bastide.plan.flows import (
    Flow,
    Members,
    Networks,
    Rule,
    Side,
    collapse,
    flows,
    host_rules,
    networks,
    site_networks,
    unit_networks,
)
from bastide.plan.ports import LOOPBACK, bind_address
from bastide.schema.isolation import Isolation
from bastide.schema.site import SERVING, Group, Site
from bastide.site.config import site_text

GROUPS = SERVING


def two_hosts(**isolation: object) -> Site:
    site = make.make_site(
        {
            "host1": (Group.LLM, Group.EMBEDDINGS, Group.VECTORDB),
            "host2": (Group.GATEWAY, Group.LLM),
        }
    )
    return site.replace(isolation=Isolation.model_validate(isolation))


def words(site: Site, host: str) -> set[str]:
    return {rule.words for rule in host_rules(site, host)}


def test_a_single_host_is_asked_by_the_control_node_and_by_clients_and_asks_the_depot() -> None:
    assert words(make.make_site(), "host1") == {
        "in tcp 22 from 10.0.0.1: control node logs in by SSH",
        "out tcp 8740 to 10.0.0.1: hosts fetch artifacts",
        (
            "in tcp 8443 from 10.0.0.0/8, 100.64.0.0/10, 172.16.0.0/12, 192.168.0.0/16, fc00::/7: "
            "clients ask the gateway"
        ),
        "in tcp 8443 from 10.0.0.1: control node verifies",
    }


def test_services_of_a_host_are_for_the_gateway_alone() -> None:
    asked = {rule.port: rule.networks for rule in host_rules(two_hosts(), "host1")}
    gateway = (ip_network("10.0.0.12"),)
    assert [asked[port] for port in (8081, 8082, 6333)] == [gateway] * 3
    assert 8443 not in asked


def test_a_gateway_asks_the_others_and_not_itself() -> None:
    rules = host_rules(two_hosts(), "host2")
    out = {rule.port: rule.networks for rule in rules if rule.direction == "out"}
    other = (ip_network("10.0.0.11"),)
    depot = (ip_network("10.0.0.1"),)
    assert out == {8740: depot, 8741: other, 8081: other, 8082: other, 6333: other}
    assert 8081 not in {rule.port for rule in rules if rule.direction == "in"}


def test_what_the_site_adds_is_of_the_hosts_that_it_names() -> None:
    extra = {"direction": "out", "protocol": "udp", "port": 123, "networks": ["10.9.0.1"]}
    site = two_hosts(
        ssh=["10.8.0.0/24"], clients=["10.7.0.0/16"], flows={"extra": {**extra, "why": "time"}}
    )
    assert "out udp 123 to 10.9.0.1: time" in words(site, "host1") & words(site, "host2")
    assert "in tcp 22 from 10.8.0.0/24: people log in by SSH" in words(site, "host1")
    assert "in tcp 8443 from 10.7.0.0/16: clients ask the gateway" in words(site, "host2")
    alone = two_hosts(flows={"extra": {**extra, "why": "time", "hosts": ["host2"]}})
    assert "out udp 123 to 10.9.0.1: time" not in words(alone, "host1")
    assert Site.model_validate(yaml.safe_load(site_text(site))) == site


def test_others_may_ask_hosts_too() -> None:
    extra = {
        "direction": "in",
        "protocol": "tcp",
        "port": 9,
        "networks": ["10.9.0.1"],
        "why": "abc",
    }
    assert "in tcp 9 from 10.9.0.1: abc" in words(two_hosts(flows={"extra": extra}), "host1")


def test_a_unit_talks_to_whom_its_flows_name_and_to_its_own_host() -> None:
    site = two_hosts(clients=["10.7.0.0/16"])
    here, there, control = (ip_network(f"10.0.0.{n}") for n in (11, 12, 1))
    assert unit_networks(site, Group.VECTORDB, "host1") == (here, there)
    assert set(unit_networks(site, Group.GATEWAY, "host2")) == {
        ip_network("10.7.0.0/16"), here, there, control,
    }  # fmt: skip
    assert unit_networks(make.make_site(), Group.LLM, "host1") == ()


def test_a_flow_without_ports_is_a_rule_too() -> None:
    site = two_hosts()
    flow = Flow(Members(("host1", "host2")), Side.HOSTS, "vrrp", 0, "floating address")
    assert host_rules(site, "host1", [flow]) == (
        Rule("in", "vrrp", 0, (ip_network("10.0.0.12"),), "floating address"),
        Rule("out", "vrrp", 0, (ip_network("10.0.0.12"),), "floating address"),
    )


@pytest.mark.parametrize("wrong", ["0.0.0.0/0", "::/0", "10.0.0.1/8", "intranet"])
def test_a_network_is_a_part_of_all_addresses(wrong: str) -> None:
    with pytest.raises(ValidationError):
        Isolation.model_validate({"clients": [wrong]})


def test_a_flow_of_no_host_is_refused() -> None:
    extra = {"direction": "out", "protocol": "udp", "port": 123, "networks": ["10.9.0.1"]}
    isolation = Isolation.model_validate(
        {"flows": {"time": {**extra, "why": "time", "hosts": ["hots1"]}}}
    )
    with pytest.raises(ValidationError, match="hots1"):
        two_hosts().replace(isolation=isolation)


# --- what holds of every site ----------------------------------------------------------------
@st.composite
def sites(draw: st.DrawFn) -> Site:
    count = draw(st.integers(1, 5))
    names = [f"host{number}" for number in range(1, count + 1)]
    groups: dict[str, set[Group]] = {name: set() for name in names}
    for group in (Group.VECTORDB, Group.GATEWAY):
        groups[draw(st.sampled_from(names))].add(group)
    for group in (Group.LLM, Group.EMBEDDINGS):
        for name in draw(st.sets(st.sampled_from(names), min_size=1)):
            groups[name].add(group)
    for each in groups.values():
        each.update(each or {Group.LLM})
    return make.make_site({name: tuple(sorted(each)) for name, each in groups.items()})


@settings(max_examples=60, deadline=None)
@given(sites())
def test_every_way_out_of_a_host_is_a_way_into_the_other_one(site: Site) -> None:
    rules = {name: host_rules(site, name) for name in site.hosts}
    for name, own in rules.items():
        here = ip_address(str(site.hosts[name].address))
        for other, theirs in rules.items():
            there = ip_address(str(site.hosts[other].address))
            asked = {(r.protocol, r.port, r.why) for r in own if r.direction == "out"
                     and any(there in each for each in r.networks)}  # fmt: skip
            answered = {(r.protocol, r.port, r.why) for r in theirs if r.direction == "in"
                        and any(here in each for each in r.networks)}  # fmt: skip
            assert asked <= answered, (name, other)


@settings(max_examples=60, deadline=None)
@given(sites())
def test_the_control_node_always_gets_in_and_the_gateway_reaches_every_service(site: Site) -> None:
    control = ip_network(str(site.network.control_address))
    for name, host in site.hosts.items():
        rules = host_rules(site, name)
        assert any(r.direction == "in" and r.port == 22 and control in r.networks for r in rules)
        for group in host.groups:
            if group is Group.GATEWAY or bind_address(site, group, name) == LOOPBACK:
                continue
            gateway = site.hosts_in(Group.GATEWAY)[0]
            if gateway != name:
                port = getattr(site.network, f"{group}_port")
                asked = [
                    r for r in host_rules(site, gateway) if (r.direction, r.port) == ("out", port)
                ]
                address = ip_address(str(host.address))
                assert any(address in each for rule in asked for each in rule.networks)


@settings(max_examples=60, deadline=None)
@given(sites())
def test_rules_are_among_the_site_networks_and_collapsed(site: Site) -> None:
    own = site_networks(site)
    for name in site.hosts:
        for rule in host_rules(site, name):
            assert collapse(rule.networks) == rule.networks
            assert collapse((*own, *rule.networks)) == own
            assert rule.why in {flow.why for flow in flows(site)}


def test_parties_have_addresses() -> None:
    site = make.make_site()
    assert networks(site, Side.CONTROL) == (ip_network("10.0.0.1"),)
    assert networks(site, Networks((ip_network("10.1.0.0/16"),))) == (ip_network("10.1.0.0/16"),)
    assert networks(site, Group.LLM) == networks(site, Side.HOSTS) == (ip_network("10.0.0.11"),)


def test_hosts_give_each_other_artifacts_unless_the_site_says_otherwise() -> None:
    site, rule = two_hosts(), "in tcp 8741 from 10.0.0.12: hosts give each other artifacts"
    assert rule in words(site, "host1")
    assert "out tcp 8741 to 10.0.0.11: hosts give each other artifacts" in words(site, "host2")
    depot = site.replace(upgrades=site.upgrades.replace(fan_out="depot"))
    assert not any("8741" in each for each in words(depot, "host1"))
