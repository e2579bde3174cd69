"""How a plan is shown to a person."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import PurePosixPath

from rich.console import Console

from bastide.progress import human_bytes
from bastide.schema.plan import HostPlan, Plan, Pull

_SIGNS = {
    "create": ("+", "green"),
    "update": ("~", "yellow"),
    "remove": ("-", "red"),
    "start": ("+", "green"),
    "restart": ("~", "yellow"),
    "stop": ("-", "red"),
}
_KINDS = {".gguf": "models", ".whl": "Python packages", ".deb": "OS packages"}

Line = tuple[str, str]  # text, style


def print_plan(console: Console, plan: Plan) -> None:
    """Print what changes on which host, and the totals."""
    console.print(f"site {plan.site}, release {plan.release}, bundle {plan.bundle[:12]}")
    if plan.why_legal:
        console.print(_way(plan), markup=False)
    for host in plan.hosts:
        console.print("")
        for text, style in _host_lines(host):
            console.print(text, style=style or None, markup=False)
    console.print("")
    console.print(totals(plan), markup=False)


def _way(plan: Plan) -> str:
    """Return from where the plan leads, and why that is legal, in one line."""
    if not plan.coming_from:
        return plan.why_legal
    return f"coming from {', '.join(plan.coming_from)}: {plan.why_legal}"


def totals(plan: Plan) -> str:
    """Return the plan in one sentence."""
    if plan.changes == 0:
        return "No changes: every host is as the site wants it."
    changing = [host for host in plan.hosts if host.changes]
    pulls = [pull for host in changing for pull in host.pulls]
    counts = [
        (len(pulls), "artifact to fetch", "artifacts to fetch"),
        (sum(len(host.packages) for host in changing), "OS package", "OS packages"),
        (sum(len(host.files) for host in changing), "file", "files"),
        (sum(len(host.units) for host in changing), "unit", "units"),
        (sum(len(host.drift) for host in changing), "drifted thing", "drifted things"),
    ]
    parts = [f"{n} {one if n == 1 else many}" for n, one, many in counts if n]
    size = sum(pull.size for pull in pulls)
    fetched = f" ({human_bytes(size)})" if size else ""
    total = len(plan.hosts)
    hosts = f"{len(changing)} of {total} {'host' if total == 1 else 'hosts'}"
    if pulls:
        parts[0] += fetched
    return f"{hosts} would change: {', '.join(parts)}."


def _host_lines(host: HostPlan) -> Iterator[Line]:
    yield f"{host.host} ({host.address}): {', '.join(host.groups)}", "bold"
    if host.changes == 0:
        yield f"  no changes, generation {host.generation_after}", ""
        return
    before = "none" if host.generation_before is None else str(host.generation_before)
    after = str(host.generation_after)
    stays = " (stays)" if before == after else f" -> {after}"
    yield f"  generation  {before}{stays}", ""
    for what in host.drift:
        yield f"  drift       ! {what}", "red"
    yield from _packages(host)
    for change in host.files:
        sign, style = _SIGNS[change.action]
        yield f"  file        {sign} {change.path}", style
    for unit in host.units:
        sign, style = _SIGNS[unit.action]
        yield f"  unit        {sign} {unit.action} {unit.name}", style
    yield from _pulls(host.pulls)
    if host.disk_needed:
        disk = ", ".join(f"{path} {human_bytes(n)}" for path, n in host.disk_needed.items())
        yield f"  disk        about {disk}", ""


def _packages(host: HostPlan) -> Iterator[Line]:
    for package in host.packages:
        if package.before is None:
            yield f"  OS package  + {package.name} {package.after}", "green"
        else:
            yield f"  OS package  ~ {package.name} {package.before} -> {package.after}", "yellow"


def _pulls(pulls: tuple[Pull, ...]) -> Iterator[Line]:
    """Models one by one, because they are large; the rest by kind."""
    groups: dict[str, list[Pull]] = {}
    for pull in pulls:
        kind = _KINDS.get(PurePosixPath(pull.filename).suffix, "other files")
        groups.setdefault(kind, []).append(pull)
    for pull in groups.pop("models", []):
        yield f"  fetch       + model {pull.name}, {human_bytes(pull.size)}", "green"
    for kind, members in groups.items():
        what = members[0].name if len(members) == 1 else f"{len(members)} {kind}"
        size = human_bytes(sum(pull.size for pull in members))
        yield f"  fetch       + {what}, {size}", "green"
