"""How a plan is shown to a person: ``+`` comes, ``~`` changes, ``-`` goes, ``!`` is not as it was.

One block a host, one section a kind of change, in the order in which it happens. Colours only
repeat what the signs say, so that NO_COLOR and a log lose nothing.
"""

from __future__ import annotations

import textwrap
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import PurePosixPath

from rich.console import Console

from bastide.progress import human_bytes
from bastide.schema.artifact import Component
from bastide.schema.plan import (
    CertificateChange,
    HostPlan,
    LeavingHost,
    Plan,
    Pull,
    UnitChange,
)

NARROWEST = 30  # columns that lines are still fitted to
STYLES = {"+": "green", "~": "yellow", "-": "red", "!": "bold red"}
_SIGNS = {
    "create": "+", "add": "+", "start": "+", "open": "+",
    "update": "~", "restart": "~",
    "remove": "-", "stop": "-", "close": "-",
}  # fmt: skip
_KINDS = {".gguf": "models", ".whl": "Python packages", ".deb": "OS packages"}


@dataclass(frozen=True)
class Item:
    """One line of a section.

    Args:
        sign: ``+``, ``~``, ``-``, ``!`` or a space.
        text: What it is.
    """

    sign: str
    text: str


def print_plan(console: Console, plan: Plan, *, detail: bool = False) -> None:
    """Print what changes on which host, and the totals.

    Args:
        console: Where to.
        plan: The plan.
        detail: List every path and every fetched artifact instead of counting them.
    """
    _put(console, f"site {plan.site}, release {plan.release}, bundle {plan.bundle[:12]}")
    if plan.why_legal:
        _put(console, _way(plan))
    for host in plan.hosts:
        console.print("")
        _put(console, f"{host.host} ({host.address}): {', '.join(host.groups)}", style="bold")
        if not _moves(host):
            _put(console, f"  no changes, generation {host.generation_after}")
            continue
        for title, items in _sections(host, detail=detail):
            _put(console, f"  {title}")
            for item in items:
                _put(console, f"    {item.sign} {item.text}", style=STYLES.get(item.sign, ""))
    for gone in plan.leaving:
        _print_leaving(console, gone)
    console.print("")
    for certificate in plan.certificates:
        _put(console, *_certificate(certificate))
    for line in (totals(plan), *_consequences(plan)):
        _put(console, line)


def _print_leaving(console: Console, host: LeavingHost) -> None:
    console.print("")
    groups = ", ".join(host.groups)
    _put(console, f"{host.host} ({host.address}): {groups}, leaves the site", style="bold")
    if host.forgotten:
        _put(console, "  forgotten: nothing is done on it", style=STYLES["!"])
        return
    sections = (("units", "- stop "), ("secrets", "- "))
    for (title, sign), names in zip(sections, (host.units, host.secrets), strict=True):
        if names:
            _put(console, f"  {title}")
        for name in names:
            _put(console, f"    {sign}{name}", style=STYLES["-"])
    _put(console, "  stays there")
    for what in host.stays:
        _put(console, f"      {what}")


def _way(plan: Plan) -> str:
    """Return from where the plan leads, and why that is legal, in one line."""
    if not plan.coming_from:
        return plan.why_legal
    return f"coming from {', '.join(plan.coming_from)}: {plan.why_legal}"


