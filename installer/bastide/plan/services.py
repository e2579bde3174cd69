"""Which units a host has, where they listen and who owns them. Pure.

A group's unit has the group's name; monitoring is the exception: it has two on its host, and two
more on every host of the site.
"""

from __future__ import annotations

from dataclasses import dataclass

from bastide.plan.ports import LOOPBACK, bind_address, service_ports
from bastide.schema.artifact import Component
from bastide.schema.monitoring import (
    ALERTMANAGER_PORT,
    GATEWAY_METRICS_PORT,
    NODE_EXPORTER_PORT,
    PROMETHEUS_PORT,
)
from bastide.schema.site import SERVING, Group, Site

PROMETHEUS = "bastide-prometheus.service"
ALERTMANAGER = "bastide-alertmanager.service"
NODE_EXPORTER = "bastide-node-exporter.service"
HOST_METRICS = "bastide-host-metrics.service"
SYSLOG = "bastide-syslog.service"  # every host, if the site has a syslog server
MONITORING_UNITS = (PROMETHEUS, ALERTMANAGER)
EXPORTER_UNITS = (NODE_EXPORTER, HOST_METRICS)

UNITS_OF: dict[Component, tuple[str, ...]] = {
    **{Component(str(group)): (f"bastide-{group}.service",) for group in SERVING},
    Component.KEEPALIVED: ("bastide-keepalived.service",),
    Component.MONITORING: MONITORING_UNITS,
    Component.EXPORTERS: EXPORTER_UNITS,
}


@dataclass(frozen=True)
class Endpoint:
    """A TCP port that one of a host's units holds.

    Args:
        unit: The unit.
        name: What it is called, such as ``llm`` or ``node exporter``.
        address: Where it is bound.
        port: The port.
    """

    unit: str
    name: str
    address: str
    port: int


def units_of(component: Component | Group) -> tuple[str, ...]:
    """Return the units that a component or a group runs; none for Bastide itself."""
    return UNITS_OF.get(Component(str(component)), ())


def components_on(site: Site, host: str) -> frozenset[Component]:
    """Return the components whose units run on ``host``, if the release has them."""
    found = {Component(str(group)) for group in site.hosts[host].groups}
    return frozenset(found | {Component.EXPORTERS} if site.is_monitored else found)


def metrics_address(site: Site, host: str) -> str:
    """Return where ``host`` gives its metrics: loopback, if only the host itself asks for them."""
    if site.hosts_in(Group.MONITORING) in {(), (host,)}:
        return LOOPBACK
    return str(site.hosts[host].address)


def endpoints(site: Site, host: str) -> tuple[Endpoint, ...]:
    """Return every TCP port that Bastide's units hold on ``host``, by unit and port."""
    ports, found = service_ports(site), []
    for group in site.hosts[host].groups:
        if group is Group.MONITORING:
            found.append(Endpoint(ALERTMANAGER, "alertmanager", LOOPBACK, ALERTMANAGER_PORT))
            address = bind_address(site, group, host)
            found.append(Endpoint(PROMETHEUS, "prometheus", address, PROMETHEUS_PORT))
        else:
            unit, address = units_of(group)[0], bind_address(site, group, host)
            found.append(Endpoint(unit, str(group), address, ports[group]))
    if Group.GATEWAY in site.hosts[host].groups:
        gateway = units_of(Group.GATEWAY)[0]
        address = metrics_address(site, host)
        found.append(Endpoint(gateway, "metrics", address, GATEWAY_METRICS_PORT))
    if site.is_monitored:
        address = metrics_address(site, host)
        found.append(Endpoint(NODE_EXPORTER, "node exporter", address, NODE_EXPORTER_PORT))
    return tuple(found)
