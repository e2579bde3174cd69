"""Speaks to the gateways' hosts: brings clients' keys, asks for the audit log. No restarts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from bastide.run.ask import Line, Reply, ask
from bastide.schema.site import Group

State = Literal["live", "kept", "pending"]
SECONDS = 30.0  # a gateway that does not answer must not keep an operator waiting
_MEANING: Mapping[str, tuple[State, str]] = {
    "live": ("live", ""),
    "stopped": ("kept", "the gateway does not run; it reads the keys when it starts"),
    "older": ("kept", "the gateway was installed by an earlier Bastide: `bastide apply` first"),
}


@dataclass(frozen=True)
class GatewayKeys:
    """Whether one gateway knows the keys.

    Args:
        host: Its host.
        state: ``live``: from its next request on; ``kept``: from its next start on; ``pending``:
            not yet, the next `bastide apply` brings them.
        why: Why it is not ``live``.
    """

    host: str
    state: State
    why: str = ""


@dataclass(frozen=True)
class AuditAnswer:
    """One gateway's log.

    Args:
        host: Its host.
        entries: The newest requests, oldest first, as the gateway wrote them.
        usage: Sums by day and identity.
        lost: Lines that the running gateway could not write; None if that is not known.
        why: Why there is nothing; empty if it answered.
    """

    host: str
    entries: tuple[Mapping[str, Any], ...] = ()
    usage: tuple[Mapping[str, Any], ...] = ()
    lost: int | None = None
    why: str = ""


def push_keys(line: Line, keys: str) -> tuple[GatewayKeys, ...]:
    """Bring the keys to all gateways at once; one that cannot be reached keeps nobody waiting.

    Args:
        line: How the hosts are reached.
        keys: The whole map, digests only.
    """
    hosts = line.site.hosts_in(Group.GATEWAY)
    replies = ask(line, "keys", {host: {"keys": keys} for host in hosts}, seconds=SECONDS)
    return tuple(_state(host, replies.get(host)) for host in hosts)


def read_audit(line: Line, given: Mapping[str, Any]) -> tuple[AuditAnswer, ...]:
    """Return every gateway's log of a time.

    Args:
        line: How the hosts are reached.
        given: ``since``, ``until`` (seconds since 1970), ``identity`` and ``limit``.
    """
    hosts = line.site.hosts_in(Group.GATEWAY)
    replies = ask(line, "audit", dict.fromkeys(hosts, given))
    found = []
    for host in hosts:
        reply = replies.get(host)
        if reply is None or "usage" not in reply.answer:
            found.append(AuditAnswer(host, why=_why(reply)))
        else:
            answer = reply.answer
            entries, usage = tuple(answer["entries"]), tuple(answer["usage"])
            found.append(AuditAnswer(host, entries, usage, answer.get("lost")))
    return tuple(found)


def _state(host: str, reply: Reply | None) -> GatewayKeys:
    if reply is None or "state" not in reply.answer:
        return GatewayKeys(host, "pending", _why(reply))
    state, why = _MEANING[reply.answer["state"]]
    return GatewayKeys(host, state, why)


def _why(reply: Reply | None) -> str:
    if reply is None:
        return "it gave no answer"
    error = reply.answer.get("error")
    if isinstance(error, Mapping):
        return str(error.get("message", ""))
    lines = [line for line in reply.words.strip().splitlines() if line.strip()]
    return lines[-1] if lines else "it gave no answer"
