"""Checks of addresses and of the ways between the site's machines."""

from __future__ import annotations

from collections.abc import Iterator

from bastide.plan.preflight.check import HostView, Subject, Trouble, checks_in, refuses, warns

CONDITION = Subject.CONDITION
LEAST_MTU = 1280


@refuses(
    CONDITION,
    "BAS-5169",
    "the host has its address",
    "The address that `site.yaml` gives a host is on none of its interfaces (a forwarded one?)",
    "give the host's own address; services listen on it",
)
def own_address(host: HostView) -> Iterator[Trouble]:
    """Look whether the host could bind its address."""
    if host.condition.has_address is False:
        yield Trouble(f"{host.site.hosts[host.name].address} is on none of its interfaces")


@warns(
    CONDITION,
    "BAS-5170",
    "packets of a common size pass",
    "A host's network takes only very small packets",
    "raise the interface's MTU to 1280 or more",
)
def mtu(host: HostView) -> Iterator[Trouble]:
    """Look at the interface's MTU."""
    found = host.condition.mtu
    if found is not None and found < LEAST_MTU:
        yield Trouble(f"the MTU of its interface is {found}")


@refuses(
    CONDITION,
    "BAS-5171",
    "the host reaches the depot",
    "A host cannot reach the control node's depot port, from which it would fetch artifacts",
    "let it through: firewalls on host and control node, routes, `network.control_address`",
)
def depot(host: HostView) -> Iterator[Trouble]:
    """Compare what the host heard on the depot's port with what was said there."""
    control, heard = host.inputs.control, host.condition.depot_greeting
    if control is None or not control.depot_greeting or heard == control.depot_greeting:
        return
    network = host.site.network
    where = f"{network.control_address} port {network.depot_port}"
    if heard.startswith("!"):
        yield Trouble(f"cannot reach the control node at {where}: {heard[1:]}")
    else:
        yield Trouble(f"at {where} another machine answers than the control node")


@refuses(
    CONDITION,
    "BAS-5172",
    "the gateway reaches the services",
    "The gateway's host cannot reach the machine of a service",
    "let it through: firewalls and routes between the two hosts",
)
def peers(host: HostView) -> Iterator[Trouble]:
    """List services of other hosts that are out of reach."""
    for peer, fault in host.condition.peers.items():
        if fault:
            yield Trouble(f"cannot reach {peer}: {fault}")


CHECKS = checks_in(globals())
