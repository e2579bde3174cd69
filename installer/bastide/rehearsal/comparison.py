"""The plan for the lab beside the one for production: is it the same work? Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from bastide.errors import ConfigError
from bastide.progress import human_bytes
from bastide.rehearsal.codes import OTHER_PLAN
from bastide.schema.plan import HostPlan, Plan
from bastide.schema.rehearsal import PlanNote
from bastide.schema.site import Site

_SHOWN = 4


def require_same_goal(plan: Plan, site: Site, release: str, bundle: str) -> None:
    """Return if ``plan`` leads where the site's folder and the store lead now.

    Raises:
        ConfigError: It does not: what would be rehearsed is not what would be applied.
    """
    reasons = []
    if plan.site != site.name or plan.site_digest != site.digest():
        reasons.append("site.yaml has changed since it was made")
    if (plan.release, plan.bundle) != (release, bundle):
        reasons.append(
            f"it is for {plan.release} ({plan.bundle[:12]}), and the store has {release} "
            f"({bundle[:12]})"
        )
    if reasons:
        raise ConfigError(
            f"the plan is not what would be applied now: {'; '.join(reasons)}",
            code=OTHER_PLAN,
            hint="make a new one with `bastide plan`, or rehearse without a plan file (--replan)",
        )


def _names(items: Iterable[str]) -> str:
    found = sorted(set(items))
    more = f" and {len(found) - _SHOWN} more" if len(found) > _SHOWN else ""
    return (", ".join(found[:_SHOWN]) + more) or "none"


# What must be the same on both sides → how it is told. Addresses, sizes of trees and numbers of
# generations differ by nature.
_PARTS: Mapping[str, Callable[[HostPlan], set[str]]] = {
    "artifacts fetched": lambda host: {f"{p.name} ({human_bytes(p.size)})" for p in host.pulls},
    "OS packages changed": lambda host: {f"{p.name} {p.after}" for p in host.packages},
    "files changed": lambda host: {f"{f.action} {f.path}" for f in host.files},
    "units": lambda host: {f"{u.action} {u.name}" for u in host.units},
    "users": lambda host: {f"{u.action} {u.name}" for u in host.users},
    "ports": lambda host: {f"{p.action} {p.port} of {p.unit}" for p in host.ports},
    "models": lambda host: {f"{m.name} {(m.after or 'none')[:12]}" for m in host.models},
    "secrets written": lambda host: {f"{s.action} {s.path}" for s in host.secrets},
    "data steps": lambda host: {d.kind for d in host.data},
    "drift put right": lambda host: set(host.drift),
}


def compare(production: Plan, lab: Plan) -> tuple[PlanNote, ...]:
    """Return in what the work differs, host by host; nothing if it is the same."""
    there = {host.host: host for host in lab.hosts}
    notes: list[PlanNote] = []
    for host in production.hosts:
        other = there.get(host.host)
        if other is None:
            notes.append(_note(host.host, "the whole host", "in the plan", "not in the plan"))
            continue
        for what, part in _PARTS.items():
            here, over_there = part(host), part(other)
            if here != over_there:
                only = (_names(here - over_there), _names(over_there - here))
                notes.append(
                    _note(host.host, what, f"only here: {only[0]}", f"only here: {only[1]}")
                )
    return tuple(notes)


def _note(host: str, what: str, production: str, lab: str) -> PlanNote:
    return PlanNote(host=host, what=what, production=production, lab=lab)


def expected_interruption(plan: Plan, release: Mapping[Any, int]) -> dict[Any, int]:
    """Return the seconds of interruption by component: the plan's, else the release's."""
    expected: dict[Any, int] = {}
    for host in plan.hosts:
        for component, seconds in host.interruption.items():
            expected[component] = max(seconds, expected.get(component, 0))
    return expected or dict(release)
