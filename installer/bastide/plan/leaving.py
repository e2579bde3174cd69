"""Hosts that have left ``site.yaml``: what becomes of them, and whose data stays behind. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from bastide.errors import ConfigError, Problem
from bastide.layout import HOST_SECRETS, HOST_STATE
from bastide.plan.inputs import PlanInputs
from bastide.schema.facts import DepartedHost, HostFacts, SiteFacts
from bastide.schema.plan import LeavingHost
from bastide.schema.site import Group, Site, SiteHost

OUT_OF_REACH = "BAS-2151"
DATA_LEFT_BEHIND = "BAS-2152"
NOT_LEAVING = "BAS-2153"
ACTIVE = "active"


def departed_hosts(before: Site | None, site: Site) -> dict[str, SiteHost]:
    """Return the hosts of ``before`` that the site has no longer.

    A host that has only got another name is the same machine, and stays.

    Args:
        before: The site as it was last carried out; None if it never was.
        site: The site as it should be.
    """
    if before is None:
        return {}
    here = {each.address for each in site.hosts.values()}
    return {
        name: host
        for name, host in before.hosts.items()
        if name not in site.hosts and host.address not in here
    }


def leaving_hosts(inputs: PlanInputs) -> tuple[LeavingHost, ...]:
    """Return what happens to each host that has left the site.

    Raises:
        ConfigError: One cannot be reached and is not to be forgotten; one that is to be forgotten
            is still in the site; or vector data would stay behind unnoticed.
    """
    departed = inputs.facts.departed
    _require_gone(inputs)
    _require_reached(departed, inputs.forget)
    _require_data_served(inputs)
    return tuple(
        _leaving(name, host, forgotten=name in inputs.forget)
        for name, host in sorted(departed.items())
    )


def _leaving(name: str, host: DepartedHost, *, forgotten: bool) -> LeavingHost:
    groups = tuple(Group(each) for each in host.groups)
    if forgotten or host.facts is None:
        return LeavingHost(host=name, address=host.address, groups=groups, forgotten=True)
    facts = host.facts
    stays = [f"{HOST_STATE}: models and artifacts"]
    if facts.data_bytes:
        stays.append(f"{HOST_STATE}/vectordb: {facts.data_bytes} bytes of vector data")
    return LeavingHost(
        host=name,
        address=host.address,
        groups=groups,
        units=tuple(sorted(unit for unit, state in facts.units.items() if state == ACTIVE)),
        secrets=tuple(sorted(path for path in facts.secrets if path.startswith(str(HOST_SECRETS)))),
        stays=tuple(stays),
    )


def _require_gone(inputs: PlanInputs) -> None:
    known = sorted(name for name in inputs.forget if name in inputs.site.hosts)
    if known:
        raise ConfigError(
            f"{', '.join(known)} should be forgotten but is in site.yaml",
            code=NOT_LEAVING,
            hint="take it out of 'hosts' in site.yaml first",
        )


def _require_reached(departed: Mapping[str, DepartedHost], forget: frozenset[str]) -> None:
    lost = {name: d for name, d in departed.items() if d.facts is None and name not in forget}
    if lost:
        raise ConfigError(
            f"{', '.join(lost)} left site.yaml but cannot be reached, so its services cannot be "
            "stopped; nothing was changed",
            code=OUT_OF_REACH,
            hint="bring it back until it is taken out of service; if it is gone for good, add "
            + " ".join(f"--forget {name}" for name in lost),
            problems=tuple(Problem(name, host.reason) for name, host in lost.items()),
        )


def _require_data_served(inputs: PlanInputs) -> None:
    """See that the vector data goes on being served, or is left behind on purpose."""
    site, facts = inputs.site, inputs.facts
    served = any(
        facts.hosts[name].data_bytes
        for name in site.hosts_in(Group.VECTORDB)
        if name in facts.hosts
    )
    if served:
        return
    allowed = {*site.upgrades.leaves_data_on, *inputs.forget}
    behind = [name for name, _ in _with_data(site, facts) if name not in allowed]
    if behind:
        new = ", ".join(site.hosts_in(Group.VECTORDB))
        raise ConfigError(
            f"the vector DB would move to {new} and leave its data on {', '.join(behind)}; nothing "
            "was changed",
            code=DATA_LEFT_BEHIND,
            hint=f"give {behind[0]} the group vectordb again; to move on purpose, back the data up "
            f"first, name {behind[0]} under upgrades.leaves_data_on in site.yaml, apply, and "
            "restore the backup on the new host",
        )


def _with_data(site: Site, facts: SiteFacts) -> Iterator[tuple[str, HostFacts]]:
    """Yield the hosts with vector data that are no longer the vector DB's."""
    for name, found in facts.hosts.items():
        if found.data_bytes and Group.VECTORDB not in site.hosts[name].groups:
            yield name, found
    for name, host in facts.departed.items():
        if host.facts is not None and host.facts.data_bytes:
            yield name, host.facts
