"""Did an apply change what its plan says, all of that and nothing else? Pure.

Two inventories of a host and its part of the plan in, findings out. What changes on a running host
anyway is in ``volatile``, and nowhere else.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property

from bastide.layout import HOST_CURRENT, HOST_GENERATIONS, HOST_STATE
from bastide.plan.places import GONE_WITH_GENERATIONS, UNITS
from bastide.plan.volatile import volatile_path, volatile_unit
from bastide.schema.inventory import Entry, Inventory, UnitState
from bastide.schema.plan import HostPlan

DIGEST_LENGTH = 64
_WITH_GENERATIONS = tuple(f"{HOST_STATE}/{name}/" for name in GONE_WITH_GENERATIONS)
_STAMP = rf"{re.escape(str(HOST_STATE))}/snapshots/[^/]+/snapshot\.json"
_NO_UNIT = UnitState("", "", "")
_ASLEEP = frozenset({"disabled", "static", "indirect"})


@dataclass(frozen=True)
class Unplanned:
    """Something that changed and is not in the plan.

    Args:
        kind: ``path``, ``user``, ``group``, ``package``, ``unit``, ``port``, ``firewall`` or
            ``mount``.
        what: Its name.
        how: What became of it.
    """

    kind: str
    what: str
    how: str


@dataclass(frozen=True)
class Unfulfilled:
    """Something that the plan promised and that did not happen.

    Args:
        kind: The plan's list that it stands in.
        what: Its name.
        why: What was found instead.
    """

    kind: str
    what: str
    why: str


@dataclass(frozen=True)
class _Promise:
    """Which paths a plan allows to change."""

    plan: HostPlan

    @cached_property
    def single(self) -> frozenset[str]:
        """Paths that stand for themselves."""
        plan = self.plan
        return frozenset(
            {
                *(pull.destination for pull in plan.pulls),
                *(secret.path for secret in plan.secrets),
                *(change.path for change in plan.paths),
            }
        )

    @cached_property
    def whole(self) -> tuple[str, ...]:
        """Folders below which everything may change, with a slash at the end."""
        plan = self.plan
        found = [change.path for change in plan.paths if change.whole]
        if plan.generation_after != plan.generation_before:
            found.append(generation(plan.generation_after))
        found += [generation(number) for number in plan.collected]
        if plan.data:
            found.append(f"{HOST_STATE}/snapshots")
        return tuple(f"{path}/" for path in found)

    @cached_property
    def parents(self) -> frozenset[str]:
        """Folders above them, which may come into being with them."""
        found = set()
        for path in {*self.single, *self.whole}:
            parts = path.rstrip("/").split("/")
            found |= {"/".join(parts[:end]) for end in range(2, len(parts))}
        return frozenset(found)

    def allows(self, path: str, before: Entry | None, after: Entry | None) -> bool:
        """Return whether the plan says that ``path`` changes."""
        if path in self.single or f"{path}/".startswith(self.whole):
            return True
        packages = {package.name for package in self.plan.packages}
        if any(entry and entry.package in packages for entry in (before, after)):
            return True
        if after is None and self.plan.collected and path.startswith(_WITH_GENERATIONS):
            return True
        new_folder = before is None and after is not None and after.kind == "d"
        return new_folder and path in self.parents


def generation(number: int) -> str:
    """Return a generation's folder as text."""
    return str(HOST_GENERATIONS / str(number))


def unplanned(before: Inventory, after: Inventory, plan: HostPlan) -> tuple[Unplanned, ...]:
    """Return everything that changed on a host and is not in its plan.

    Args:
        before: The host before the apply.
        after: The host after it.
        plan: Its part of the plan.
    """
    users = {user.name for user in plan.users}
    packages = {(each.name, each.before, each.after) for each in plan.packages}
    moved = _differing(before.packages, after.packages)
    return (
        *_paths(before, after, plan),
        *_unnamed("user", _differing(before.users, after.users), users),
        *_unnamed("group", _differing(before.groups, after.groups), users),
        *(
            Unplanned("package", name, f"{was or 'not installed'} -> {now or 'not installed'}")
            for name, (was, now) in moved.items()
            if (name, was, now) not in packages
        ),
        *_units(before, after, plan),
        *_ports(before, after, plan),
        *_rest(before, after, plan),
    )


