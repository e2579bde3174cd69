"""What a plan says of vectors that are made anew, and what hosts are told of it."""

from __future__ import annotations

import dataclasses
from typing import Any

import plan_factories as make
import pytest

from bastide.errors import PreflightError
from bastide.plan import switching
from bastide.plan.inputs import PlanInputs
from bastide.plan.path import Road
from bastide.plan.planner import make_plan
from bastide.plan.stage import stage_description
from bastide.schema.plan import DataStep
from bastide.schema.release import DataMigration
from bastide.schema.site import CollectionText, Group, Site

RUNS = {"bastide-vectordb.service": "active"}
DOCS = {"docs": CollectionText(text="words")}
APART = {"host1": (Group.VECTORDB, Group.GATEWAY), "host2": (Group.LLM, Group.EMBEDDINGS)}
MIGRATION = DataMigration.model_validate(
    {"component": "vectordb", "kind": "reembed", "what": "anew by embed", "reverse": "kept"}
)


def upgrade(collections: dict[str, CollectionText], site: Site | None = None) -> PlanInputs:
    """Return the inputs of an upgrade to a release that has a re-embedding."""
    site = site or make.make_site()
    site = site.replace(upgrades=site.upgrades.replace(collections=collections))
    before = make.make_facts(generation=1, release="starter-2026.10.0", units=RUNS)
    inputs = make.make_inputs(site, {"host1": before})
    release = make.make_release()
    release = release.replace(
        upgrade=release.upgrade.replace(
            data_migrations=(MIGRATION,), reachable_from=("starter-2026.10.0",)
        )
    )
    return dataclasses.replace(inputs, road=Road({inputs.release: release}))


def steps(inputs: PlanInputs, **facts: Any) -> tuple[DataStep, ...]:
    host = inputs.facts.hosts["host1"].replace(**facts)
    return switching.data_steps(inputs, host, (), 2)


def test_the_plan_names_the_collections_or_says_that_there_are_none() -> None:
    assert [step.kind for step in steps(upgrade(DOCS))] == ["snapshot", "reembed"]
    assert steps(upgrade(DOCS))[1].what == "anew by embed (collections: docs)"
    assert "nothing is embedded anew" in steps(upgrade({}))[1].what


def test_only_the_way_from_another_release_has_a_migration() -> None:
    inputs = upgrade(DOCS)
    assert steps(inputs, release=inputs.release) == ()
    back = dataclasses.replace(inputs, road=dataclasses.replace(inputs.road, rollback=True))
    assert steps(back) == ()


def test_a_host_is_told_the_collections_and_the_field_of_their_texts() -> None:
    inputs = upgrade(DOCS)
    (host,) = make_plan(inputs).hosts
    assert stage_description(host, inputs)["reembed"] == {"collections": {"docs": "words"}}
    inputs = upgrade({})
    (host,) = make_plan(inputs).hosts
    assert stage_description(host, inputs)["reembed"] == {}


def test_a_host_without_the_model_cannot_embed_anew() -> None:
    apart = make.make_site(APART)
    with pytest.raises(PreflightError, match="no embedding server") as caught:
        make_plan(upgrade(DOCS, apart))
    assert caught.value.code == "BAS-5083"
    assert "group embeddings" in caught.value.hint
    assert make_plan(upgrade({}, apart)).changes


def test_the_plan_lists_what_embedding_anew_writes() -> None:
    (host,) = make_plan(upgrade(DOCS)).hosts
    paths = {change.path: change for change in host.paths}
    assert not paths["/var/lib/bastide/reembed.json"].certain
    assert "/run/systemd/system/reembed-bastide.service" in paths
    assert list(paths) == sorted(paths)
