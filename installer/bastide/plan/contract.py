"""What a plan promises beside files, packages and units: accounts, ports, secrets, interruption.

Together with the lists of ``changes`` and ``places`` that is everything that an apply changes on
a host; ``fidelity`` compares the promise with the host. Pure.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from bastide.layout import HOST_LIVE_SECRETS, HOST_SECRET_FILES, HOST_STATE
from bastide.plan.firewall import FIREWALL_FILE, REFUSALS, firewall_words
from bastide.plan.floating import UNIT as KEEPALIVED_UNIT
from bastide.plan.inputs import PlanInputs
from bastide.plan.needs import HostNeeds
from bastide.plan.places import EFFECTS
from bastide.plan.services import ALERTMANAGER, endpoints, units_of
from bastide.plan.tls import SERVICES, users_of
from bastide.schema.artifact import ArtifactKind, Component
from bastide.schema.facts import HostFacts
from bastide.schema.plan import (
    DataStep,
    FirewallChange,
    HostPlan,
    ModelChange,
    PackageChange,
    PathChange,
    PortChange,
    SecretChange,
    UnitChange,
    UserChange,
)
from bastide.schema.site import Group, Site

REPLICATED = (Group.LLM, Group.EMBEDDINGS)  # the gateway asks another host meanwhile


def users(
    needs: HostNeeds, facts: HostFacts, packages: Iterable[PackageChange]
) -> tuple[UserChange, ...]:
    """Return the accounts that come: of services, and of OS packages that are new."""
    wanted = [unit.removesuffix(".service") for unit in needs.units]
    for package in packages:
        if package.before is None and package.name in EFFECTS:
            wanted += EFFECTS[package.name].users
    known = set(facts.users)
    return tuple(UserChange(name=n, action="create") for n in sorted(set(wanted)) if n not in known)


def ports(
    needs: HostNeeds, facts: HostFacts, site: Site, units: Iterable[UnitChange]
) -> tuple[PortChange, ...]:
    """Return the TCP ports on which a unit that changes begins or ceases to listen."""
    moving = {unit.name for unit in units}
    wanted = set(_wanted_ports(needs, site))
    held = {
        (each.port, each.address, each.unit)
        for each in facts.listeners
        if each.unit.startswith("bastide-")
    }
    opened = [(port, address, unit, "open") for port, address, unit in wanted - held]
    closed = [(port, address, unit, "close") for port, address, unit in held - wanted]
    return tuple(
        PortChange.model_validate({"port": port, "address": address, "unit": unit, "action": each})
        for port, address, unit, each in sorted(opened + closed)
        if unit in moving
    )


def _wanted_ports(needs: HostNeeds, site: Site) -> Iterator[tuple[int, str, str]]:
    for each in endpoints(site, needs.host):
        if each.unit in needs.units:
            yield each.port, each.address, each.unit
    gateway = units_of(Group.GATEWAY)[0]
    if KEEPALIVED_UNIT in needs.units and gateway in needs.units:
        yield site.network.gateway_port, str(site.network.gateway_address), gateway


def firewall(needs: HostNeeds, facts: HostFacts, site: Site) -> tuple[FirewallChange, ...]:
    """Return the rules of the packet filter that come and go."""
    wanted = firewall_words(site, needs.host) if FIREWALL_FILE in needs.tree.files else ()
    held = (*facts.firewall.rules, *REFUSALS) if facts.firewall and facts.firewall.rules else ()
    added = [FirewallChange(rule=each, action="add") for each in wanted if each not in held]
    removed = [FirewallChange(rule=each, action="remove") for each in held if each not in wanted]
    return (*added, *removed)


def models(needs: HostNeeds, facts: HostFacts) -> tuple[ModelChange, ...]:
    """Return which models are served under a name after the switch, and which were before."""
    kind = f"{ArtifactKind.MODEL}/"

    def named(contents: Mapping[str, str]) -> dict[str, str]:
        found = {key: digest for key, digest in contents.items() if key.startswith(kind)}
        return {key.removeprefix(kind): digest for key, digest in found.items()}

    before, after = named(facts.contents), named(needs.contents)
    return tuple(
        ModelChange(name=name, before=before.get(name), after=after.get(name))
        for name in sorted({*before, *after})
        if before.get(name) != after.get(name)
    )


def secrets(needs: HostNeeds, inputs: PlanInputs) -> tuple[SecretChange, ...]:
    """Return the secrets' files that will be written, each with its salted fingerprint."""
    if not inputs.secrets.salt:
        return ()
    held = inputs.facts.hosts[needs.host].secrets
    found = []
    for name, (path, groups) in HOST_SECRET_FILES.items():
        wanted = inputs.secrets.of(needs.host).get(name)
        meant = not groups or set(groups) & set(needs.groups)
        if wanted is None or not meant or (wanted and held.get(str(path)) == wanted):
            continue  # one without a fingerprint is yet to be made, so no host has it
        action = "update" if str(path) in held else "create"
        found.append(
            SecretChange.model_validate(
                {"path": str(path), "fingerprint": wanted, "action": action}
            )
        )
    return tuple(found)


