"""site.yaml's monitoring: who may be told, who watches whom, what old sites have of it."""

from __future__ import annotations

from typing import Any

import plan_factories as make
import pytest
from pydantic import ValidationError

from bastide.plan.flows import host_rules
from bastide.plan.ports import LOOPBACK, bind_address
from bastide.plan.services import components_on, endpoints, metrics_address
from bastide.schema.artifact import Component
from bastide.schema.monitoring import DeadMansSwitch, Monitoring, Receiver, destinations
from bastide.schema.site import SERVING, Group, ModelChoices, Ssh
from bastide.site.proposal import Answers, propose_site

MAIL = {"mail_to": "a@plant.internal", "mail_from": "b@plant.internal"}
APART = {"a": (Group.LLM, Group.EMBEDDINGS), "b": SERVING[2:], "c": (Group.MONITORING,)}
TOGETHER = {"a": (Group.LLM, Group.EMBEDDINGS), "b": (*SERVING[2:], Group.MONITORING)}


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({"webhook": "https://alerts.example.com/x"}, "should name an IP address"),
        ({"webhook": "https://8.8.8.8/x"}, "public address"),
        ({"webhook": "http://user:secret@10.0.0.9/x"}, "webhook"),
        ({"webhook": "ftp://10.0.0.9/x"}, "should be http"),
        ({"webhook": "http://10.0.0.9/x?token=secret"}, "webhook"),
        ({**MAIL, "mail_server": "10.0.0.25"}, "ADDRESS:PORT"),
        ({**MAIL, "mail_server": "8.8.8.8:25"}, "public address"),
        (MAIL, "mail_server"),
        ({}, "takes webhook"),
        ({"webhook": "http://10.0.0.9/x", **MAIL, "mail_server": "10.0.0.25:25"}, "not both"),
        ({"webhook": "http://10.0.0.9/x", "bearer": True}, "must be https"),
        ({"webhook": "http://10.0.0.9/x", "user": "b"}, "must be https"),
        ({"webhook": "https://10.0.0.9/x", "user": "b", "bearer": True}, "not both"),
        ({"webhook": "https://10.0.0.9/x", "user": "b:c"}, "user"),
        ({**MAIL, "mail_server": "10.0.0.25:25", "bearer": True}, "for webhooks"),
        ({**MAIL, "mail_server": "10.0.0.25:25", "user": "b", "mail_tls": False}, "without TLS"),
    ],
)
def test_receivers_that_are_refused(fields: dict[str, Any], told: str) -> None:
    with pytest.raises(ValidationError) as caught:
        Receiver.model_validate(fields)
    assert told in str(caught.value)


def test_alerts_go_where_the_site_says_and_nowhere_else() -> None:
    receivers = {
        "hook": Receiver(webhook="https://10.0.0.9/alerts"),
        "mail": Receiver.model_validate({**MAIL, "mail_server": "10.0.0.25:587"}),
    }
    monitoring = Monitoring(receivers=receivers)
    assert destinations(monitoring) == (("10.0.0.25", 587), ("10.0.0.9", 443))
    site = make.make_site(TOGETHER).replace(monitoring=monitoring)
    out = {rule.words for rule in host_rules(site, "b") if rule.why == "alerts to people"}
    assert out == {
        "out tcp 443 to 10.0.0.9: alerts to people",
        "out tcp 587 to 10.0.0.25: alerts to people",
    }
    assert not [rule for rule in host_rules(site, "a") if rule.why == "alerts to people"]


def test_the_dead_mans_switch_is_told_like_a_receiver() -> None:
    switch = DeadMansSwitch(webhook="https://10.0.0.7:8443/alive", bearer=True)
    monitoring = Monitoring(dead_mans_switch=switch)
    assert destinations(monitoring) == (("10.0.0.7", 8443),)
    assert monitoring.logins == ("dead-mans-switch",)
    with pytest.raises(ValidationError, match="cannot be called"):
        Monitoring(receivers={"dead-mans-switch": Receiver(webhook="https://10.0.0.9/x")})
    with pytest.raises(ValidationError, match="must be https"):
        DeadMansSwitch(webhook="http://10.0.0.7/alive", bearer=True)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("/etc/ssl/ca.pem", "certificates in PEM"),
        ("-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n", "private key"),
        ("", "certificates in PEM"),
    ],
)
def test_what_is_no_ca_is_refused(text: str, told: str) -> None:
    with pytest.raises(ValidationError, match=told):
        Monitoring(receivers_ca=text)


def test_a_site_without_the_group_has_no_part_of_it() -> None:
    site = make.make_site({"a": SERVING})
    assert not site.is_monitored
    assert Component.EXPORTERS not in components_on(site, "a")
    assert not [rule for rule in host_rules(site, "a") if "monitoring" in rule.why]
    assert {each.name for each in endpoints(site, "a")} == {*map(str, SERVING), "metrics"}


def test_only_the_monitoring_host_may_ask_for_metrics() -> None:
    site = make.make_site(TOGETHER)
    assert metrics_address(site, "a") == "10.0.0.11"
    assert metrics_address(site, "b") == LOOPBACK
    asked = [rule.words for rule in host_rules(site, "a") if rule.port == 9100]
    assert asked == ["in tcp 9100 from 10.0.0.12: monitoring asks hosts"]


def test_a_host_of_its_own_for_monitoring_reaches_every_service() -> None:
    site = make.make_site(APART)
    assert bind_address(site, Group.VECTORDB, "b") == "10.0.0.12"
    assert bind_address(site, Group.MONITORING, "c") == "10.0.0.13"
    outward = {rule.port for rule in host_rules(site, "c") if rule.direction == "out"}
    assert {9100, 8404, 8081, 8082, 6333} <= outward
    inward = [rule.words for rule in host_rules(site, "c") if rule.port == 9090]
    assert inward == ["in tcp 9090 from 10.0.0.12: gateway asks monitoring"]


def test_two_monitoring_hosts_are_refused() -> None:
    with pytest.raises(ValidationError, match="takes one host"):
        make.make_site({"a": (*SERVING, Group.MONITORING), "b": (Group.MONITORING,)})


def test_fixed_ports_cannot_be_a_services() -> None:
    for port in (9090, 9093, 9100):
        with pytest.raises(ValidationError, match="uses already"):
            make.make_site(llm_port=port)


@pytest.mark.parametrize(
    ("groups", "wanted", "where"),
    [
        ({"a": (), "b": ()}, True, ["a"]),
        ({"a": (), "b": ()}, False, []),
        ({"a": SERVING[:2], "b": SERVING[2:]}, True, ["b"]),
        ({"a": SERVING, "b": (Group.MONITORING,)}, True, ["b"]),
        ({"a": (), "b": ()}, None, ["a"]),
        ({"a": SERVING, "b": ()}, None, []),
    ],
    ids=["first host", "not wanted", "the gateway's", "a named one", "not said", "groups said"],
)
def test_where_init_puts_monitoring(
    groups: dict[str, tuple[Group, ...]], wanted: bool | None, where: list[str]
) -> None:
    answers = Answers(
        name="plant",
        release="starter",
        target="debian12-x86_64",
        hosts={name: (f"10.0.0.{n + 2}", each) for n, (name, each) in enumerate(groups.items())},
        control_address="10.0.0.1",
        ssh=Ssh(private_key="/k", known_hosts="/h"),
        models=ModelChoices(llm="chat", embeddings="embed"),
        gateway_name="bastide.internal",
        monitoring=wanted,
    )
    assert list(propose_site(answers).hosts_in(Group.MONITORING)) == where
