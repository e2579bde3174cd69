from __future__ import annotations

import dataclasses
from typing import Any

import plan_factories as make
import pytest

from bastide.errors import PreflightError
from bastide.plan import preflight
from bastide.plan.inputs import PlanInputs
from bastide.plan.memory import memory_needed
from bastide.plan.planner import make_plan
from bastide.plan.preflight import Finding, PreflightInputs, check, require_fit
from bastide.schema.facts import FileSystem, Listener, SiteFacts, UnreachableHost
from bastide.schema.site import SERVING, Group

NOW = 1_800_000_000


def findings(plan: PlanInputs, unix_time: int | None = NOW) -> tuple[Finding, ...]:
    return check(PreflightInputs(plan, make.make_target(), make.make_cards(), unix_time))


def finding(unix_time: int | None = NOW, **facts: Any) -> Finding:
    (found,) = findings(make.with_facts(make.make_inputs(), **facts), unix_time)
    assert found.problem.hint
    return found


def test_a_fit_host_has_no_findings() -> None:
    assert findings(make.make_inputs()) == ()


@pytest.mark.parametrize(
    ("kind", "code", "words"),
    [
        ("unreachable", preflight.UNREACHABLE, "cannot be reached at 10.0.0.11 port 22"),
        ("denied", preflight.REFUSED, "refuses the login of root with key /keys/id"),
        ("failed", preflight.NO_AGENT, "could not be asked"),
    ],
)
def test_silent_hosts(kind: Any, code: str, words: str) -> None:
    lost = UnreachableHost(reason="the reason", kind=kind)
    facts = SiteFacts(hosts={}, unreachable={"host1": lost})
    (found,) = findings(dataclasses.replace(make.make_inputs(), facts=facts))
    assert found.code == code
    assert words in found.problem.what
    assert "the reason" in found.problem.what


@pytest.mark.parametrize(
    ("facts", "expected"),
    [
        ({"distribution": "ubuntu", "distribution_version": "24.04"}, "found ubuntu 24.04"),
        ({"distribution_version": "13"}, "found debian 13 on x86_64"),
        ({"architecture": "aarch64"}, "found debian 12 on aarch64"),
    ],
)
def test_another_system(facts: dict[str, Any], expected: str) -> None:
    found = finding(**facts)
    assert found.code == preflight.OTHER_SYSTEM
    assert "expected debian 12 on x86_64" in found.problem.what
    assert expected in found.problem.what


def test_a_point_release_is_the_same_system() -> None:
    assert findings(make.with_facts(make.make_inputs(), distribution_version="12.9")) == ()


@pytest.mark.parametrize("facts", [{"python": "3.9.2"}, {"python": "unknown"}, {"systemd": 247}])
def test_too_old(facts: dict[str, Any]) -> None:
    assert finding(**facts).code == preflight.TOO_OLD


def test_too_little_disk_gives_the_exact_figure_by_file_system() -> None:
    plan = make.make_inputs()
    systems = [
        FileSystem(path="/opt", device="root", free_bytes=20 * make.GIB),
        FileSystem(path="/var/lib", device="data", free_bytes=1_000_000),
        FileSystem(path="/etc", device="root", free_bytes=20 * make.GIB),
    ]
    (found,) = findings(make.with_facts(plan, file_systems=systems))
    needed = make_plan(plan).hosts[0].disk_needed["/var/lib"] + preflight.DISK_RESERVE
    assert found.code == preflight.DISK
    assert f"needs {needed} bytes" in found.problem.what
    assert "has 1000000 bytes" in found.problem.what
    assert f"free {needed - 1_000_000} bytes" in found.problem.hint


def test_paths_on_one_file_system_are_added_up() -> None:
    plan = make.make_inputs()
    total = sum(make_plan(plan).hosts[0].disk_needed.values()) + preflight.DISK_RESERVE
    for free, count in ((total, 0), (total - 1, 1)):
        systems = [
            FileSystem(path=path, device="one", free_bytes=free)
            for path in ("/opt", "/var/lib", "/etc")
        ]
        assert len(findings(make.with_facts(plan, file_systems=systems))) == count


