"""Where each service listens; the same answer for templates and for plans. Pure."""

from __future__ import annotations

from bastide.schema.monitoring import PROMETHEUS_PORT
from bastide.schema.site import Group, Site

LOOPBACK = "127.0.0.1"


def service_ports(site: Site) -> dict[Group, int]:
    """Return the TCP port of each group's service."""
    network = site.network
    return {
        Group.LLM: network.llm_port,
        Group.EMBEDDINGS: network.embeddings_port,
        Group.VECTORDB: network.vectordb_port,
        Group.GATEWAY: network.gateway_port,
        Group.MONITORING: PROMETHEUS_PORT,
    }


def bind_address(site: Site, group: Group, host: str) -> str:
    """Return where ``group``'s service listens on ``host``.

    Loopback if all who ask it, the gateway and monitoring, are on the same host, so that nothing
    but the gateway is reachable from outside; else the host's own address.
    """
    askers = {*site.hosts_in(Group.GATEWAY), *site.hosts_in(Group.MONITORING)}
    if group is not Group.GATEWAY and askers == {host}:
        return LOOPBACK
    return str(site.hosts[host].address)
