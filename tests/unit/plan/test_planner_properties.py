"""What must hold of every plan, whatever the site, the bundle and the hosts."""

from __future__ import annotations

import dataclasses

import plan_factories as make
from hypothesis import given, settings
from hypothesis import strategies as st

from bastide.plan.inputs import PlanInputs
from bastide.plan.planner import make_plan
from bastide.plan.stage import stage_description
from bastide.plan.staleness import is_stale
from bastide.schema.artifact import Artifact, ArtifactKind, Component
from bastide.schema.facts import HostFacts
from bastide.schema.site import SERVING, Group

KINDS = [ArtifactKind.WHEEL, ArtifactKind.OS_PACKAGE, ArtifactKind.SOURCE]
MODELS = (
    make.artifact("chat", ArtifactKind.MODEL, (Component.LLM,)),
    make.artifact("embed", ArtifactKind.MODEL, (Component.EMBEDDINGS,)),
)
WIDE = settings(max_examples=40, deadline=None)


@st.composite
def artifact_sets(draw: st.DrawFn) -> tuple[Artifact, ...]:
    drawn = draw(
        st.lists(
            st.builds(
                make.artifact,
                name=st.sampled_from(["a", "b", "c", "uv", "haproxy"]),
                kind=st.sampled_from(KINDS),
                components=st.sets(st.sampled_from(list(Component)), min_size=1).map(tuple),
                version=st.sampled_from(["1.0-1", "1.0-1+deb12u1", "2:0.9"]),
                size=st.integers(0, 10**9),
            ),
            max_size=6,
        )
    )
    # A bundle holds a name once within a kind.
    return (*MODELS, *{(each.kind, each.name): each for each in drawn}.values())


@st.composite
def host_facts(draw: st.DrawFn, artifacts: tuple[Artifact, ...], paths: list[str]) -> HostFacts:
    there = draw(st.sets(st.sampled_from(artifacts)))
    models = {a.sha256: a.size for a in there if a.kind is ArtifactKind.MODEL}
    others = {a.sha256: a.size for a in there if a.kind is not ArtifactKind.MODEL}
    number = draw(st.none() | st.integers(1, 9))
    units = [f"bastide-{group}.service" for group in SERVING] + ["bastide-old.service"]
    return make.make_facts(
        models=models,
        artifacts=others,
        packages=draw(
            st.dictionaries(
                st.sampled_from(["a", "b", "haproxy"]), st.sampled_from(["0.1", "1.0-1", "3:1"])
            )
        ),
        files=draw(
            st.dictionaries(
                st.sampled_from([*paths, "etc/foreign"]), st.sampled_from([make.sha("x")])
            )
        ),
        units=draw(
            st.dictionaries(
                st.sampled_from(units), st.sampled_from(["active", "failed", "inactive"])
            )
        ),
        generation=number,
        generation_digest=make.sha("some") if number else None,
        newest_generation=draw(st.integers(number or 0, 12)),
        contents=draw(st.sampled_from([{}, {"wheel/a": make.sha("a")}])),
    )


@st.composite
def inputs(draw: st.DrawFn) -> PlanInputs:
    extra = draw(st.sets(st.sampled_from([Group.LLM, Group.EMBEDDINGS]), min_size=1).map(tuple))
    second = draw(st.booleans())
    site = make.make_site({"host1": SERVING, **({"host2": extra} if second else {})})
    artifacts = draw(artifact_sets())
    base = make.make_inputs(site, artifacts=artifacts)
    facts = {
        name: draw(host_facts(artifacts, sorted(base.trees[name].files))) for name in site.hosts
    }
    return make.make_inputs(site, facts, artifacts)


@WIDE
@given(inputs())
def test_a_plan_that_was_carried_out_leaves_nothing_to_do(before: PlanInputs) -> None:
    plan = make_plan(before)
    after = make_plan(make.applied(before, plan))
    assert after.changes == 0
    assert is_stale(plan, after) == ()


@WIDE
@given(inputs())
def test_what_is_there_is_not_fetched_and_what_is_fetched_is_needed(before: PlanInputs) -> None:
    for host in make_plan(before).hosts:
        facts = before.facts.hosts[host.host]
        there = {**facts.models, **facts.artifacts}
        stage = stage_description(host, before)
        for pull in host.pulls:
            assert there.get(pull.sha256) != pull.size
        digests = [pull.sha256 for pull in host.pulls]
        assert len(set(digests)) == len(digests), "each blob once"
        assert set(digests) <= {blob["sha256"] for blob in stage["blobs"]}


@WIDE
@given(inputs())
def test_equal_inputs_give_equal_plans(before: PlanInputs) -> None:
    one, other = make_plan(before), make_plan(dataclasses.replace(before))
    assert one.canonical() == other.canonical()
    assert type(one).model_validate_json(one.model_dump_json()) == one


@WIDE
@given(inputs())
def test_a_new_generation_never_takes_an_old_number(before: PlanInputs) -> None:
    for host in make_plan(before).hosts:
        facts = before.facts.hosts[host.host]
        if host.generation_after != facts.generation:
            assert host.generation_after > max(facts.newest_generation, facts.generation or 0)


@WIDE
@given(inputs())
def test_every_unit_runs_afterwards_and_no_other(before: PlanInputs) -> None:
    plan = make_plan(before)
    after = make.applied(before, plan)
    for host in plan.hosts:
        running = {u for u, s in after.facts.hosts[host.host].units.items() if s == "active"}
        assert running == {f"bastide-{group}.service" for group in host.groups}