def totals(plan: Plan) -> str:
    """Return the plan in one sentence."""
    changing = [host for host in plan.hosts if _moves(host)]
    gone = len(plan.leaving)
    leaving = f" {gone} {'host leaves' if gone == 1 else 'hosts leave'} the site." if gone else ""
    if not changing and not gone:
        return "No changes: every host is as the site wants it."
    pulls = [pull for host in changing for pull in host.pulls]
    size = human_bytes(sum(pull.size for pull in pulls))
    counts = [
        (len(pulls), "artifact to fetch", "artifacts to fetch"),
        (sum(len(host.packages) for host in changing), "OS package", "OS packages"),
        (sum(len(host.files) for host in changing), "file", "files"),
        (sum(len(host.units) for host in changing), "unit", "units"),
        (sum(len(host.users) for host in changing), "user", "users"),
        (sum(len(host.ports) for host in changing), "port", "ports"),
        (sum(len(host.secrets) for host in changing), "secret", "secrets"),
        (sum(len(host.data) for host in changing), "data step", "data steps"),
        (sum(len(host.drift) for host in changing), "drifted thing", "drifted things"),
    ]
    parts = [f"{n} {one if n == 1 else many}" for n, one, many in counts if n]
    if pulls:
        parts[0] += f" ({size})"
    total = len(plan.hosts)
    hosts = f"{len(changing)} of {total} {'host' if total == 1 else 'hosts'}"
    if not changing:
        return f"No host of the site would change.{leaving}"
    what = ", ".join(parts) or "only what lies outside generations"
    return f"{hosts} would change: {what}.{leaving}"


def _certificate(change: CertificateChange) -> tuple[str, str]:
    """Return the line of a certificate that changes or ends soon, and its style."""
    sign = {"issue": "+", "renew": "~", "warn": "!"}[change.action]
    after = f"; the new one lasts until {change.ends_after[:10]}" if change.ends_after else ""
    return f"{sign} certificate {change.name}: {change.action}, {change.why}{after}", STYLES[sign]


def _put(console: Console, text: str, style: str = "") -> None:
    """Print a line; on a terminal that is too narrow, further lines are indented below it."""
    lines = [text]
    if not console.soft_wrap and console.width >= NARROWEST:
        indent = " " * (len(text) - len(text.lstrip()) + 4)
        lines = textwrap.wrap(text, console.width, subsequent_indent=indent, break_on_hyphens=False)
    for line in lines:
        console.print(line, style=style or None, markup=False, highlight=False)


def _moves(host: HostPlan) -> bool:
    return bool(host.changes or host.paths or host.users or host.generation_before is None)


def _sections(host: HostPlan, *, detail: bool) -> Iterator[tuple[str, list[Item]]]:
    """Yield the host's sections that have something in them."""
    sections = (
        ("generation", _generation(host)),
        ("drift", (Item("!", what) for what in host.drift)),
        ("models", _models(host)),
        ("OS packages", _packages(host)),
        ("files of the generation", (Item(_SIGNS[c.action], c.path) for c in host.files)),
        ("units", (_unit(host, unit) for unit in host.units)),
        ("users", (Item(_SIGNS[user.action], user.name) for user in host.users)),
        ("ports", (Item(_SIGNS[p.action], f"{p.address}:{p.port} ({p.unit})") for p in host.ports)),
        ("firewall", (Item(_SIGNS[rule.action], rule.rule) for rule in host.firewall)),
        ("secrets", _secrets(host)),
        ("data", _data(host)),
        ("elsewhere on the host", _paths(host, detail=detail)),
        ("fetch", _pulls(host.pulls, detail=detail)),
        ("disk", (Item(" ", f"{path} about {human_bytes(n)}") for path, n in _disk(host))),
    )
    for title, items in sections:
        found = list(items)
        if found:
            yield title, found


def _generation(host: HostPlan) -> Iterator[Item]:
    before, after = host.generation_before, host.generation_after
    if before is None:
        yield Item("+", str(after))
    elif before == after:
        yield Item(" ", f"{after} (stays)")
    else:
        yield Item("~", f"{before} -> {after}")
    for number in host.collected:
        yield Item("-", f"{number}, once {after} is good")


def _models(host: HostPlan) -> Iterator[Item]:
    for model in host.models:
        before, after = (each[:12] if each else "" for each in (model.before, model.after))
        if before and after:
            yield Item("~", f"{model.name} {before} -> {after}")
        else:
            yield Item("-" if before else "+", f"{model.name} {before or after}")


