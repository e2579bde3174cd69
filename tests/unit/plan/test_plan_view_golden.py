"""How plans look to a person, against files in tests/cases/plan.

BASTIDE_REWRITE=1 writes them anew; look at the difference before you commit it.
"""

from __future__ import annotations

import dataclasses
import io
import os
from collections.abc import Callable
from pathlib import Path

import plan_factories as make
import pytest
from rich.console import Console

from bastide.cli.plan_view import print_plan
from bastide.plan.inputs import PlanInputs
from bastide.plan.planner import make_plan
from bastide.schema.plan import Plan
from bastide.schema.site import Group

CASES = Path(__file__).parents[2] / "cases" / "plan"
TWO_HOSTS = {"big": (Group.LLM, Group.EMBEDDINGS), "small": (Group.VECTORDB, Group.GATEWAY)}


def installed(inputs: PlanInputs) -> PlanInputs:
    return make.applied(inputs, make_plan(inputs))


def upgraded() -> PlanInputs:
    newer = {"chat": "2.0", "haproxy": "2.6.12-1+deb12u4"}
    artifacts = tuple(
        make.artifact(a.name, a.kind, a.components, newer.get(a.name, a.version), a.size)
        for a in make.make_artifacts()
    )
    before = installed(make.make_inputs(make.make_site(TWO_HOSTS)))
    tree = make.make_tree(TWO_HOSTS["small"], "new")
    return dataclasses.replace(
        before,
        manifest=make.make_manifest(artifacts),
        trees={**before.trees, "small": tree},
    )


def drifted() -> PlanInputs:
    inputs = installed(make.make_inputs())
    facts = inputs.facts.hosts["host1"]
    files = {**facts.files, "etc/llm.json": make.sha("by hand"), "etc/left-over": make.sha("x")}
    units = {**facts.units, "bastide-vectordb.service": "failed", "bastide-x.service": "active"}
    return make.with_facts(inputs, files=files, units=units)


SCENES: dict[str, Callable[[], PlanInputs]] = {
    "first-install": lambda: make.make_inputs(make.make_site(TWO_HOSTS)),
    "no-changes": lambda: installed(make.make_inputs()),
    "upgrade": upgraded,
    "drift": drifted,
}


def shown(plan: Plan) -> str:
    stream = io.StringIO()
    print_plan(Console(file=stream, width=100, soft_wrap=True, highlight=False), plan)
    return stream.getvalue()


@pytest.mark.parametrize("name", SCENES)
def test_a_plan_looks_as_it_should(name: str) -> None:
    text = shown(make_plan(SCENES[name]()))
    golden = CASES / f"{name}.txt"
    if os.environ.get("BASTIDE_REWRITE"):
        golden.write_text(text)
    assert text == golden.read_text()
