"""The site watches itself: all give metrics, every rule works, only the right keys see it."""

from __future__ import annotations

import re
import time
from typing import Any

import httpx
import pytest

from bastide.schema.expectations import Expectations
from bastide.schema.site import Group
from bastide.verify.suite import Key, Measured, Saw

pytestmark = pytest.mark.area("Monitoring")

PATIENCE = 90.0  # s until a target that has just started must have been asked
PAGES = ("", "dashboard.css", "dashboard.js")


@pytest.fixture(autouse=True)
def monitored(expected: Expectations) -> None:
    """Skip sites that have no monitoring."""
    if not any(Group.MONITORING in host.groups for host in expected.hosts.values()):
        pytest.skip("no host of this site has the group monitoring")


@pytest.fixture
def prometheus(web: httpx.Client, api_key: Key) -> Prometheus:
    """Prometheus through the gateway, with a key that may see the site's state."""
    return Prometheus(web, api_key)


class Prometheus:
    """Asks Prometheus through the gateway."""

    def __init__(self, web: httpx.Client, key: Key) -> None:
        self._web = web
        self._headers = {"Authorization": f"Bearer {key.value}"}

    def get(self, path: str, **parameters: str) -> Any:
        """Return the data of an answer."""
        answer = self._web.get(
            f"/monitoring/api/v1/{path}", params=parameters, headers=self._headers
        )
        assert answer.status_code == 200, f"{path}: {answer.status_code} {answer.text[:200]}"
        return answer.json()["data"]

    def value(self, expression: str) -> float | None:
        """Return the value of the first series of an expression; None if there is none."""
        result = self.get("query", query=expression)["result"]
        return float(result[0]["value"][1]) if result else None


def test_everything_gives_metrics(prometheus: Prometheus, expected: Expectations, saw: Saw) -> None:
    """Every host and every service is asked for its metrics, and answers"""
    deadline = time.monotonic() + PATIENCE
    while True:
        targets = prometheus.get("targets", state="active")["activeTargets"]
        silent = [t for t in targets if t["health"] != "up"]
        if not silent or time.monotonic() > deadline:
            break
        time.sleep(2)
    for each in silent:
        saw(f"{each['labels']['job']} on {each['labels']['host']}: {each['lastError']}")
    assert not silent, f"{len(silent)} of {len(targets)} targets give no metrics"
    asked = {each["labels"]["host"] for each in targets if each["labels"]["job"] == "node"}
    assert asked == set(expected.hosts), f"hosts that are not asked: {set(expected.hosts) - asked}"
    saw(f"{len(targets)} targets answer")


def test_every_rule_works(prometheus: Prometheus, saw: Saw) -> None:
    """Every recording rule and every alert is evaluated without an error"""
    groups = prometheus.get("rules")["groups"]
    rules = [rule for group in groups for rule in group["rules"]]
    broken = [
        f"{rule['name']}: {rule.get('lastError')}" for rule in rules if rule["health"] == "err"
    ]
    assert not broken, "; ".join(broken)
    alerts = [rule for rule in rules if rule["type"] == "alerting"]
    firing = [rule["name"] for rule in alerts if rule["state"] == "firing"]
    saw(f"{len(rules)} rules, {len(alerts)} of them alerts; firing: {', '.join(firing) or 'none'}")
    assert alerts, "no alert is defined"


def test_hosts_tell_their_generation(
    prometheus: Prometheus, expected: Expectations, saw: Saw
) -> None:
    """Every host tells which generation it runs, that its units run, and when certificates end"""
    for host in expected.hosts:
        of_host = f'{{host="{host}"}}'
        generation = prometheus.value(f"bastide_generation{of_host}")
        active = prometheus.value(f"sum(bastide_unit_active{of_host})")
        left = prometheus.value(f"min(bastide:certificate_left:days{of_host})")
        assert generation is not None, f"{host} tells no generation"
        assert active == len(expected.hosts[host].units), f"{host}: {active} units run"
        assert left is not None, f"{host} tells of no certificate"
        saw(f"{host}: generation {generation:.0f}, {active:.0f} units, {left:.0f} days left")


def test_answers_are_counted(prometheus: Prometheus, chat: Any, measured: Measured) -> None:
    """A chat answer shows up with its time to the first token, under OpenTelemetry's name"""
    count = "sum(gen_ai_server_time_to_first_token_seconds_count)"
    before = prometheus.value(count) or 0.0
    model = chat.models.list().data[0].id
    chat.chat.completions.create(
        model=model, messages=[{"role": "user", "content": "Say yes."}], max_tokens=4
    )
    deadline = time.monotonic() + PATIENCE
    while (after := prometheus.value(count) or 0.0) <= before and time.monotonic() < deadline:
        time.sleep(2)
    assert after > before, f"{after:.0f} answers counted, as before"
    mean = prometheus.value(
        "sum(gen_ai_server_time_to_first_token_seconds_sum)"
        "/ sum(gen_ai_server_time_to_first_token_seconds_count)"
    )
    measured("first_token", "mean time to the first token, all requests so far", mean or 0.0, "s")


def test_the_dashboard_is_served_and_loads_nothing_from_elsewhere(web: httpx.Client) -> None:
    """The dashboard's page needs no key, and tells browsers to load nothing from elsewhere"""
    for page in PAGES:
        answer = web.get(f"/monitoring/{page}")
        assert answer.status_code == 200, f"{page or 'the page'}: {answer.status_code}"
        policy = answer.headers.get("content-security-policy", "")
        assert "default-src 'none'" in policy, f"{page}: {policy or 'no policy'}"
        # The one address in it names SVG's vocabulary; nothing is loaded from there.
        text = answer.text.replace("http://www.w3.org/2000/svg", "")
        elsewhere = re.findall(r"https?://[^\s\"'`]+|url\([^)]*\)|@import", text)
        assert not elsewhere, f"{page} names {', '.join(elsewhere)}"


def test_nothing_is_told_without_the_right_key(
    web: httpx.Client, read_only_key: Key, saw: Saw
) -> None:
    """Queries demand a key that may see the site's state; nothing can be changed with any"""
    query = "/monitoring/api/v1/query?query=up"
    assert web.get(query).status_code == 401
    reader = {"Authorization": f"Bearer {read_only_key.value}"}
    assert web.get(query, headers=reader).status_code == 403
    saw("401 without a key, 403 with the read-only key")


def test_only_queries_pass(web: httpx.Client, api_key: Key) -> None:
    """Prometheus' other routes cannot be reached through the gateway"""
    headers = {"Authorization": f"Bearer {api_key.value}"}
    for path in ("metrics", "api/v1/status/config", "api/v1/status/flags", "graph", "-/quit",
                 "user/../api/v1/status/config", "api/v1/admin/tsdb/snapshot"):  # fmt: skip
        status = web.get(f"/monitoring/{path}", headers=headers).status_code
        assert status == 404, f"{path}: expected 404, found {status}"
    assert web.post("/monitoring/api/v1/query", headers=headers).status_code == 405
