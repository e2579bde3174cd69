"""Services that go over to mutual TLS or back: for how long nobody can ask them. Pure.

A gateway speaks with a server as its own configuration says, and that changes at the beginning of
its host's turn, which is the last. A service whose servers all change is out of reach from the
switch of the last of them until then.
"""

from __future__ import annotations

from collections.abc import Mapping

from bastide.plan import switching
from bastide.plan.inputs import PlanInputs
from bastide.plan.services import units_of
from bastide.plan.tls import SERVICES, speaks_tls
from bastide.schema.artifact import Component
from bastide.schema.site import Group


def pauses(inputs: PlanInputs) -> dict[str, dict[Component, int]]:
    """Return the seconds for which services that change their protocol are expected out of reach.

    By host: the one whose switch begins the pause. A service with a server that stays as it is has
    none. Each restart until the gateway's turn counts as long as the release says.
    """
    if inputs.upgrade is None:
        return {}
    expected = inputs.upgrade.expected_interruption
    changing = {host: _changing(inputs, host) for host in inputs.site.hosts}
    canary = switching.canary_of(inputs.site, inputs.facts.hosts)
    order = switching.host_order(inputs.site, canary)
    found: dict[str, dict[Component, int]] = {host: {} for host in order}
    for group in SERVICES:
        servers = [host for host in order if group in inputs.site.hosts[host].groups]
        if servers and all(group in changing[host] for host in servers):
            later = order[order.index(servers[-1]) + 1 :]
            before = (h for h in later if Group.GATEWAY not in inputs.site.hosts[h].groups)
            rest = (servers[-1], *before)
            found[servers[-1]][Component(str(group))] = _seconds(rest, changing, expected)
    return found


def _changing(inputs: PlanInputs, host: str) -> frozenset[Group]:
    facts = inputs.facts.hosts[host]
    if facts.generation is None:
        return frozenset()
    return frozenset(
        group
        for group in SERVICES
        for unit in units_of(group)
        if facts.units.get(unit) == "active"
        and group in inputs.site.hosts[host].groups
        and speaks_tls(inputs.site, group, host) is not (unit in facts.tls_units)
    )


def _seconds(
    hosts: tuple[str, ...],
    changing: Mapping[str, frozenset[Group]],
    expected: Mapping[Component, int],
) -> int:
    restarts = (Component(str(group)) for host in hosts for group in changing[host])
    return sum(expected.get(each, 0) for each in restarts)
