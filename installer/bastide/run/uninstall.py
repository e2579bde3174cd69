"""Takes Bastide off hosts: asks what is there, lets each host remove it, asks again.

Over plain SSH and without a plan: it must work where an apply broke off, no bundle is left, or
generations are of another version. The agent finds out on the host itself what there is.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from bastide.progress import Progress
from bastide.run.ask import Line, Reply, ask
from bastide.run.facts import explain_unreachable
from bastide.schema.leftovers import Leftovers
from bastide.schema.site import Group

SECONDS = 3600.0  # for one host: stopping services and removing packages takes minutes at most


@dataclass(frozen=True)
class HostListing:
    """What one host has of Bastide.

    Args:
        host: Its name.
        found: What there is; None if the host did not say.
        reason: Why it did not.
    """

    host: str
    found: Leftovers | None
    reason: str = ""


@dataclass(frozen=True)
class HostUninstalled:
    """What one host removed.

    Args:
        host: Its name.
        removed: What there was; None if nothing could be done there.
        left: What is there still; None if the host did not say.
        faults: What programs said that did not do as they were told.
    """

    host: str
    removed: Leftovers | None
    left: Leftovers | None
    faults: tuple[str, ...] = ()

    def is_clean(self, *, delete_data: bool) -> bool:
        """Return whether nothing is left but what should be."""
        if self.left is None:
            return False
        return not self.left.things and (not delete_data or not self.left.data)


def list_hosts(line: Line, hosts: Iterable[str], progress: Progress) -> tuple[HostListing, ...]:
    """Ask hosts what they have of Bastide; changes nothing."""
    given: dict[str, Mapping[str, Any]] = {host: {} for host in hosts}
    with progress.task("ask hosts", total=len(given), unit="steps") as task:

        def tell(host: str, _reply: Reply) -> None:
            task.describe(host)
            task.advance(1)

        replies = ask(line, "uninstall-list", given, tell)
    return tuple(_listing(host, replies.get(host)) for host in given)


def _listing(host: str, reply: Reply | None) -> HostListing:
    if reply is None:
        return HostListing(host, None, "it was not asked to the end")
    try:
        return HostListing(host, Leftovers.model_validate(dict(reply.answer)))
    except ValidationError:
        return HostListing(host, None, _why(reply))


def _why(reply: Reply) -> str:
    error = reply.answer.get("error")
    if isinstance(error, dict):
        return str(error.get("message", ""))
    return explain_unreachable(reply.words, "unreachable").reason


def uninstall_hosts(
    line: Line, hosts: Iterable[str], progress: Progress, *, delete_data: bool
) -> tuple[HostUninstalled, ...]:
    """Let hosts remove everything of Bastide, gateways first: clients are refused, not failed.

    Args:
        line: How hosts are reached.
        hosts: Which.
        progress: Told of every host that is done.
        delete_data: Whether declared data goes, too.
    """
    wanted = list(hosts)
    gateways = [host for host in wanted if Group.GATEWAY in line.site.hosts[host].groups]
    others = [host for host in wanted if host not in gateways]
    found: dict[str, HostUninstalled] = {}
    with progress.task("uninstall", total=len(wanted), unit="steps") as task:

        def tell(host: str, _reply: Reply) -> None:
            task.describe(host)
            task.advance(1)

        for batch in filter(None, (gateways, others)):
            given = {host: {"delete_data": delete_data} for host in batch}
            replies = ask(line, "uninstall", given, tell, threading.Event(), SECONDS)
            found |= {host: _uninstalled(host, replies.get(host)) for host in batch}
    return tuple(found[host] for host in wanted)


def _uninstalled(host: str, reply: Reply | None) -> HostUninstalled:
    if reply is None:
        return HostUninstalled(host, None, None, ("it was not asked to the end",))
    try:
        return HostUninstalled(
            host,
            Leftovers.model_validate(reply.answer["before"]),
            Leftovers.model_validate(reply.answer["after"]),
            tuple(str(each) for each in reply.answer.get("faults", ())),
        )
    except (KeyError, ValidationError):
        return HostUninstalled(host, None, None, (_why(reply),))
