"""Asks all hosts for facts and condition, and looks at the control node: preflight's eyes.

One question a host, and no change anywhere. While hosts are asked, something listens on the depot's
port, so that each can say whether it would reach the depot.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

from bastide.plan.leaving import departed_hosts
from bastide.progress import Progress, SilentProgress
from bastide.run.ask import Line, ask
from bastide.run.control import Desk, Listener, look_at_control
from bastide.run.earlier import last_site
from bastide.run.facts import facts_of, gather_over
from bastide.schema.condition import ControlCondition
from bastide.schema.facts import DepartedHost, HostFacts, SiteFacts, UnreachableHost
from bastide.schema.site import Group, Site, SiteHost

BUSY_SECONDS = 120.0  # as long as one agent waits for another
PAUSE_SECONDS = 1.0


def survey_at_rest(
    desk: Desk, cancelled: threading.Event, tell: Callable[[str], None], *, salt: str
) -> tuple[SiteFacts, ControlCondition]:
    """Return what ``survey`` does, once no agent of an earlier run is at work any more.

    A run that was killed leaves agents that finish what they were told. The next one is not refused
    for that if they end in time; what the hosts say last counts.

    Args:
        desk: Site and store.
        cancelled: Once it is set, the waiting ends.
        tell: Told, once, who is waited for.
        salt: For the fingerprints of the secrets' files.

    Raises:
        PreflightError: Somebody asked for the end.
    """
    deadline = time.monotonic() + BUSY_SECONDS
    told = False
    while True:
        facts, control = survey(desk, SilentProgress(), cancelled, salt=salt)
        busy = {
            name: host.condition.agent_busy
            for name, host in facts.hosts.items()
            if host.condition is not None and host.condition.agent_busy
        }
        if not busy or time.monotonic() > deadline or cancelled.is_set():
            return facts, control
        if not told:
            for name, who in busy.items():
                tell(
                    f"{name}  the agent of another run is still at work: {who}; it gets"
                    f" {BUSY_SECONDS:.0f} s to end"
                )
        told = True
        cancelled.wait(PAUSE_SECONDS)


def survey(
    desk: Desk,
    progress: Progress,
    cancelled: threading.Event | None = None,
    *,
    salt: str = "",
) -> tuple[SiteFacts, ControlCondition]:
    """Return the hosts' facts, with their condition, and the control node's condition.

    Args:
        desk: Site and store.
        progress: Told of every host that has answered.
        cancelled: Once it is set, the asking ends.
        salt: For the fingerprints of the secrets' files; without it there are none.

    Raises:
        PreflightError: Somebody asked for the end.
    """
    site = desk.wanted.site
    network = site.network
    with Listener(str(network.control_address), network.depot_port) as listener:
        heard = bool(listener.greeting)
        before = last_site(desk.folder)
        given = {name: {"condition": _question(site, name, heard, before)} for name in site.hosts}
        line = Line(site, desk.folder.root)
        facts = gather_over(line, progress, cancelled, given, salt=salt)
    departed = _departed(desk, cancelled, salt)
    facts = facts.replace(departed=departed) if departed else facts
    return facts, look_at_control(desk, facts, listener)


def _departed(desk: Desk, cancelled: threading.Event | None, salt: str) -> dict[str, DepartedHost]:
    """Return the hosts that have left the site since it was last carried out, asked as well."""
    site, before = desk.wanted.site, last_site(desk.folder)
    gone = departed_hosts(before, site)
    if before is None or not gone:
        return {}
    asked = [name for name in gone if name not in desk.wanted.forget]
    line = Line(before.replace(ssh=site.ssh), desk.folder.root)
    replies = ask(line, "facts", {n: {"salt": salt} for n in asked}, cancelled=cancelled)
    found = {name: facts_of(reply) for name, reply in replies.items()}
    return {name: _as_departed(host, found.get(name)) for name, host in gone.items()}


def _as_departed(host: SiteHost, found: HostFacts | UnreachableHost | None) -> DepartedHost:
    known = found if isinstance(found, HostFacts) else None
    reason = found.reason if isinstance(found, UnreachableHost) else ""
    groups = tuple(str(group) for group in host.groups)
    return DepartedHost(address=str(host.address), groups=groups, facts=known, reason=reason)


def _question(
    site: Site,
    name: str,
    listening: bool,  # noqa: FBT001
    before: Site | None = None,
) -> dict[str, Any]:
    """Return what a host is asked about its condition.

    Args:
        site: The site.
        name: The host.
        listening: Somebody listens on the depot's port.
        before: The site as it was last carried out, if it was.
    """
    network, host = site.network, site.hosts[name]
    depot = [str(network.control_address), network.depot_port]
    return {
        "address": str(host.address),
        "depot": depot if listening else None,
        "peers": _open_peers(site, name, before),
        "floating": _floating(site, name, before),
    }


def _floating(site: Site, name: str, before: Site | None) -> dict[str, Any] | None:
    """Return the floating address and all who may hold it now, if the host takes part in it."""
    address = site.network.gateway_address
    if address is None or Group.GATEWAY not in site.hosts[name].groups:
        return None
    sites = [each for each in (site, before) if each is not None]
    gateways = {str(s.hosts[h].address) for s in sites for h in s.hosts_in(Group.GATEWAY)}
    here = str(site.hosts[name].address)
    return {"address": str(address), "here": here, "gateways": sorted(gateways)}


def _open_peers(site: Site, name: str, before: Site | None) -> list[tuple[str, int]]:
    """Return the services that a gateway's host should reach even before the run.

    Where a packet filter of ours is in force, on this host or on the other one, it lets pass what
    the site was when it was last carried out, and nothing new: that comes with the run.
    """
    peers = _peers(site, name)
    if before is None or not before.isolation.firewall:
        return peers
    filtered = {str(host.address): each for each, host in before.hosts.items()}
    here = filtered.get(str(site.hosts[name].address))
    known = _peers(before, here) if here else []
    return [
        peer
        for peer in peers
        if peer in known or (here is None and peer[0] not in filtered)
    ]  # fmt: skip


def _peers(site: Site, name: str) -> list[tuple[str, int]]:
    """Return address and port of the services on other hosts that a gateway talks to."""
    if Group.GATEWAY not in site.hosts[name].groups:
        return []
    ports = {
        Group.LLM: site.network.llm_port,
        Group.EMBEDDINGS: site.network.embeddings_port,
        Group.VECTORDB: site.network.vectordb_port,
    }
    return [
        (str(other.address), ports[group])
        for each, other in site.hosts.items()
        if each != name
        for group in other.groups
        if group in ports
    ]
