"""The path solver against brute force, over made-up catalogues with real release values."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise, product

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bastide.errors import PreflightError
from bastide.plan.engine import why_engine_forbids
from bastide.plan.path import Road, lineage, shortest, solve, why_not
from bastide.schema.artifact import Component
from bastide.schema.release import (
    ComponentPins,
    DataMigration,
    Gate,
    Hop,
    MigrationKind,
    MigrationReverse,
    Release,
    Upgrade,
)

NAMES = tuple(f"a-2026.{month}.0" for month in range(1, 7))
VERSIONS = (
    "1.15.4",
    "1.15.5",
    "1.16.0",
    "1.16.1",
    "1.16.3",
    "1.17.0",
    "1.17.1",
    "1.18.3",
    "1.19.0",
)


def release(
    name: str,
    sources: tuple[str, ...] = (),
    *,
    hops: tuple[Hop, ...] = (),
    engine: str = "edge",
    version: str = "0.9.0",
    moved: bool = False,
) -> Release:
    pins = ComponentPins(summary="x", engine="x", version="1")
    components = dict.fromkeys(Component, pins)
    components[Component.VECTORDB] = ComponentPins(summary="x", engine=engine, version=version)
    migration = DataMigration(
        component=Component.VECTORDB,
        kind=MigrationKind.FORMAT,
        what="moved",
        reverse=MigrationReverse.SNAPSHOT,
    )
    head, _, tail = name.rpartition("-")
    return Release(
        name=head,
        version=tail,
        summary="x",
        targets=("t",),
        components=components,
        upgrade=Upgrade(
            reachable_from=sources,
            hops=hops,
            data_migrations=(migration,) if moved else (),
            gates=(Gate.HEALTH,),
            expected_interruption={},
        ),
    )


@st.composite
def catalogues(draw: st.DrawFn) -> dict[str, Release]:
    """Releases with any edges between them, cycles and unknown ones too."""
    known = {}
    for name in draw(st.sets(st.sampled_from(NAMES), min_size=1)):
        others = [each for each in NAMES if each != name]
        sources = tuple(sorted(draw(st.sets(st.sampled_from(others), max_size=3))))
        engine = draw(st.sampled_from(("edge", "server")))
        hops: tuple[Hop, ...] = ()
        if draw(st.booleans()):
            start, via = draw(st.sampled_from(others)), draw(st.sampled_from(others))
            hops = (Hop(start=start, via=(via,)),)
        known[name] = release(
            name,
            sources,
            hops=hops,
            engine=engine,
            version=draw(st.sampled_from(VERSIONS if engine == "server" else ("0.8.0", "0.9.0"))),
            moved=draw(st.booleans()),
        )
    return known


def brute_force(
    wanted: str, starts: frozenset[str], known: Mapping[str, Release]
) -> tuple[str, ...] | None:
    """Try all sequences of releases, the shorter ones first."""
    for length in range(1, len(NAMES) + 1):
        for middle in product(NAMES, repeat=length - 1):
            way = (*middle, wanted)
            first = all(s == way[0] or not why_not(s, way[0], known) for s in starts)
            legal = all(not why_not(a, b, known) for a, b in pairwise(way))
            if first and legal:
                return way
    return None


@settings(max_examples=150, deadline=None)
@given(catalogues(), st.data())
def test_the_way_is_legal_and_as_short_as_any(
    known: dict[str, Release], data: st.DataObject
) -> None:
    wanted = data.draw(st.sampled_from(sorted(known)))
    starts = data.draw(st.frozensets(st.sampled_from(NAMES), min_size=1, max_size=2))
    if starts == {wanted}:
        return
    found, expected = shortest(wanted, starts, known), brute_force(wanted, starts, known)
    assert (found is None) == (expected is None)
    if found is not None and expected is not None:
        assert len(found) == len(expected)
        assert found[-1] == wanted
        assert all(start == found[0] or not why_not(start, found[0], known) for start in starts)
        assert not any(why_not(a, b, known) for a, b in pairwise(found))


@settings(max_examples=150, deadline=None)
@given(catalogues(), st.data())
def test_one_apply_is_legal_exactly_if_no_start_forbids_it(
    known: dict[str, Release], data: st.DataObject
) -> None:
    wanted = data.draw(st.sampled_from(sorted(known)))
    starts = data.draw(st.frozensets(st.sampled_from(NAMES), max_size=3))
    legal = all(
        start == wanted
        or (
            start in known[wanted].upgrade.reachable_from
            and not (start in known and why_engine_forbids(known[start], known[wanted]))
        )
        for start in starts
    )
    if legal:
        assert solve(wanted, starts, Road(known)).coming_from == tuple(sorted(starts))
    else:
        with pytest.raises(PreflightError) as caught:
            solve(wanted, starts, Road(known))
        assert caught.value.code in {"BAS-5080", "BAS-5081"}
    assert solve(wanted, starts, Road(known, rollback=True)).coming_from == tuple(sorted(starts))


@given(st.sampled_from(VERSIONS), st.sampled_from(VERSIONS))
def test_a_server_never_skips_a_minor_goes_down_or_lands_where_data_is_lost(
    before: str, after: str
) -> None:
    old, new = (release(NAMES[0], engine="server", version=v) for v in (before, after))
    first, second = ([int(part) for part in v.split(".")] for v in (before, after))
    lands = after in {"1.16.2", "1.16.3", "1.17.0"} and before != after
    last = {15: 5, 16: 1, 17: 1, 18: 3}.get(first[1], 0)
    leaves_early = second[1] > first[1] and first[2] < last
    illegal = second < first or second[1] > first[1] + 1 or lands or leaves_early
    assert bool(why_engine_forbids(old, new)) == illegal


@given(catalogues(), st.sampled_from(NAMES))
def test_a_lineage_is_closed(known: dict[str, Release], wanted: str) -> None:
    found = lineage(wanted, known)
    assert wanted not in found
    for name in (*found, wanted):
        for source in known[name].upgrade.reachable_from if name in known else ():
            assert source in found or source not in known or source == wanted


def test_the_whole_way_of_the_archives() -> None:
    steps = ("1.15.5", "1.16.1", "1.17.1", "1.18.3", "1.19.0")
    known: dict[str, Release] = {}
    for name, version, before in zip(NAMES, steps, ((), *((n,) for n in NAMES)), strict=False):
        known[name] = release(name, before, engine="server", version=version)
    # A manifest that claims more than the engine allows is not believed.
    known[NAMES[4]] = release(NAMES[4], NAMES[:4], engine="server", version="1.19.0")
    assert shortest(NAMES[4], {NAMES[0]}, known) == NAMES[1:5]
    with pytest.raises(PreflightError, match="one minor at a time") as caught:
        solve(NAMES[4], {NAMES[0]}, Road(known))
    assert caught.value.exit_code == 5
