"""What hosts are asked about the ways between them, before a run."""

from __future__ import annotations

from typing import Any

from bastide.run.survey import _open_peers
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
