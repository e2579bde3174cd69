"""Who talks to whom in a site: the one place that says so. Pure.

Firewall rules, the units' allow lists, the documentation and the proof of isolation all come from
``flows``. To let a component talk to another one, add a flow there.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from ipaddress import IPv4Network, IPv6Network, collapse_addresses, ip_network
from typing import Literal

from bastide.plan.ports import LOOPBACK, bind_address, service_ports
from bastide.schema.isolation import IPNetwork
from bastide.schema.monitoring import GATEWAY_METRICS_PORT, NODE_EXPORTER_PORT, destinations
from bastide.schema.site import Group, Site

SERVED = {  # what the gateway asks, and what for
    Group.LLM: "gateway asks LLM",
    Group.EMBEDDINGS: "gateway asks embeddings",
    Group.VECTORDB: "gateway asks vector DB",
}
Protocol = Literal["tcp", "udp", "vrrp"]  # vrrp has no ports
Direction = Literal["in", "out"]


class Side(StrEnum):
    """Somebody in a conversation who is no group of hosts."""

    CONTROL = "control"  # the control node
    HOSTS = "hosts"  # every host
    CLIENTS = "clients"  # whoever may use the gateway


@dataclass(frozen=True)
class Members:
    """Some of the site's hosts, by name.

    Args:
        hosts: Their names.
    """

    hosts: tuple[str, ...]


@dataclass(frozen=True)
class Networks:
    """Addresses beside the site's hosts.

    Args:
        networks: Which.
    """

    networks: tuple[IPNetwork, ...]


Party = Group | Side | Members | Networks


@dataclass(frozen=True)
class Flow:
    """One kind of conversation: who opens it, with whom, and why.

    Args:
        source: Who opens it.
        destination: Who is asked.
        protocol: ``tcp``, ``udp`` or ``vrrp``.
        port: The port that is asked; 0 if the protocol has none.
        why: What for, in a few words of letters, digits, spaces and ``,.:/()'_-``.
    """

    source: Party
    destination: Party
    protocol: Protocol
    port: int
    why: str


@dataclass(frozen=True)
class Rule:
    """What a flow means for one host.

    Args:
        direction: ``in`` if others open the conversation, ``out`` if the host does.
        protocol: As in the flow.
        port: As in the flow.
        networks: The others' addresses, collapsed and sorted.
        why: As in the flow.
    """

    direction: Direction
    protocol: Protocol
    port: int
    networks: tuple[IPNetwork, ...]
    why: str

    @property
    def words(self) -> str:
        """The rule for people: ``in tcp 8081 from 10.0.0.12: gateway asks LLM``."""
        preposition = "from" if self.direction == "in" else "to"
        port = f" {self.port}" if self.port else ""
        others = ", ".join(shown(network) for network in self.networks)
        return f"{self.direction} {self.protocol}{port} {preposition} {others}: {self.why}"


def shown(network: IPNetwork) -> str:
    """Return a network as text; a single address without its prefix."""
    single = network.prefixlen == network.max_prefixlen
    return str(network.network_address if single else network)


def flows(site: Site) -> tuple[Flow, ...]:
    """Return every conversation that the site needs, between its machines and with clients.

    Conversations of a host with itself are not among them: they never leave it.
    """
    network, isolation = site.network, site.isolation
    ports = service_ports(site)
    gateway = ports[Group.GATEWAY]
    return (
        Flow(Side.CONTROL, Side.HOSTS, "tcp", site.ssh.port, "control node logs in by SSH"),
        *(
            Flow(Networks((each,)), Side.HOSTS, "tcp", site.ssh.port, "people log in by SSH")
            for each in isolation.ssh
        ),
        Flow(Side.HOSTS, Side.CONTROL, "tcp", network.depot_port, "hosts fetch artifacts"),
        *_sharing(site),
        Flow(Side.CLIENTS, Group.GATEWAY, "tcp", gateway, "clients ask the gateway"),
        Flow(Side.CONTROL, Group.GATEWAY, "tcp", gateway, "control node verifies"),
        *(
            Flow(Group.GATEWAY, group, "tcp", ports[group], why)
            for group, why in SERVED.items()
        ),
        *_peers(site),
        *_floating(site, gateway),
        *_monitoring(site),
        *_syslog(site),
        *_extra(site),
    )  # fmt: skip


def _sharing(site: Site) -> Iterator[Flow]:
    """Yield how hosts give each other artifacts while a plan is applied, if they do."""
    if site.shares:
        why = "hosts give each other artifacts"
        yield Flow(Side.HOSTS, Side.HOSTS, "tcp", site.network.staging_port, why)


def _peers(site: Site) -> Iterator[Flow]:
    """Yield how the hosts of a vector DB's cluster keep copies in step, if there are several."""
    if len(site.hosts_in(Group.VECTORDB)) > 1:
        why = "vector DB keeps copies in step"
        yield Flow(Group.VECTORDB, Group.VECTORDB, "tcp", site.vectordb.peer_port, why)


def _floating(site: Site, port: int) -> Iterator[Flow]:
    """Yield how gateways agree on who holds the floating address, if the site has one."""
    address = site.network.gateway_address
    if address is None:
        return
    # By name, not as a group: the gateway's own service has no part in it.
    gateways = Members(site.hosts_in(Group.GATEWAY))
    here = Networks((ip_network(address),))
    yield Flow(gateways, gateways, "vrrp", 0, "gateways agree on the floating address")
    yield Flow(gateways, here, "tcp", port, "gateways look whether the floating address answers")
    yield Flow(gateways, Group.GATEWAY, "tcp", port, "gateways look at the floating address")


