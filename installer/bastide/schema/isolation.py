"""``isolation`` in ``site.yaml``: who may talk to the site's hosts, and to whom they may talk."""

from __future__ import annotations

from ipaddress import IPv4Network, IPv6Network, ip_network
from typing import Annotated, Literal

from pydantic import BeforeValidator, Field

from bastide.schema.base import Name, Value

IPNetwork = IPv4Network | IPv6Network


def _network(value: object) -> IPNetwork:
    try:
        network = ip_network(str(value))
    except ValueError:
        raise ValueError(
            "should be a network such as 10.20.0.0/16 (no bits behind the prefix), or an address"
        ) from None
    if network.prefixlen == 0:
        raise ValueError("should be a part of the network: with every address, nothing is isolated")
    return network


Network = Annotated[IPNetwork, BeforeValidator(_network)]

# RFC 1918, RFC 6598 (shared address space of carriers and large companies) and RFC 4193.
PRIVATE: tuple[IPNetwork, ...] = tuple(
    ip_network(each)
    for each in ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10", "fc00::/7")
)


class ExtraFlow(Value):
    """Something besides the stack's own conversations that hosts may take part in."""

    direction: Literal["in", "out"] = Field(
        description="'out': hosts open it, such as time from a server; 'in': others open it."
    )
    protocol: Literal["tcp", "udp"] = Field(description="Transport protocol.")
    port: int = Field(ge=1, le=65535, description="Port of the side that is asked.")
    networks: tuple[Network, ...] = Field(
        min_length=1, description="Whom the hosts ask (out), or who may ask them (in)."
    )
    hosts: tuple[Name, ...] = Field(default=(), description="Which hosts; all if not given.")
    why: str = Field(
        min_length=3,
        max_length=60,
        pattern=r"^[A-Za-z0-9 ,.:/()'_-]+$",
        description="What it is for, as plan and rules say it.",
    )


class Isolation(Value):
    """Who may talk to the site's hosts, and to whom they may talk. All else is refused."""

    firewall: bool = Field(
        default=True,
        description="Whether each host refuses all that is no flow of the site (nftables).",
    )
    clients: tuple[Network, ...] = Field(
        default=PRIVATE,
        min_length=1,
        description="Networks from which clients may reach the gateway.",
    )
    ssh: tuple[Network, ...] = Field(
        default=(),
        description="Networks besides the control node from which people may log in by SSH.",
    )
    dhcp: bool = Field(
        default=True,
        description="Whether hosts may renew their address by DHCP, from private addresses only.",
    )
    flows: dict[Name, ExtraFlow] = Field(
        default={}, description="What else hosts may do, by a name, such as ask a time server."
    )
    log_per_minute: int = Field(
        default=10,
        ge=0,
        le=1000,
        description="Refused packets that the kernel's log names; 0: none.",
    )
