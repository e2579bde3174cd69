"""site.yaml's audit: texts are recorded only if it says so, and then only where the LLM is."""

from __future__ import annotations

import dataclasses
from typing import Any

import plan_factories as make
import pytest
import rendered
from pydantic import ValidationError

from bastide.layout import HOST_TEXTS
from bastide.plan import contract
from bastide.plan.inputs import PlanInputs, TreeDigest
from bastide.plan.planner import make_plan
from bastide.plan.volatile import volatile_path
from bastide.render.trees import HostTree
from bastide.schema.audit import Audit
from bastide.schema.plan import HostPlan
from bastide.schema.site import SERVING, Group, Site
from bastide.site.config import site_text

ON = Audit(texts_days=30)
UNIT, GATEWAY = "units/bastide-llm.service", "etc/haproxy.cfg"
FOLDER = str(HOST_TEXTS)


def text(tree: HostTree, path: str) -> str:
    return tree.files[path].content.decode()


@pytest.mark.parametrize("days", [0, -1, 3651, "for ever"])
def test_days_that_are_refused(days: Any) -> None:
    with pytest.raises(ValidationError, match="texts_days"):
        Audit.model_validate({"texts_days": days})


def test_it_is_never_unless_it_is_said_and_the_file_says_what_it_means() -> None:
    assert not rendered.one_host().records_texts
    assert rendered.one_host(audit={"texts_days": 1}).records_texts
    told = site_text(rendered.one_host())
    assert "texts_days: null" in told
    assert "PERSONAL DATA" in told
    assert "works council" in " ".join(told.replace("#", "").split())
    assert contract.site_view(rendered.one_host().replace(audit=ON))["audit.texts_days"] == "30"


def test_without_it_nothing_is_recorded_and_nobody_is_named_to_servers() -> None:
    for tree in rendered.trees(rendered.two_hosts()).values():
        words = "".join(file.content.decode() for path, file in tree.files.items()
                        if path.startswith(("etc/", "units/")))  # fmt: skip
        assert "bastide/texts" not in words
        assert "BASTIDE_TEXTS_DAYS" not in words
        assert "set-header X-Bastide-Identity" not in words
    assert "del-header X-Bastide-Identity" in text(tree, GATEWAY)  # whoever sends it


def test_with_it_the_llms_unit_records_and_the_gateway_says_who_asks() -> None:
    trees = rendered.trees(rendered.two_hosts(audit={"texts_days": 30}))
    for tree in trees.values():
        lines = text(tree, UNIT).splitlines()
        assert "StateDirectory=bastide/texts" in lines
        assert "StateDirectoryMode=0700" in lines
        assert "Environment=BASTIDE_TEXTS_DAYS=30" in lines
        assert "lib/text_record.py" in tree.files
    assert "texts" not in text(trees["host1"], "units/bastide-embeddings.service")
    backends = text(trees["host2"], GATEWAY).split("\nbackend ")
    told = {each.split()[0] for each in backends[1:] if "set-header X-Bastide-Identity" in each}
    assert told == {"llm"}


def test_only_the_unit_and_the_gateways_configuration_change() -> None:
    before, after = (rendered.trees(rendered.one_host(**each))["host1"].digests
                     for each in ({}, {"audit": {"texts_days": 30}}))  # fmt: skip
    differing = {path for path in before.keys() | after if before.get(path) != after.get(path)}
    assert differing == {UNIT, GATEWAY}


# --- the plan --------------------------------------------------------------------------------
def inputs_of(site: Site, unit: str) -> PlanInputs:
    inputs = make.make_inputs(site)
    trees = {}
    for name, tree in inputs.trees.items():
        changed = {UNIT: make.sha(unit)} if UNIT in tree.files else {}
        trees[name] = TreeDigest(make.sha(unit), tree.size, {**tree.files, **changed})
    return dataclasses.replace(inputs, trees=trees)


def plan_of(audit: Audit, places: dict[str, str] | None = None) -> HostPlan:
    """Return what the plan of a running site says of its host when ``audit`` changes."""
    first = inputs_of(make.make_site(), "off")
    done = make.applied(first, make_plan(first))
    wanted = inputs_of(make.make_site().replace(audit=audit), "on")
    held = {**done.facts.hosts["host1"].places, **(places or {})}
    return make_plan(
        make.with_facts(dataclasses.replace(wanted, facts=done.facts), places=held)
    ).hosts[0]


def test_the_plan_says_that_texts_are_recorded_from_now_on() -> None:
    plan = plan_of(ON)
    (change,) = (each for each in plan.paths if each.path == FOLDER)
    assert change.whole
    assert change.certain
    assert "PROMPTS AND ANSWERS" in change.why
    assert "bastide-llm.service" in {each.name for each in plan.units}
    assert FOLDER not in {each.path for each in plan_of(Audit()).paths}
    assert FOLDER not in {each.path for each in plan_of(ON, {FOLDER: "folder"}).paths}
    assert volatile_path(f"{FOLDER}/2026-11-26.jsonl")


def test_a_first_plan_says_it_on_hosts_of_the_llm_only() -> None:
    site = make.make_site({"a": SERVING, "b": (Group.EMBEDDINGS,)}).replace(audit=ON)
    plans = {each.host: each for each in make_plan(make.make_inputs(site)).hosts}
    told = {host: FOLDER in {each.path for each in plan.paths} for host, plan in plans.items()}
    assert told == {"a": True, "b": False}
