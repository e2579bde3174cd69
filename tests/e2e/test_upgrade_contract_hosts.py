"""Three hosts, one of them with the language model only: each changes what its plan says.

Changes of settings of which one collects an old generation, a rollback, an upgrade. The tests of
this file share one site and run in order.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import pytest
from contract_operator import Looker
from site_operator import brings

from bastide.plan.fidelity import Unfulfilled, Unplanned, unfulfilled, unplanned
from bastide.schema.inventory import Inventory
from bastide.schema.plan import Plan

pytestmark = [pytest.mark.e2e, pytest.mark.long]

LAB = "upgradehosts"
OLD, NEW = "starter-2026.11.0", "starter-2026.12.0"
OLD_MODEL, NEW_MODEL = "smollm2-135m-instruct-q4_1", "smollm2-135m-instruct-q4_1-t2"
HOSTS = ("host1", "host2", "host3")
GROUPS = {"host2": ":embeddings,llm", "host3": ":llm"}


class Crew(Looker):
    """An operator of a site with several lab hosts."""

    def looks_everywhere(self) -> dict[str, Inventory]:
        """Return every host, whole."""
        return {name: self.looks(name) for name in HOSTS}

    def newest_plan(self, where: str = "plan.json") -> Plan:
        """Return the plan file, or the newest of those that ``where`` matches."""
        return Plan.model_validate_json(max(self.site.glob(where)).read_bytes())

    def plans_everywhere(self) -> Plan:
        """Make a plan of the whole site."""
        self.asks("plan")
        return self.newest_plan()


Findings = dict[str, tuple[Unplanned | Unfulfilled, ...]]


def found(before: Mapping[str, Inventory], after: Mapping[str, Inventory], plan: Plan) -> Findings:
    """Return every difference between a plan and what became of each of its hosts."""
    assert {each.host for each in plan.hosts} == set(HOSTS)
    every: Findings = {}
    for each in plan.hosts:
        was, now = before[each.host], after[each.host]
        every[each.host] = (*unplanned(was, now, each), *unfulfilled(was, now, each))
    return {host: strays for host, strays in every.items() if strays}


def faithful(crew: Crew) -> Plan:
    """Plan and apply; fail with every difference on any host."""
    before, plan = crew.looks_everywhere(), crew.plans_everywhere()
    crew.applies()
    assert found(before, crew.looks_everywhere(), plan) == {}
    return plan


@pytest.fixture(scope="module")
def crew(lab_tools: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Crew]:  # noqa: ARG001
    crew = Crew(tmp_path_factory.mktemp("upgradehosts"), LAB)
    with crew.with_lab(*brings(OLD, NEW), "bastide lab up --hosts 3"):
        given = " ".join(f"--host {name}={crew.address(name)}{groups}"
                         for name, groups in GROUPS.items())  # fmt: skip
        crew.types(f"bastide init site --lab --release {OLD} {given}")
        yield crew


def test_a_first_install_on_three_hosts(crew: Crew) -> None:
    plan = faithful(crew)
    assert [each.groups for each in plan.hosts if each.host == "host3"] == [("llm",)]


def test_old_generations_are_collected_as_the_plan_says(crew: Crew) -> None:
    crew.describes("parallel: 8", "parallel: 7")
    faithful(crew)
    crew.describes("parallel: 7", "parallel: 6")
    crew.describes("keep_generations: 3", "keep_generations: 2")
    plan = faithful(crew)
    assert {each.host: each.collected for each in plan.hosts}["host3"] == (1,)


def test_a_rollback_changes_on_each_host_what_its_plan_says(crew: Crew) -> None:
    before = crew.looks_everywhere()
    crew.asks("rollback --yes")
    plan = crew.newest_plan("runs/*/plan.json")
    assert found(before, crew.looks_everywhere(), plan) == {}
    assert {each.bytes_to_pull for each in plan.hosts} == {0}


def test_nothing_to_do_changes_nothing_anywhere(crew: Crew) -> None:
    crew.describes("parallel: 6", "parallel: 7")
    plan = faithful(crew)
    assert plan.changes == 0


def test_an_upgrade_changes_on_each_host_what_its_plan_says(crew: Crew) -> None:
    crew.describes(f"release: {OLD}", f"release: {NEW}")
    crew.describes(f"llm: {OLD_MODEL}", f"llm: {NEW_MODEL}")
    plan = faithful(crew)
    assert plan.canary == "host3"
    assert all(each.generation_after > (each.generation_before or 0) for each in plan.hosts)
