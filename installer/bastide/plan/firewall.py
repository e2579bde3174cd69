"""A host's packet filter, line by line: what of the flows nftables lets pass. Pure.

``templates/etc/nftables.nft.j2`` lays the lines out; a plan shows their words. A line that has no
words belongs to the one before it: it lets a conversation go on that was there before the filter.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network, ip_network

from bastide.plan.flows import (
    Direction,
    Rule,
    Side,
    collapse,
    host_rules,
    networks,
    shown,
    site_networks,
)
from bastide.schema.isolation import PRIVATE, IPNetwork
from bastide.schema.site import Site

FIREWALL_FILE = "etc/nftables.nft"
FIREWALL_UNIT = "bastide-firewall.service"
FIREWALL_PACKAGE = "nftables"
_LINK = tuple(ip_network(each) for each in ("::", "fe80::/10", "ff02::/16"))
_RENEWING = (*PRIVATE, ip_network("255.255.255.255"))
_RENEWING_V6 = (ip_network("fe80::/10"), ip_network("fc00::/7"), ip_network("ff02::1:2"))
VRRP = 112  # its protocol number
# Everything but the first packet of a conversation.
_GOING_ON = "tcp flags & (syn | ack) != syn"
_ERRORS = "destination-unreachable, time-exceeded, parameter-problem"
_NEIGHBOURS = (
    "nd-router-solicit, nd-router-advert, nd-neighbor-solicit, nd-neighbor-advert, "
    "mld-listener-query, mld-listener-report, mld2-listener-report"
)


@dataclass(frozen=True)
class Line:
    """One rule.

    Args:
        direction: Of which chain.
        match: nftables' expression for what passes.
        words: The same for people; empty if it belongs to the line before.
    """

    direction: Direction
    match: str
    words: str = ""


def firewall_lines(site: Site, host: str) -> tuple[Line, ...]:
    """Return everything that may pass on ``host``; what is left is refused.

    Each line only lets pass, so none can take from another: the order is for speed.
    """
    flowing = [line for rule in host_rules(site, host) for line in _of_rule(rule)]
    renewal = _renewal() if site.isolation.dhcp else ()
    return (*_answers(), *flowing, *_control_messages(site), *renewal)


def firewall_words(site: Site, host: str) -> tuple[str, ...]:
    """Return the rules of ``host`` for people, what is refused among them."""
    lines = [line.words for line in firewall_lines(site, host) if line.words]
    return (*lines, *REFUSALS)


REFUSALS = (
    "in: all else is refused",
    "out: all else is refused, whoever sends it",
    "through: nothing is passed on to others",
)


def ssh_networks(site: Site, host: str) -> tuple[IPNetwork, ...]:
    """Return from where ``host`` may be reached by SSH."""
    rules = host_rules(site, host)
    found = [r for r in rules if (r.direction, r.protocol, r.port) == ("in", "tcp", site.ssh.port)]
    return collapse(each for rule in found for each in rule.networks)


def firewall_peers(site: Site) -> tuple[str, ...]:
    """Return nftables' expressions for packets that come from the site's own machines."""
    machines = (*networks(site, Side.HOSTS), *networks(site, Side.CONTROL))
    return tuple(_who(others, "saddr") for others in _families(machines))


def _of_rule(rule: Rule) -> Iterator[Line]:
    for others in _families(rule.networks):
        part = Rule(rule.direction, rule.protocol, rule.port, others, rule.why)
        here, back = ("saddr", "daddr") if rule.direction == "in" else ("daddr", "saddr")
        if rule.protocol == "vrrp":
            # By number: the name is known only where /etc/protocols is (package netbase).
            asked = f"{_who(others, here)} meta l4proto {VRRP}"
            yield Line(rule.direction, asked, part.words)
            continue
        asked = f"{_who(others, here)} {rule.protocol} dport {rule.port}"
        yield Line(rule.direction, asked, part.words)
        if rule.protocol == "tcp":
            answering: Direction = "out" if rule.direction == "in" else "in"
            answered = f"{_who(others, back)} tcp sport {rule.port} {_GOING_ON}"
            yield Line(answering, answered)


def _answers() -> Iterator[Line]:
    for direction, interface in (("in", "iif"), ("out", "oif")):
        which: Direction = "in" if direction == "in" else "out"
        yield Line(which, f"{interface} lo", f"{which}: the host with itself")
        yield Line(which, "ct state established,related", f"{which}: answers")


def _control_messages(site: Site) -> Iterator[Line]:
    """Yield ICMP: errors, without which large packets get lost, and what finds neighbours."""
    own = (*site_networks(site), *_LINK)
    for others in _families(own):
        four = isinstance(others[0], IPv4Network)
        kinds = f"icmp type {{ echo-request, echo-reply, {_ERRORS} }}"
        if not four:
            kinds = (f"icmpv6 type {{ echo-request, echo-reply, packet-too-big, {_ERRORS}, "
                     f"{_NEIGHBOURS} }}")  # fmt: skip
        family = "ICMP" if four else "ICMPv6"
        yield Line("in", f"{_who(others, 'saddr')} {kinds}", f"in: {family} within the site")
        yield Line("out", f"{_who(others, 'daddr')} {kinds}", f"out: {family} within the site")
    too_big = "icmp type { destination-unreachable, time-exceeded }"
    yield Line("in", too_big, "in: ICMP errors of routers")
    yield Line("in", "icmpv6 type { packet-too-big, destination-unreachable, time-exceeded }",
               "in: ICMPv6 errors of routers")  # fmt: skip


def _renewal() -> Iterator[Line]:
    four = [each for each in _RENEWING if isinstance(each, IPv4Network)]
    for others, ours, theirs, name in ((four, 68, 67, "DHCP"), (_RENEWING_V6, 546, 547, "DHCPv6")):
        asked = f"{_who(others, 'daddr')} udp sport {ours} udp dport {theirs}"
        yield Line("out", asked, f"out: {name} renews the host's address")
        answered = f"{_who(others, 'saddr')} udp sport {theirs} udp dport {ours}"
        yield Line("in", answered, f"in: {name} renews the host's address")


def _families(every: Iterable[IPNetwork]) -> Iterator[tuple[IPNetwork, ...]]:
    collapsed = collapse(every)
    for kind in (IPv4Network, IPv6Network):
        if found := tuple(each for each in collapsed if isinstance(each, kind)):
            yield found


def _who(others: Iterable[IPNetwork], side: str) -> str:
    """Return nftables' expression for addresses of one family."""
    every = collapse(others)
    family = "ip" if isinstance(every[0], IPv4Network) else "ip6"
    return f"{family} {side} {{ {', '.join(shown(each) for each in every)} }}"
