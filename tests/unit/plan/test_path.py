"""What the operator is told about the way to a release."""

from __future__ import annotations

import dataclasses
import io

import plan_factories as make
import pytest
from rich.console import Console
from test_path_properties import release

from bastide import resources
from bastide.bundle.catalogue import Catalogue
from bastide.cli.plan_view import print_plan
from bastide.errors import ConfigError, PreflightError
from bastide.plan.engine import why_engine_forbids
from bastide.plan.inputs import PlanInputs
from bastide.plan.path import Road, Route, lineage, solve
from bastide.plan.planner import make_plan
from bastide.schema.release import Hop

A, B, C = "starter-2026.11.0", "starter-2026.12.0", "starter_f16-2026.12.0"
GEMMA = "starter_gemma-2026.12.0"
SHIPPED = Catalogue(resources.catalogue())
KNOWN = {name: SHIPPED.release(name).value for name in (A, B, C, GEMMA)}


def refused(wanted: str, *starts: str, road: Road | None = None) -> PreflightError:
    with pytest.raises(PreflightError) as caught:
        solve(wanted, starts, road or Road(KNOWN, {B, C}))
    assert caught.value.exit_code == 5
    return caught.value


def test_a_first_install_the_same_release_and_a_listed_one_are_legal() -> None:
    assert solve(C, (), Road(KNOWN)) == Route((), "first install: nothing is replaced")
    assert solve(B, [B], Road(KNOWN)).why == "the hosts run this release already"
    assert solve(B, [A], Road(KNOWN)) == Route(
        (A,), f"{B}'s upgrade manifest lets one apply lead to it from {A}"
    )


def test_an_upgrade_that_was_cut_off_goes_on() -> None:
    route = solve(B, [B, A], Road(KNOWN))
    assert route.coming_from == (A, B)
    assert route.why.endswith("some hosts run it already")


def test_a_release_too_far_away_names_the_shortest_way() -> None:
    error = refused(C, A)
    assert error.code == "BAS-5080"
    assert f"from: {B}" in str(error)
    assert "nothing was changed" in str(error)
    assert error.hint.startswith(f"apply {B} (imported: yes) first, then {C} (imported: yes)")
    error = refused(GEMMA, A, road=Road(KNOWN, {GEMMA}))
    assert error.hint.startswith(f"apply {B} (imported: no) first, then {GEMMA} (imported: yes)")


def test_hosts_that_differ_are_first_brought_together() -> None:
    """After an upgrade from A to B that was killed, C is wanted: B has to be finished first."""
    assert refused(C, A, B).hint.startswith(f"apply {B} (imported: yes) first, then {C}")


def test_no_way_says_from_where_there_is_one() -> None:
    error = refused(B, "other-2026.1.0")
    assert "no way from other-2026.1.0 is known" in error.hint
    assert f"{B} can be reached from {A} or by a first install" in error.hint
    assert "by a first install" in refused(A, "other-2026.1.0").hint


@pytest.mark.parametrize(("wanted", "start"), [(A, B), (B, C), (A, C), (A, "starter-2027.1.0")])
def test_a_downgrade_is_a_rollback(wanted: str, start: str) -> None:
    error = refused(wanted, start)
    assert error.code == "BAS-5081"
    assert error.hint == "a downgrade is a rollback: bastide rollback"
    assert solve(wanted, [start], Road(KNOWN, rollback=True)).coming_from == (start,)


def test_versions_are_numbers() -> None:
    road = Road({"a-2026.10.0": release("a-2026.10.0")})
    assert refused("a-2026.10.0", "a-2026.9.0", road=road).code == "BAS-5080"


def test_a_hop_through_a_release_without_a_manifest_is_believed() -> None:
    hop = Hop(start="a-2026.1.0", via=("a-2026.2.0",))
    known = {"a-2026.3.0": release("a-2026.3.0", ("a-2026.2.0",), hops=(hop,))}
    error = refused("a-2026.3.0", "a-2026.1.0", road=Road(known))
    assert error.hint.startswith("apply a-2026.2.0 (imported: no) first, then a-2026.3.0")


def test_a_hop_into_a_known_release_needs_its_own_word() -> None:
    hop = Hop(start="a-2026.1.0", via=("a-2026.2.0",))
    known = {
        "a-2026.3.0": release("a-2026.3.0", ("a-2026.2.0",), hops=(hop,)),
        "a-2026.2.0": release("a-2026.2.0"),
    }
    assert "no way" in refused("a-2026.3.0", "a-2026.1.0", road=Road(known)).hint