def _packages(host: HostPlan) -> Iterator[Item]:
    for package in host.packages:
        if package.before is None:
            yield Item("+", f"{package.name} {package.after}")
        else:
            yield Item("~", f"{package.name} {package.before} -> {package.after}")


def _unit(host: HostPlan, unit: UnitChange) -> Item:
    text = f"{unit.action} {unit.name}"
    group = unit.name.removeprefix("bastide-").removesuffix(".service")
    if unit.action == "restart" and group in {str(each) for each in host.interruption}:
        seconds = host.interruption[Component(group)]
        text += f" (about {seconds} s without an answer)" if seconds else " (no interruption)"
    return Item(_SIGNS[unit.action], text)


def _secrets(host: HostPlan) -> Iterator[Item]:
    for secret in host.secrets:
        mark = f"fingerprint {secret.fingerprint}" if secret.fingerprint else "made anew"
        yield Item(_SIGNS[secret.action], f"{secret.path} ({mark})")


def _data(host: HostPlan) -> Iterator[Item]:
    for step in host.data:
        back = "reversible" if step.reversible else f"irreversible: {step.why}"
        size = f", {human_bytes(step.bytes)}" if step.bytes else ""
        yield Item(
            "+" if step.kind == "snapshot" else "~", f"{step.kind}: {step.what}{size} ({back})"
        )


def _paths(host: HostPlan, *, detail: bool) -> Iterator[Item]:
    if detail:
        for change in host.paths:
            below = "/…" if change.whole else ""
            maybe = "" if change.certain else ", if need be"
            yield Item("~", f"{change.path}{below} ({change.why}{maybe})")
    elif host.paths:
        tops = Counter("/".join(change.path.split("/")[:2]) for change in host.paths)
        counted = ", ".join(f"{count} below {top}" for top, count in tops.items())
        number = len(host.paths)
        places = "1 place" if number == 1 else f"{number} places"
        yield Item("~", f"{places} that --detail lists: {counted}")


def _pulls(pulls: tuple[Pull, ...], *, detail: bool) -> Iterator[Item]:
    """Models one by one, because they are large; the rest by kind."""
    groups: dict[str, list[Pull]] = {}
    for pull in pulls:
        kind = _KINDS.get(PurePosixPath(pull.filename).suffix, "other files")
        groups.setdefault(kind, []).append(pull)
    for pull in groups.pop("models", []):
        yield Item("+", f"model {pull.name}, {human_bytes(pull.size)}")
    for kind, members in groups.items():
        if detail:
            yield from (Item("+", f"{each.filename}, {human_bytes(each.size)}") for each in members)
            continue
        what = members[0].name if len(members) == 1 else f"{len(members)} {kind}"
        yield Item("+", f"{what}, {human_bytes(sum(pull.size for pull in members))}")


def _disk(host: HostPlan) -> Iterator[tuple[str, int]]:
    yield from sorted(host.disk_needed.items())


def _consequences(plan: Plan) -> Iterator[str]:
    """Yield what else an operator wants to know before they agree."""
    changing = [host for host in plan.hosts if _moves(host)]
    if not changing:
        return
    waits: dict[str, int] = {}
    for host in changing:
        for component, seconds in host.interruption.items():
            waits[component] = max(waits.get(component, 0), seconds)
    told = [f"{name} about {seconds} s" for name, seconds in waits.items() if seconds]
    yield f"interruption: {', '.join(told) or 'none expected'}"
    if plan.canary:
        yield f"canary: {plan.canary} switches first"
    if plan.gates:
        yield f"gates: {', '.join(plan.gates)}"
    bad = [(host.host, step) for host in changing for step in host.data if not step.reversible]
    if bad:
        yield "reversible: no: " + "; ".join(f"{host}: {s.what}: {s.why}" for host, s in bad)
    else:
        stays = ", but OS packages stay" if any(host.packages for host in changing) else ""
        yield f"reversible: yes{stays}"
