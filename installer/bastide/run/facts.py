"""Asks every host what it is, and whether there is anything to do on it; reads only."""

from __future__ import annotations

import re
import threading
from collections.abc import Mapping
from typing import Any, Literal

from pydantic import ValidationError

from bastide.errors import PreflightError
from bastide.layout import SiteFolder
from bastide.progress import Progress
from bastide.run.ask import Line, Reply, ask
from bastide.schema.facts import HostFacts, SiteFacts, UnreachableHost
from bastide.schema.site import Site

CANCELLED = "BAS-5063"

_DENIED = re.compile(
    r"permission denied|host key verification failed|no such identity|too many authentication"
    r"|identification has changed|no .*host key is known|load key|password is required"
    r"|a password is required|sudo",
    re.IGNORECASE,
)
_NOISE = re.compile(r"^(warning:(?! remote host)|@{3,})", re.IGNORECASE)


def gather(site: Site, folder: SiteFolder, progress: Progress, salt: str = "") -> SiteFacts:
    """Return the facts of all hosts of the site; changes nothing on them.

    Args:
        site: The site.
        folder: Its folder, to which the paths in ``site.yaml`` are relative.
        progress: Told of every host that has answered.
        salt: For the fingerprints of the secrets' files; without it there are none.
    """
    return gather_over(Line(site, folder.root), progress, salt=salt)


def gather_over(
    line: Line,
    progress: Progress,
    cancelled: threading.Event | None = None,
    given: Mapping[str, Mapping[str, Any]] | None = None,
    *,
    salt: str = "",
) -> SiteFacts:
    """Return the facts of all hosts, asked over an existing line.

    Args:
        line: How the hosts are reached.
        progress: Told of every host that has answered.
        cancelled: Once it is set, the asking ends.
        given: What each host is told besides; with ``condition`` it tells its condition as well.
        salt: For the fingerprints of the secrets' files; without it there are none.

    Raises:
        PreflightError: Somebody asked for the end.
    """
    hosts = line.site.hosts
    told = {host: {"salt": salt, **(given or {}).get(host, {})} for host in hosts}
    with progress.task("ask hosts", total=len(hosts), unit="steps") as task:

        def tell(host: str, _reply: Reply) -> None:
            task.describe(host)
            task.advance(1)

        replies = ask(line, "facts", told, tell, cancelled)
    if cancelled is not None and cancelled.is_set():
        raise PreflightError(
            "stopped while the hosts were asked; nothing was changed", code=CANCELLED
        )
    read = {host: facts_of(replies[host]) for host in hosts}
    return SiteFacts(
        hosts={host: found for host, found in read.items() if isinstance(found, HostFacts)},
        unreachable={
            host: found for host, found in read.items() if isinstance(found, UnreachableHost)
        },
    )


def facts_of(reply: Reply) -> HostFacts | UnreachableHost:
    """Return the facts in a host's reply, or why there are none."""
    if not reply.reached:
        return explain_unreachable(reply.words, "unreachable")
    error = reply.answer.get("error")
    if isinstance(error, dict):
        return UnreachableHost(reason=str(error.get("message", "")), kind="failed")
    if not reply.answer:
        return explain_unreachable(reply.words, "failed")
    try:
        return HostFacts.model_validate(reply.answer)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        message = f"the host agent's facts are not as expected: {where}: {first['msg']}"
        return UnreachableHost(reason=message, kind="failed")


def not_settled(
    line: Line, given: Mapping[str, Mapping[str, Any]], cancelled: threading.Event
) -> dict[str, str]:
    """Return the hosts on which there is something to do, each with the first reason.

    Args:
        line: How the hosts are reached.
        given: What each host should be: ``stage``, ``groups`` and ``secrets`` (SHA-256 by name).
        cancelled: Once it is set, the asking ends.
    """
    replies = ask(line, "settled", given, cancelled=cancelled)
    silent = Reply({}, 1, "it was not asked to the end")
    found = {host: replies.get(host, silent) for host in given}
    return {
        host: str(reply.answer.get("why_not") or reply.words or "it gave no answer")
        for host, reply in found.items()
        if reply.answer.get("settled") is not True
    }


def explain_unreachable(message: str, kind: Literal["unreachable", "failed"]) -> UnreachableHost:
    """Return why a host gave no facts: the most telling line, and of which kind it is.

    Args:
        message: What ssh, Ansible or the host agent said.
        kind: How Ansible called it.
    """
    lines = [line.strip("@ \t\r") for line in message.splitlines()]
    lines = [line for line in lines if line]
    useful = [line for line in lines if not _NOISE.match(line)] or lines or ["no reason given"]
    telling = next((line for line in useful if _DENIED.search(line)), useful[-1])
    if kind == "unreachable":
        denied = _DENIED.search(message) is not None
        return UnreachableHost(reason=telling, kind="denied" if denied else "unreachable")
    if re.search(r"python3?: (command )?not found|No such file.*python|not found.*python", message):
        return UnreachableHost(
            reason="/usr/bin/python3 is missing on the host; Ansible needs it", kind="failed"
        )
    return UnreachableHost(reason=telling, kind="failed")