def _differing(
    before: Mapping[str, str], after: Mapping[str, str]
) -> dict[str, tuple[str | None, str | None]]:
    names = sorted({*before, *after})
    found = {name: (before.get(name), after.get(name)) for name in names}
    return {name: pair for name, pair in found.items() if pair[0] != pair[1]}


def _unnamed(
    kind: str, moved: Mapping[str, tuple[str | None, str | None]], known: set[str]
) -> Iterator[Unplanned]:
    for name, (was, now) in moved.items():
        if name not in known:
            yield Unplanned(kind, name, _how(was, now))


def _how(was: object | None, now: object | None) -> str:
    if was is None:
        return "created"
    return "removed" if now is None else "changed"


def _paths(before: Inventory, after: Inventory, plan: HostPlan) -> Iterator[Unplanned]:
    promise = _Promise(plan)
    for path in sorted({*before.files, *after.files}):
        was, now = before.files.get(path), after.files.get(path)
        if was and now and was.state == now.state:
            continue
        if not volatile_path(path) and not promise.allows(path, was, now):
            entry = now or was
            of = f" (of OS package {entry.package})" if entry and entry.package else ""
            yield Unplanned("path", path, _how(was, now) + of)


def _units(before: Inventory, after: Inventory, plan: HostPlan) -> Iterator[Unplanned]:
    planned = {unit.name for unit in plan.units}
    placed = {change.path for change in plan.paths}
    for name in sorted({*before.units, *after.units}):
        was, now = before.units.get(name, _NO_UNIT), after.units.get(name, _NO_UNIT)
        if name in planned or volatile_unit(name) or was == now:
            continue
        if _brought(name, was, now, after, plan):
            continue
        if was.enabled != now.enabled and f"{UNITS}/{name}" not in placed:
            yield Unplanned("unit", name, f"{was.enabled or 'unknown'} -> {now.enabled or 'gone'}")
        elif was.active != now.active and {was.active, now.active} != {"", "inactive"}:
            yield Unplanned("unit", name, f"{was.active or 'gone'} -> {now.active or 'gone'}")
        elif was.active == now.active == "active" and was.invocation != now.invocation:
            yield Unplanned("unit", name, "restarted or reloaded")


def _brought(name: str, was: UnitState, now: UnitState, after: Inventory, plan: HostPlan) -> bool:
    """Return whether a unit lies there, asleep, because a planned OS package has it.

    One that the package starts, now or at boot, is another matter: that has to be planned.
    """
    packages = {package.name for package in plan.packages}
    file = after.files.get(f"/usr/lib/systemd/system/{name}")
    asleep = not was.enabled and now.active != "active" and now.enabled in _ASLEEP
    return asleep and file is not None and file.package in packages


def _ports(before: Inventory, after: Inventory, plan: HostPlan) -> Iterator[Unplanned]:
    planned = {(f"{each.address}:{each.port} {each.unit}", each.action) for each in plan.ports}
    opened, closed = (
        set(after.sockets) - set(before.sockets),
        set(before.sockets) - set(after.sockets),
    )
    for socket, action in sorted(
        [(each, "open") for each in opened] + [(each, "close") for each in closed]
    ):
        if (socket, action) not in planned:
            yield Unplanned("port", socket, "opened" if action == "open" else "closed")


def _rest(before: Inventory, after: Inventory, plan: HostPlan) -> Iterator[Unplanned]:
    if before.firewall != after.firewall and not plan.firewall:
        yield Unplanned("firewall", "nftables' rules", "changed")
    for mount in sorted(set(before.mounts) ^ set(after.mounts)):
        yield Unplanned("mount", mount, "mounted" if mount in after.mounts else "unmounted")


def unfulfilled(before: Inventory, after: Inventory, plan: HostPlan) -> tuple[Unfulfilled, ...]:
    """Return what the plan promised for a host and did not happen.

    Args:
        before: The host before the apply.
        after: The host after it.
        plan: Its part of the plan.
    """
    return (
        *_generation(after, plan),
        *_fetched(after, plan),
        *_packages(after, plan),
        *_unit_promises(before, after, plan),
        *_accounts(after, plan),
        *_port_promises(after, plan),
        *_filtered(before, after, plan),
        *_copied(before, after, plan),
        *_written(before, after, plan),
    )