@pytest.mark.parametrize(
    ("before", "after", "words"),
    [
        (("server", "1.15.5"), ("server", "1.16.3"), "lacks RocksDB"),
        (("server", "1.16.1"), ("server", "1.17.0"), "lacks RocksDB"),
        (("server", "1.15.3"), ("server", "1.16.1"), "it has to be 1.15.5"),
        (("server", "1.16.1"), ("server", "1.18.3"), "one minor at a time"),
        (("server", "1.19.0"), ("server", "2.0.0"), "one minor at a time"),
        (("server", "1.18.3"), ("server", "1.17.1"), "older version"),
        (("edge", "0.9.0"), ("edge", "0.8.0"), "older version"),
        (("edge", "0.9.0"), ("edge", "next"), "cannot be compared"),
        (("edge", "0.9.0"), ("server", "1.19.0"), "no data migration"),
        (("server", "1.16.3"), ("server", "1.16.3"), ""),
        (("server", "1.18.3"), ("server", "1.19.4"), ""),
        (("edge", "0.7.0"), ("edge", "0.9.0"), ""),
    ],
)
def test_rules_of_the_engine(before: tuple[str, str], after: tuple[str, str], words: str) -> None:
    old, new = (release("a-2026.1.0", engine=e, version=v) for e, v in (before, after))
    why = why_engine_forbids(old, new)
    assert (words in why) if words else why == ""


def test_another_engine_with_a_data_migration_is_legal() -> None:
    old = release("a-2026.1.0", engine="edge", version="0.9.0")
    new = release("a-2026.2.0", engine="server", version="1.19.0", moved=True)
    assert why_engine_forbids(old, new) == ""


def coming_from(release: str, **changes: object) -> PlanInputs:
    """A site on ``release`` that wants B."""
    inputs = make.with_facts(make.make_inputs(), generation=1, release=release)
    return dataclasses.replace(inputs, release=B, road=Road(KNOWN, {B}), **changes)  # type: ignore[arg-type]


def test_a_plan_says_where_it_comes_from_and_why_that_is_legal() -> None:
    plan = make_plan(coming_from(A))
    assert plan.coming_from == (A,)
    assert plan.why_legal.endswith(f"one apply lead to it from {A}")
    first = make_plan(dataclasses.replace(make.make_inputs(), release=B, road=Road(KNOWN)))
    assert (first.coming_from, first.why_legal) == ((), "first install: nothing is replaced")
    nobody_knows = make.with_facts(make.make_inputs(), generation=1)
    assert make_plan(nobody_knows).why_legal == ""


def test_an_illegal_plan_is_not_made_unless_it_is_a_rollback() -> None:
    with pytest.raises(PreflightError) as caught:
        make_plan(coming_from(C))
    assert caught.value.code == "BAS-5081"
    back = dataclasses.replace(coming_from(C), road=Road(rollback=True))
    assert make_plan(back).coming_from == (C,)


def test_the_plans_header_has_one_line_on_the_way() -> None:
    stream = io.StringIO()
    print_plan(Console(file=stream, width=300), make_plan(coming_from(A)))
    lines = stream.getvalue().splitlines()
    assert lines[1].startswith(f"coming from {A}: {B}'s upgrade manifest")


def test_a_model_that_was_replaced_names_its_successor() -> None:
    follows = KNOWN[B].replace(
        upgrade=KNOWN[B].upgrade.replace(replaces={"old-chat": "other-chat", "gone": "absent"})
    )
    inputs = dataclasses.replace(coming_from(A), road=Road({B: follows}))
    site = inputs.site.replace(models={"llm": "old-chat", "embeddings": "embed"})
    with pytest.raises(ConfigError, match=r"models\.llm is 'old-chat'") as caught:
        make_plan(dataclasses.replace(inputs, site=site))
    assert "'other-chat' follows 'old-chat': set models.llm: other-chat" in caught.value.hint
    site = inputs.site.replace(models={"llm": "gone", "embeddings": "embed"})
    with pytest.raises(ConfigError) as caught:
        make_plan(dataclasses.replace(inputs, site=site))
    assert "set models.llm to one of these" in caught.value.hint


def test_what_ships_knows_its_own_ways() -> None:
    assert lineage(C, KNOWN) == (A, B)
    assert lineage(B, KNOWN) == (A,)
    for name in (B, C, GEMMA):
        for source in KNOWN[name].upgrade.reachable_from:
            assert solve(name, [source], Road(KNOWN)).why
