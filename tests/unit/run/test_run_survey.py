"""What hosts are asked about the ways between them, before a run."""

from __future__ import annotations

import threading
from typing import Any

import pytest
from plan_factories import make_facts
from preflight_factories import make_condition, make_control

from bastide.run import survey
from bastide.run.survey import _open_peers
from bastide.schema.facts import SiteFacts
from bastide.schema.site import SERVING, Group, Site

EVERYTHING, GATEWAY, LLM = SERVING, (Group.GATEWAY,), (Group.LLM,)


def make_site(*hosts: tuple[Group, ...], **changes: Any) -> Site:
    return Site.model_validate(
        {
            "format": "bastide.site/1", "name": "plant", "release": "starter",
            "target": "debian12-x86_64", "ssh": {"private_key": "k", "known_hosts": "h"},
            "network": {"control_address": "10.0.0.1"}, "models": {"llm": "c", "embeddings": "e"},
            "hosts": {f"host{n}": {"address": f"10.0.0.{n}", "groups": groups}
                      for n, groups in enumerate(hosts, 1)},
            **changes,
        }
    )  # fmt: skip


def test_a_new_site_asks_for_every_service_of_other_hosts() -> None:
    site = make_site(EVERYTHING, (Group.GATEWAY, Group.LLM))
    assert _open_peers(site, "host1", None) == [("10.0.0.2", 8081)]
    assert {port for _, port in _open_peers(site, "host2", None)} == {8081, 8082, 6333}
    assert _open_peers(make_site(EVERYTHING, LLM), "host2", None) == []


def test_a_host_that_comes_is_behind_the_gateways_own_filter() -> None:
    before = make_site(EVERYTHING, LLM)
    site = make_site(EVERYTHING, LLM, LLM)
    assert _open_peers(site, "host1", before) == [("10.0.0.2", 8081)]


def test_a_gateway_that_comes_is_before_the_others_filters() -> None:
    before = make_site(EVERYTHING, LLM)
    site = make_site(EVERYTHING, LLM, GATEWAY, LLM)
    assert _open_peers(site, "host3", before) == [("10.0.0.4", 8081)]


def test_without_filters_everything_is_asked() -> None:
    off = {"isolation": {"firewall": False}}
    before, site = make_site(EVERYTHING, **off), make_site(EVERYTHING, LLM)
    assert _open_peers(site, "host1", before) == [("10.0.0.2", 8081)]


def answers(monkeypatch: pytest.MonkeyPatch, *busy: str) -> list[str]:
    """Let hosts be asked; each time host1's agent is what ``busy`` says, the last for ever."""
    left = list(busy)

    def ask(*_: object, **__: object) -> tuple[SiteFacts, object]:
        who = left.pop(0) if len(left) > 1 else left[0]
        host = make_facts().replace(condition=make_condition(agent_busy=who))
        return SiteFacts(hosts={"host1": host, "host2": make_facts()}), make_control()

    monkeypatch.setattr(survey, "survey", ask)
    monkeypatch.setattr(survey, "PAUSE_SECONDS", 0.01)
    return left


def at_rest(cancelled: threading.Event | None = None) -> tuple[str, list[str]]:
    """Return what is said of host1's agent in the end, and what was told."""
    told: list[str] = []
    ended = cancelled or threading.Event()
    facts, _ = survey.survey_at_rest(object(), ended, told.append, salt="x")  # type: ignore[arg-type]
    host = facts.hosts["host1"]
    assert getattr(host, "condition", None) is not None
    return str(host.condition.agent_busy), told  # type: ignore[union-attr]


def test_an_agent_that_a_killed_run_left_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    left = answers(monkeypatch, "python3 (7)", "python3 (7)", "")
    assert at_rest() == ("", [
        "host1  the agent of another run is still at work: python3 (7); it gets 120 s to end"
    ])  # fmt: skip
    assert left == [""]


def test_one_that_does_not_end_is_preflights_to_refuse(monkeypatch: pytest.MonkeyPatch) -> None:
    answers(monkeypatch, "python3 (7)")
    monkeypatch.setattr(survey, "BUSY_SECONDS", 0.1)
    assert at_rest()[0] == "python3 (7)"


def test_whoever_asks_for_the_end_does_not_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    answers(monkeypatch, "python3 (7)")
    ended = threading.Event()
    ended.set()
    assert at_rest(ended)[0] == "python3 (7)"