def _monitoring(site: Site) -> Iterator[Flow]:
    if not site.is_monitored:
        return
    watch, ports = Group.MONITORING, service_ports(site)
    yield Flow(watch, Side.HOSTS, "tcp", NODE_EXPORTER_PORT, "monitoring asks hosts")
    yield Flow(watch, Group.GATEWAY, "tcp", GATEWAY_METRICS_PORT, "monitoring asks gateway")
    for group in SERVED:
        yield Flow(watch, group, "tcp", ports[group], f"monitoring asks {group}")
    yield Flow(Group.GATEWAY, watch, "tcp", ports[watch], "gateway asks monitoring")
    for address, port in destinations(site.monitoring):
        yield Flow(watch, Networks((ip_network(address),)), "tcp", port, "alerts to people")


def _syslog(site: Site) -> Iterator[Flow]:
    syslog = site.logs.syslog
    if syslog is not None:
        protocol: Protocol = "udp" if syslog.protocol == "udp" else "tcp"
        there = Networks((ip_network(syslog.address),))
        yield Flow(Side.HOSTS, there, protocol, syslog.port, "logs to the syslog server")


def _extra(site: Site) -> Iterator[Flow]:
    for extra in site.isolation.flows.values():
        ours = Members(extra.hosts or tuple(site.hosts))
        theirs = Networks(extra.networks)
        source, destination = (ours, theirs) if extra.direction == "out" else (theirs, ours)
        yield Flow(source, destination, extra.protocol, extra.port, extra.why)


def members(site: Site, party: Party) -> tuple[str, ...]:
    """Return the names of the site's hosts that ``party`` means; none if it means others."""
    if isinstance(party, Group):
        return site.hosts_in(party)
    if isinstance(party, Members):
        return party.hosts
    return tuple(site.hosts) if party is Side.HOSTS else ()


def networks(site: Site, party: Party) -> tuple[IPNetwork, ...]:
    """Return the addresses of ``party``."""
    if isinstance(party, Networks):
        return party.networks
    if party is Side.CONTROL:
        return (ip_network(site.network.control_address),)
    if party is Side.CLIENTS:
        return site.isolation.clients
    return tuple(ip_network(site.hosts[name].address) for name in members(site, party))


def host_rules(site: Site, host: str, wanted: Iterable[Flow] | None = None) -> tuple[Rule, ...]:
    """Return what the flows mean for one host, in the flows' order.

    A service that listens on loopback only has no rule: nobody else reaches it. Nor has a flow in
    which the host would be alone.

    Args:
        site: The site.
        host: The host's name.
        wanted: The flows; the site's own if None.
    """
    found: dict[tuple[Direction, Protocol, int, str], set[IPNetwork]] = {}
    here = ip_network(site.hosts[host].address)
    for flow in flows(site) if wanted is None else wanted:
        if host in members(site, flow.destination) and not _inner(site, flow.destination, host):
            key: tuple[Direction, Protocol, int, str] = ("in", flow.protocol, flow.port, flow.why)
            found.setdefault(key, set()).update(networks(site, flow.source))
        if host in members(site, flow.source):
            key = ("out", flow.protocol, flow.port, flow.why)
            found.setdefault(key, set()).update(networks(site, flow.destination))
    rules = [Rule(*key[:3], collapse(others - {here}), key[3]) for key, others in found.items()]
    return tuple(rule for rule in rules if rule.networks)


def unit_networks(site: Site, group: Group, host: str) -> tuple[IPNetwork, ...]:
    """Return whom ``group``'s service on ``host`` may exchange packets with, beside loopback.

    Its host's own address is among them if it listens there: so the host agent asks it.
    """
    found: set[IPNetwork] = set()
    if not _inner(site, group, host):
        found.add(ip_network(site.hosts[host].address))
    for flow in flows(site):
        if flow.destination is group and not _inner(site, group, host):
            found.update(networks(site, flow.source))
        if flow.source is group:
            found.update(networks(site, flow.destination))
    return collapse(found)


def site_networks(site: Site) -> tuple[IPNetwork, ...]:
    """Return every address that takes part in a flow: the site's own networks."""
    parties = [party for flow in flows(site) for party in (flow.source, flow.destination)]
    return collapse(each for party in parties for each in networks(site, party))


def collapse(found: Iterable[IPNetwork]) -> tuple[IPNetwork, ...]:
    """Return the fewest networks that have the same addresses; IPv4 first, sorted."""
    every = list(found)
    four = collapse_addresses(each for each in every if isinstance(each, IPv4Network))
    six = collapse_addresses(each for each in every if isinstance(each, IPv6Network))
    return (*four, *six)


def _inner(site: Site, party: Party, host: str) -> bool:
    """Return whether the service that is asked listens on the host's loopback only."""
    return isinstance(party, Group) and bind_address(site, party, host) == LOOPBACK


# Never routed: they stay on the cable. (Name lookups to them are seen all the same.)
LINK = tuple(
    ip_network(each)
    for each in ("127.0.0.0/8", "224.0.0.0/24", "255.255.255.255", "::", "::1", "fe80::/10",
                 "ff01::/16", "ff02::/16")
)  # fmt: skip


def watched_networks(site: Site, host: str) -> tuple[IPNetwork, ...]:
    """Return where packets of ``host`` may go without being seen by the proof of isolation."""
    rules = host_rules(site, host)
    own = ip_network(site.hosts[host].address)
    return collapse((own, *LINK, *(each for rule in rules for each in rule.networks)))