def test_an_intact_host_needs_no_disk() -> None:
    plan = make.make_inputs()
    done = make.applied(plan, make_plan(plan))
    systems = [FileSystem(path="/var/lib", device="d", free_bytes=0)]
    assert findings(make.with_facts(done, file_systems=systems)) == ()


def test_too_little_memory_counts_weights_and_context() -> None:
    context = 23_040 * 2048 * 8
    needed = memory_needed(SERVING, make.make_site(), make.make_cards())
    total = sum(needed.values())
    assert needed["weights of chat"] == 100_000_000
    assert needed["context of 8 times 2048 tokens"] == context
    found = finding(memory_bytes=total - 1)
    assert found.code == preflight.MEMORY
    assert f"needs {total} bytes" in found.problem.what
    assert findings(make.with_facts(make.make_inputs(), memory_bytes=total)) == ()


def test_a_port_taken_by_a_stranger_names_process_and_unit() -> None:
    taken = Listener(port=8443, address="0.0.0.0", unit="nginx.service", process="nginx")
    found = finding(listeners=[taken])
    assert found.code == preflight.PORT_TAKEN
    assert "port 8443" in found.problem.what
    assert "process nginx of unit nginx.service" in found.problem.what
    assert "network.gateway_port" in found.problem.hint


def test_our_own_ports_are_not_taken() -> None:
    ours = [Listener(port=8443, address="10.0.0.11", unit="bastide-gateway.service")]
    assert findings(make.with_facts(make.make_inputs(), listeners=ours)) == ()


def test_a_port_held_by_another_of_our_services_is_taken() -> None:
    swapped = [Listener(port=8443, address="10.0.0.11", unit="bastide-llm.service")]
    assert finding(listeners=swapped).code == preflight.PORT_TAKEN


@pytest.mark.parametrize(("skew", "fit"), [(0, True), (43_200, True), (43_201, False)])
def test_clock(skew: int, fit: bool) -> None:
    for sign in (1, -1):
        inputs = make.with_facts(make.make_inputs(), unix_time=NOW + sign * skew)
        assert (findings(inputs) == ()) is fit
    assert findings(make.with_facts(make.make_inputs(), unix_time=0), None) == ()
    assert findings(make.with_facts(make.make_inputs(), unix_time=None)) == ()


def test_a_context_larger_than_the_model_was_made_for() -> None:
    site = make.make_site()
    large = site.replace(sizes={"llm": {"context_tokens": 8193, "parallel": 1}})
    (found,) = findings(make.make_inputs(large))
    assert found.code == preflight.CONTEXT
    assert "8193" in found.problem.what
    assert "8192" in found.problem.what


def test_all_problems_of_all_hosts_come_together() -> None:
    site = make.make_site({"host1": SERVING, "host2": (Group.LLM,), "host3": (Group.LLM,)})
    plan = make.make_inputs(site, {"host1": make.make_facts(systemd=1, memory_bytes=5)})
    lost = UnreachableHost(reason="no route", kind="unreachable")
    hosts = {name: f for name, f in plan.facts.hosts.items() if name != "host2"}
    plan = dataclasses.replace(plan, facts=SiteFacts(hosts=hosts, unreachable={"host2": lost}))
    with pytest.raises(PreflightError) as caught:
        require_fit(PreflightInputs(plan, make.make_target(), make.make_cards(), NOW))
    error = caught.value
    assert [problem.where for problem in error.problems] == ["host1", "host1", "host2"]
    assert error.code == preflight.UNFIT
    assert str(error).startswith("2 of 3 hosts are not fit; nothing was changed")
    assert error.exit_code == 5


def test_one_kind_of_finding_gives_its_own_code() -> None:
    plan = make.with_facts(make.make_inputs(), systemd=1)
    with pytest.raises(PreflightError) as caught:
        require_fit(PreflightInputs(plan, make.make_target(), make.make_cards(), NOW))
    assert caught.value.code == preflight.TOO_OLD
