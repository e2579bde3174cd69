"""From which releases a release can be reached in one apply, and by which way otherwise. Pure.

What is known are the upgrade manifests of the imported bundles: each carries its own and those of
the releases on the ways to it. A step from one release to another is legal if the other lists the
one in ``reachable_from`` and no rule of the vector DB's engine forbids it (see ``engine``). All
hosts of a site get the same release, so a step has to be legal from every release that runs now.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import pairwise

from bastide.errors import PreflightError
from bastide.plan.engine import why_engine_forbids
from bastide.schema.release import Release

NO_PATH = "BAS-5080"
DOWNGRADE = "BAS-5081"


@dataclass(frozen=True)
class Road:
    """What the path of an upgrade is decided from.

    Args:
        known: Upgrade manifests, as far as they are known: releases by name and version.
        imported: Releases whose bundles the store holds.
        rollback: Whether this is a way back, which a run has been before: always legal.
    """

    known: Mapping[str, Release] = field(default_factory=dict)
    imported: Collection[str] = ()
    rollback: bool = False


@dataclass(frozen=True)
class Route:
    """A legal way in one apply.

    Args:
        coming_from: Releases that hosts run now, sorted; empty for a first install.
        why: Why it is legal, for the operator; empty if nothing is known about the release.
    """

    coming_from: tuple[str, ...]
    why: str


def solve(wanted: str, starts: Collection[str], road: Road) -> Route:
    """Return why ``wanted`` can be reached in one apply.

    Args:
        wanted: The release to apply, name and version.
        starts: The releases that the site's hosts run now: none at a first install, several after
            an upgrade that was cut off.
        road: Upgrade manifests, and what was imported.

    Raises:
        PreflightError: It cannot; the hint has the shortest legal way, or says that there is none.
    """
    coming_from = tuple(sorted(set(starts)))
    others = tuple(start for start in coming_from if start != wanted)
    if road.rollback:
        return Route(coming_from, "a rollback goes back to what ran here before")
    if not coming_from:
        return Route((), "first install: nothing is replaced")
    if not others:
        return Route(coming_from, "the hosts run this release already")
    if wanted not in road.known:
        return Route(coming_from, "")
    refused = [(start, why) for start in others if (why := why_not(start, wanted, road.known))]
    if not refused:
        return Route(coming_from, _why_legal(wanted, coming_from, others))
    raise _refusal(wanted, coming_from, refused, road)


def why_not(start: str, goal: str, known: Mapping[str, Release]) -> str:
    """Return why one apply must not lead from ``start`` to ``goal``; empty if it may.

    Of a ``goal`` without a known manifest, the hops of the others are believed.
    """
    release = known.get(goal)
    if release is None:
        believed = any((start, goal) in set(legs(name, each)) for name, each in known.items())
        return "" if believed else f"no manifest of {goal} is known"
    if start not in release.upgrade.reachable_from:
        listed = ", ".join(release.upgrade.reachable_from) or "a first install only"
        return f"its upgrade manifest lets one apply lead to it from: {listed}"
    before = known.get(start)
    return why_engine_forbids(before, release) if before else ""


def legs(name: str, release: Release) -> Iterator[tuple[str, str]]:
    """Yield the steps that a release's upgrade manifest names: to it, and along its hops."""
    for start in release.upgrade.reachable_from:
        yield start, name
    for hop in release.upgrade.hops:
        stones = (hop.start, *hop.via, name)
        yield from pairwise(stones)


def shortest(
    wanted: str, starts: Collection[str], known: Mapping[str, Release]
) -> tuple[str, ...] | None:
    """Return the releases to apply one after the other, ``wanted`` last; None if there is no way.

    The first is legal from every one of ``starts``, each further one from the one before it. Of
    several shortest ways it is always the same one.
    """
    steps = _steps(known)
    onward: dict[str, tuple[str, ...]] = {wanted: (wanted,)}  # the best way on from each release
    queue = deque([wanted])
    while queue:
        here = queue.popleft()
        if all(start == here or start in steps.get(here, ()) for start in starts):
            return onward[here]
        for before in steps.get(here, ()):
            if before not in onward:
                onward[before] = (before, *onward[here])
                queue.append(before)
    return None


def lineage(wanted: str, known: Mapping[str, Release]) -> tuple[str, ...]:
    """Return the known releases on the ways that lead to ``wanted``, without itself, sorted."""
    steps: dict[str, set[str]] = {}
    for name, release in known.items():
        for before, after in legs(name, release):
            steps.setdefault(after, set()).add(before)
    found: set[str] = set()
    pending = [wanted]
    while pending:
        new = steps.get(pending.pop(), set()) - found
        found |= new
        pending += new
    return tuple(sorted(each for each in found if each in known and each != wanted))


def _steps(known: Mapping[str, Release]) -> dict[str, list[str]]:
    """Return the legal steps: by release, those that one apply leads from, sorted by name."""
    named = {leg for name, release in known.items() for leg in legs(name, release)}
    steps: dict[str, list[str]] = {}
    for before, after in sorted(named):
        if before != after and not why_not(before, after, known):
            steps.setdefault(after, []).append(before)
    return steps


def _why_legal(wanted: str, coming_from: tuple[str, ...], others: tuple[str, ...]) -> str:
    from_there = f"{wanted}'s upgrade manifest lets one apply lead to it from {_list(others)}"
    if len(coming_from) > len(others):
        return f"{from_there}, and some hosts run it already"
    return from_there


def _refusal(
    wanted: str,
    coming_from: tuple[str, ...],
    refused: list[tuple[str, str]],
    road: Road,
) -> PreflightError:
    later = [start for start, _ in refused if _is_later(start, wanted, road.known)]
    if later:
        return PreflightError(
            f"the hosts run {_list(later)}, which is later than {wanted}; nothing was changed",
            code=DOWNGRADE,
            hint="a downgrade is a rollback: bastide rollback",
        )
    reasons = "; ".join(f"from {start}: {why}" for start, why in refused)
    return PreflightError(
        f"{wanted} cannot be reached in one apply from what the hosts run "
        f"({_list(coming_from)}): {reasons}; nothing was changed",
        code=NO_PATH,
        hint=_advice(wanted, coming_from, road),
    )


def _is_later(start: str, wanted: str, known: Mapping[str, Release]) -> bool:
    """Return whether ``start`` comes after ``wanted``: by its version, or on a way from it."""
    name, _, version = start.rpartition("-")
    other, _, older = wanted.rpartition("-")
    by_version = name == other and _numbers(version) > _numbers(older)
    return by_version or wanted in lineage(start, known)


def _numbers(version: str) -> list[int]:
    return [int(part) for part in version.split(".") if part.isdigit()]


def _advice(wanted: str, starts: tuple[str, ...], road: Road) -> str:
    way = shortest(wanted, starts, road.known)
    if way is None:
        listed = road.known[wanted].upgrade.reachable_from
        reachable = f"from {_list(listed)} or " if listed else ""
        return (
            f"no way from {_list(starts)} is known; {wanted} can be reached {reachable}by a first "
            "install. Import a bundle of a release between them, if there is one"
        )
    said = [f"{name} (imported: {'yes' if name in road.imported else 'no'})" for name in way]
    steps = f"apply {said[0]} first" + "".join(f", then {each}" for each in said[1:])
    return f"{steps}: set 'release' in site.yaml to each in turn, and `bastide apply`"


def _list(names: Collection[str]) -> str:
    *most, last = names
    return f"{', '.join(most)} and {last}" if most else last
