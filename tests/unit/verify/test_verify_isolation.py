"""Records of hosts → what can be said of a site's isolation; the signature; the page."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import plan_factories as make
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from bastide.render.isolation_page import html
from bastide.schema.isolation import Isolation
from bastide.schema.isolation_report import IsolationStatement
from bastide.schema.site import Site
from bastide.store.isolation import is_signed, sign_isolation
from bastide.verify.isolation import MOST_FAULTS, statement, watched_host

CONTROL = {"wire": True, "log": True, "lookup": True, "ports": [50001, 50002]}
RESOLVER = {"direction": "out", "protocol": "udp", "port": 53, "networks": ["10.9.0.53"]}


def event(**changes: Any) -> dict[str, Any]:
    return {
        "protocol": "tcp", "target": "203.0.113.9", "port": 443, "lookup": "", "inside": False,
        "user": "bastide-llm", "process": "python", "program": "/usr/bin/python3.11",
        "unit": "bastide-llm.service", "first": 10.0, "last": 11.0, "wire": 0, "log": 3,
        "ports": [40000], "pids": [77], **changes,
    }  # fmt: skip


def record(*events: dict[str, Any], **changes: Any) -> dict[str, Any]:
    return {
        "networks": ["10.0.0.0/24"], "updated": 70.0, "wire": {"since": 10.0, "lost": 0},
        "log": {"since": 10.0, "lost": 0, "reopened": 0}, "events": list(events), "overflow": 0,
        "controls": [CONTROL, CONTROL], **changes,
    }  # fmt: skip


def said(*events: dict[str, Any], site: Site | None = None, **changes: Any) -> IsolationStatement:
    site = site or make.make_site()
    host = watched_host(site, "host1", record(*events, **changes))
    return statement(site, [host], made=datetime(2026, 11, 26, tzinfo=UTC), version="1", around="")


def verdicts(*events: dict[str, Any], site: Site | None = None) -> list[str]:
    return [each.verdict for each in said(*events, site=site).hosts[0].seen]


def test_a_watch_that_saw_nothing_proves_isolation() -> None:
    assert said().good


def test_what_left_and_what_was_stopped_are_told_apart_and_named() -> None:
    found = said(event(wire=2, log=2), event())
    assert [each.verdict for each in found.hosts[0].seen] == ["left", "attempt"]
    assert found.faults == (
        (
            "host1: 2 tcp packets left for 203.0.113.9 port 443, by python (bastide-llm.service, "
            "user bastide-llm)"
        ),
        (
            "host1: 3 tcp packets were stopped on their way to 203.0.113.9 port 443, by python "
            "(bastide-llm.service, user bastide-llm)"
        ),
    )
    assert (found.count("left"), found.count("attempt")) == (2, 3)


def test_a_sender_that_had_ended_is_told_by_its_user() -> None:
    faults = said(event(process="", unit="", user="nobody")).faults
    assert faults[0].endswith("by a process that had ended (user nobody)")


def test_names_are_asked_of_the_servers_that_the_site_names_and_of_no_others() -> None:
    asked = event(protocol="udp", port=53, lookup="a.example", wire=1)
    flows = {"names": {**RESOLVER, "why": "names"}}
    site = make.make_site().replace(isolation=Isolation.model_validate({"flows": flows}))
    own, loopback = {**asked, "target": "10.9.0.53"}, {**asked, "target": "127.0.0.53"}
    assert verdicts(own, loopback, asked, site=site) == ["allowed", "lookup", "lookup"]
    assert verdicts(own) == ["lookup"]
    assert "(a.example)" in said(asked).faults[0]


def test_only_the_controls_own_packets_are_controls() -> None:
    ours = event(target="192.0.2.1", protocol="udp", port=9, ports=[50001], wire=1)
    arp = event(target="192.0.2.1", protocol="arp", port=0, ports=[], wire=1)
    other_port, other_target = {**ours, "ports": [50001, 4]}, {**ours, "target": "192.0.2.7"}
    assert verdicts(ours, arp, other_port, other_target) == ["control", "control", "left", "left"]


def test_without_a_control_everything_to_its_target_counts() -> None:
    ours = event(target="192.0.2.1", protocol="udp", port=9, ports=[50001], wire=1)
    assert said(ours, controls=[]).hosts[0].seen[0].verdict == "left"


@pytest.mark.parametrize(
    "changes",
    [
        {"controls": []},
        {"controls": [CONTROL, {**CONTROL, "wire": False}]},
        {"controls": [CONTROL, {**CONTROL, "log": False}]},
        {"controls": [CONTROL, {**CONTROL, "lookup": False}]},
        {"overflow": 1},
        {"wire": {"since": 10.0, "lost": 1}},
        {"log": {"since": 10.0, "lost": 1, "reopened": 0}},
    ],
)
def test_a_recorder_that_did_not_see_all_proves_nothing(changes: dict[str, Any]) -> None:
    assert not said(**changes).good


def test_without_nft_the_wire_alone_is_enough() -> None:
    only = {"wire": True, "log": None, "lookup": None, "ports": [50001]}
    assert said(controls=[only, only], log={"since": 0.0, "lost": 0, "reopened": 0}).good


def test_many_faults_of_one_kind_are_summed_up() -> None:
    events = [event(target=f"203.0.113.{number}") for number in range(MOST_FAULTS + 3)]
    assert said(*events).faults[-1] == "host1: and 3 more of this kind"


def test_the_signature_covers_every_word() -> None:
    report = sign_isolation(said(event()), Ed25519PrivateKey.generate())
    assert is_signed(report)
    better = report.statement.replace(faults=())
    assert not is_signed(report.replace(statement=better))
    other = sign_isolation(said(event()), Ed25519PrivateKey.generate())
    assert not is_signed(report.replace(key=other.key))


def test_the_page_says_it_and_escapes_what_comes_from_outside() -> None:
    evil = event(process="<script>x</script>")
    page = html(sign_isolation(said(evil), Ed25519PrivateKey.generate()), key="ab" * 32)
    assert "Not proved." in page
    assert "<script" not in page
    assert "&lt;script&gt;" in page
    clean = html(sign_isolation(said(), Ed25519PrivateKey.generate()), key="ab" * 32)
    assert "no packet left" in clean
    assert "ab" * 32 in clean