def _generation(after: Inventory, plan: HostPlan) -> Iterator[Unfulfilled]:
    link = after.files.get(str(HOST_CURRENT))
    wanted = f"generations/{plan.generation_after}"
    if link is None or link.content != wanted:
        found = link.content if link else "nothing"
        yield Unfulfilled("generation", str(plan.generation_after), f"{found} is live")
    folder = generation(plan.generation_after)
    for change in plan.files:
        entry = after.files.get(f"{folder}/{change.path}")
        if change.action == "remove" and entry is not None:
            yield Unfulfilled("files", change.path, "it is still there")
        elif change.action != "remove" and (entry is None or not _is(entry, change.sha256)):
            why = "it has another content" if entry else "it is missing"
            yield Unfulfilled("files", change.path, why)
    for number in plan.collected:
        if any(f"{path}/".startswith(f"{generation(number)}/") for path in after.files):
            yield Unfulfilled("collected", str(number), "it is still there")
    for model in plan.models:
        entry = after.files.get(f"{folder}/models/{model.name}.gguf")
        if model.after and not (entry and entry.content.endswith(f"/{model.after}.gguf")):
            yield Unfulfilled("models", model.name, "the generation does not lead to it")


def _is(entry: Entry, sha256: str | None) -> bool:
    """Return whether a file has that digest, as far as the inventory took one."""
    return entry.content == sha256 or len(entry.content) != DIGEST_LENGTH


def _fetched(after: Inventory, plan: HostPlan) -> Iterator[Unfulfilled]:
    for pull in plan.pulls:
        if pull.destination not in after.files:
            yield Unfulfilled("pulls", pull.name, f"{pull.destination} is missing")


def _packages(after: Inventory, plan: HostPlan) -> Iterator[Unfulfilled]:
    for package in plan.packages:
        found = after.packages.get(package.name)
        if found != package.after:
            yield Unfulfilled("packages", package.name, f"it is {found or 'not installed'}")


def _unit_promises(before: Inventory, after: Inventory, plan: HostPlan) -> Iterator[Unfulfilled]:
    for unit in plan.units:
        was, now = before.units.get(unit.name, _NO_UNIT), after.units.get(unit.name, _NO_UNIT)
        if unit.action == "stop":
            if now.active == "active":
                yield Unfulfilled("units", unit.name, "it still runs")
        elif now.active != "active":
            yield Unfulfilled("units", unit.name, f"it is {now.active or 'missing'}")
        elif unit.action == "restart" and was.invocation == now.invocation:
            yield Unfulfilled("units", unit.name, "it was not restarted or reloaded")


def _accounts(after: Inventory, plan: HostPlan) -> Iterator[Unfulfilled]:
    for user in plan.users:
        there = user.name in after.users
        if there != (user.action == "create"):
            yield Unfulfilled("users", user.name, "it is there" if there else "it is missing")


def _port_promises(after: Inventory, plan: HostPlan) -> Iterator[Unfulfilled]:
    for port in plan.ports:
        name = f"{port.address}:{port.port} {port.unit}"
        there = name in after.sockets
        if there != (port.action == "open"):
            yield Unfulfilled("ports", name, "it is open" if there else "nothing listens there")


def _filtered(before: Inventory, after: Inventory, plan: HostPlan) -> Iterator[Unfulfilled]:
    if plan.firewall and before.firewall == after.firewall:
        yield Unfulfilled("firewall", "nftables' rules", "nothing changed")


def _copied(before: Inventory, after: Inventory, plan: HostPlan) -> Iterator[Unfulfilled]:
    """Yield snapshots that were promised and whose stamp no folder has now."""
    stamps = {path for path in after.files if re.fullmatch(_STAMP, path)} - {*before.files}
    if any(step.kind == "snapshot" for step in plan.data) and not stamps:
        yield Unfulfilled("data", "snapshot", "no new one is there")


def _written(before: Inventory, after: Inventory, plan: HostPlan) -> Iterator[Unfulfilled]:
    for secret in plan.secrets:
        if not _changed(before, after, (secret.path,)):
            yield Unfulfilled("secrets", secret.path, "it was not written")
    for change in plan.paths:
        if not change.certain:
            continue
        below = f"{change.path}/"
        inside = (
            (each for each in {*before.files, *after.files} if each.startswith(below))
            if change.whole
            else ()
        )
        if not _changed(before, after, (change.path, *inside)):
            yield Unfulfilled("paths", change.path, "nothing changed there")


def _changed(before: Inventory, after: Inventory, paths: Iterable[str]) -> bool:
    pairs = ((before.files.get(path), after.files.get(path)) for path in paths)
    return any((was and was.state) != (now and now.state) for was, now in pairs)
