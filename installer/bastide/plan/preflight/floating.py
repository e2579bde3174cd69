"""Checks of the gateways' floating address: nobody else has it, or would fight for it."""

from __future__ import annotations

from collections.abc import Iterator

from bastide.plan.preflight.check import HostView, Subject, Trouble, checks_in, refuses, warns
from bastide.schema.site import Group

CONDITION = Subject.CONDITION


@refuses(
    CONDITION,
    "BAS-5192",
    "keepalived is not somebody else's",
    "A gateway's host has a keepalived.service of its own, which the floating address's would "
    "take over",
    "put the gateway on another host, or stop and remove that keepalived.service",
)
def own_keepalived(host: HostView) -> Iterator[Trouble]:
    """Look for a keepalived that somebody set up."""
    seen = host.condition
    if not _takes_part(host):
        return
    if seen.keepalived_unit == "own":
        yield Trouble("/etc/systemd/system/keepalived.service is the administrator's own")
    unit = seen.rivals.get("keepalived")
    if unit == "keepalived.service":
        yield Trouble("keepalived runs as keepalived.service, for something else")
    elif unit is not None:
        where = f"as {unit}" if unit else "outside any unit"
        hint = "see that it holds neither the floating address nor its number"
        yield Trouble(f"another keepalived runs {where}", hint, mild=True)


@refuses(
    CONDITION,
    "BAS-5193",
    "nobody else has the floating address",
    "A machine that is no gateway of the site answers for the floating address",
    "find it by its hardware address (`ip neighbour`) and take the address from it, or choose "
    "another `network.gateway_address`",
)
def floating_address(host: HostView) -> Iterator[Trouble]:
    """Look who answers for the floating address."""
    found = host.condition.floating.claimed_by
    if _takes_part(host) and found:
        address = host.site.network.gateway_address
        yield Trouble(f"{address} is answered by {', '.join(found)}, which is no gateway")


@warns(
    CONDITION,
    "BAS-5194",
    "nobody else has the floating address's number",
    "Others on the network say by VRRP that they hold an address of the same number",
    "give `network.gateway_router` a number that nobody else has",
)
def floating_number(host: HostView) -> Iterator[Trouble]:
    """Look for others' VRRP messages with our number."""
    number = host.site.network.gateway_router
    for sender in host.condition.floating.vrrp if _takes_part(host) else ():
        address, _, theirs = sender.partition(" number ")
        if theirs == str(number):
            yield Trouble(f"{address} uses VRRP number {number}, network.gateway_router, too")


def _takes_part(host: HostView) -> bool:
    floats = host.site.network.gateway_address is not None
    return floats and Group.GATEWAY in host.needs.groups


CHECKS = checks_in(globals())