def readers(changed: Iterable[SecretChange], site: Site, host: str) -> frozenset[str]:
    """Return the units of ``host`` that must restart because a secret that they read changes."""
    paths = {secret.path for secret in changed}
    return frozenset(
        unit
        for name, (path, groups) in HOST_SECRET_FILES.items()
        if str(path) in paths and name not in HOST_LIVE_SECRETS
        for unit in _readers_of(name, groups, site, host)
    )


def _readers_of(
    secret: str, groups: Iterable[str], site: Site, host: str
) -> tuple[str, ...] | frozenset[str]:
    """Return the units that read a secret; of monitoring's, only Prometheus asks services."""
    mutual = users_of(site, host, secret)
    if mutual is None:
        return tuple(unit for group in groups for unit in units_of(Group(group)))
    return frozenset(u for group in mutual for u in units_of(group)) - {ALERTMANAGER}


def interruption(
    host: str,
    units: Iterable[UnitChange],
    inputs: PlanInputs,
    secrets: Iterable[SecretChange] = (),
    *,
    same: bool = False,
) -> dict[Component, int]:
    """Return for how many seconds each component that restarts is expected not to answer.

    None at all if the release does not say; 0 if another host serves the same, because the gateway
    sends requests there meanwhile, or the floating address moves to another gateway before. Where
    services begin to speak TLS with other machines, no other host can stand in before the gateway
    speaks it, too.

    Args:
        host: The host's name.
        units: What happens to its units.
        inputs: What the plan is made from.
        secrets: Its secrets that change.
        same: Whether the host keeps its generation: new certificates are a reload for the gateway.
    """
    if inputs.upgrade is None:
        return {}
    expected = inputs.upgrade.expected_interruption
    restarting = {unit.name for unit in units if unit.action == "restart"}
    if same:
        restarting -= set(units_of(Group.GATEWAY))
    own = str(HOST_SECRET_FILES["service_pem"][0])
    begins = any(each.path == own and each.action == "create" for each in secrets)
    found = {}
    for group in Group:
        if restarting & set(units_of(group)):
            others = set(inputs.site.hosts_in(group)) - {host}
            replicated = group in REPLICATED or (
                group is Group.GATEWAY and inputs.site.network.gateway_address is not None
            )
            goes_on = replicated and bool(others) and not (begins and group in SERVICES)
            found[Component(str(group))] = 0 if goes_on else expected.get(Component(str(group)), 0)
    return found


_REEMBED = tuple(
    PathChange(path=path, why=f"{what}; gone at its end", certain=False)
    for path, what in (
        (str(HOST_STATE / "reembed.json"), "how far embedding anew is"),
        ("/run/bastide-reembed.json", "settings of the server that embeds anew"),
        ("/run/systemd/system/reembed-bastide.service", "the server that embeds anew"),
    )
)


def with_data(plan: HostPlan, data: tuple[DataStep, ...]) -> HostPlan:
    """Return a host's plan with steps on stored data, and what they take and write."""
    room = sum(step.bytes for step in data)
    disk = dict(plan.disk_needed)
    if room:
        disk["/var/lib"] = disk.get("/var/lib", 0) + room
    anew = _REEMBED if any(step.kind == "reembed" for step in data) else ()
    paths = tuple(sorted((*plan.paths, *anew), key=lambda change: change.path))
    return plan.replace(data=data, disk_needed=disk, paths=paths)


def site_view(site: Site) -> dict[str, str]:
    """Return what a site's description says, flat: dotted key → value. It has no secrets."""
    return dict(_flat("", site.model_dump(mode="json", by_alias=True)))


def _flat(prefix: str, value: Any) -> Iterator[tuple[str, str]]:  # noqa: ANN401 - JSON
    if isinstance(value, dict) and value:
        for key, item in value.items():
            yield from _flat(f"{prefix}.{key}" if prefix else str(key), item)
    elif isinstance(value, list):
        yield prefix, ", ".join(str(item) for item in value)
    elif value is not None and value != {}:
        yield prefix, str(value)
