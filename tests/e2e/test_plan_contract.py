"""Everything that an apply changes on a host is in its plan, and all of that happens.

The whole host is looked at before and after each apply: every file, account, package, unit, port.
The tests of this file share one site and run in order.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from contract_operator import Planner, faithful
from site_operator import brings

from bastide.plan.fidelity import unplanned

pytestmark = [pytest.mark.e2e, pytest.mark.long]

LAB = "plancontract"
SETUP = (*brings("starter-2026.11.0"), "bastide lab up --hosts 1", "bastide init site --lab")


@pytest.fixture(scope="module")
def operator(lab_tools: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Planner]:  # noqa: ARG001
    operator = Planner(tmp_path_factory.mktemp("plancontract"), LAB)
    with operator.with_lab(*SETUP):
        yield operator


def test_a_first_install_changes_what_its_plan_says(operator: Planner) -> None:
    plan = faithful(operator)
    assert plan.packages
    assert plan.secrets
    assert {port.action for port in plan.ports} == {"open"}


def test_nothing_to_do_changes_nothing(operator: Planner) -> None:
    plan = faithful(operator)
    assert plan.changes == 0
    assert plan.paths == ()


@pytest.mark.parametrize(
    ("was", "becomes", "unit", "component"),
    [
        ("queue_seconds: 30", "queue_seconds: 31", "bastide-gateway.service", "gateway"),
        ("parallel: 8", "parallel: 6", "bastide-llm.service", "llm"),
        ("gateway_name: bastide.internal", "gateway_name: other.internal",
         "bastide-gateway.service", "gateway"),
    ],
)  # fmt: skip
def test_a_changed_site_changes_what_its_plan_says(
    operator: Planner, was: str, becomes: str, unit: str, component: str
) -> None:
    operator.describes(was, becomes)
    plan = faithful(operator)
    assert unit in {each.name for each in plan.units}
    assert component in {str(each) for each in plan.interruption}


@pytest.mark.parametrize(
    "damage",
    [
        "rm /etc/systemd/system/multi-user.target.wants/bastide-llm.service",
        "rm /etc/sysusers.d/bastide.conf",
        "sh -c 'echo x >> /etc/bastide/secrets/api_key'",
        "sed -i s/maxconn/maxconn\\ / /opt/bastide/current/etc/haproxy.cfg",
        "sh -c 'echo deb http://deb.debian.org/debian x main > /etc/apt/sources.list'",
    ],
)
def test_drift_is_planned_and_mended(operator: Planner, damage: str) -> None:
    operator.on_host(damage)
    plan = faithful(operator)
    assert plan.changes


def test_a_stray_change_during_an_apply_is_found(operator: Planner) -> None:
    before = operator.looks()
    plan = operator.plans()
    operator.on_host("touch /etc/stray")
    operator.applies()
    assert [each.what for each in unplanned(before, operator.looks(), plan)] == ["/etc/stray"]


def test_a_stale_plan_is_refused_in_exact_words(operator: Planner) -> None:
    operator.plans()
    operator.describes("queue_seconds: 31", "queue_seconds: 44")
    operator.on_host("systemctl stop bastide-embeddings")
    before = operator.looks()
    error = operator.applies(expect=5)["error"]
    assert error["code"] == "BAS-5065"
    assert "sizes.queue_seconds is 44, it was 31 when planned" in error["message"]
    assert "unit bastide-embeddings.service does not run now" in error["message"]
    after = operator.looks()
    assert unplanned(before, after, operator.plans().replace(paths=(), units=(), pulls=())) == ()


def test_no_secret_can_be_read_from_a_plan(operator: Planner) -> None:
    operator.on_host("sh -c 'echo x >> /etc/bastide/secrets/api_key'")
    assert operator.plans().secrets
    text = (operator.site / "plan.json").read_text()
    key = operator.asks("keys show")["result"]["key"]
    assert key not in text
    digest = operator.types(f"printf %s {key} | sha256sum").stdout.split()[0]
    assert digest[:16] not in text


def test_a_moved_port_closes_and_opens(operator: Planner) -> None:
    operator.applies()
    operator.describes("llm_port: 8081", "llm_port: 8091")
    plan = faithful(operator)
    assert {(port.port, port.action) for port in plan.ports} == {(8081, "close"), (8091, "open")}
    assert plan.collected, "by now there are more good generations than upgrades.keep_generations"
