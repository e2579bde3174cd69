"""What hosts have recorded → a statement about the site's isolation. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from ipaddress import ip_address
from typing import Any

from bastide.plan.flows import host_rules
from bastide.schema.isolation_report import (
    NAME_PORTS,
    Control,
    IsolationStatement,
    Seen,
    Sender,
    WatchedHost,
)
from bastide.schema.site import Site

CONTROL_TARGET = "192.0.2.1"  # of TEST-NET-1, as the host agent's control has it
MOST_FAULTS = 5  # of one kind that are told in full


def watched_host(site: Site, name: str, record: Mapping[str, Any]) -> WatchedHost:
    """Return what was seen on a host.

    Args:
        site: The site.
        name: The host's name.
        record: What the host agent's recorder wrote, with the controls.
    """
    controls = record["controls"]
    ports = {port for control in controls for port in control["ports"]}
    return WatchedHost(
        host=name,
        networks=tuple(record["networks"]),
        since=record["wire"]["since"],
        until=record["updated"],
        log_since=record["log"]["since"],
        lost=record["wire"]["lost"] + record["log"]["lost"],
        overflow=record["overflow"],
        controls=tuple(
            Control(wire=each["wire"], log=each["log"], lookup=each["lookup"]) for each in controls
        ),
        seen=tuple(_seen(site, name, event, ports) for event in record["events"]),
    )


def _seen(site: Site, host: str, event: Mapping[str, Any], ports: set[int]) -> Seen:
    return Seen.model_validate(
        {
            "verdict": _verdict(site, host, event, ports),
            "sender": Sender(
                **{key: event.get(key, "") for key in ("user", "process", "program", "unit")},
                pids=event["pids"],
            ),
            **{key: event[key] for key in ("protocol", "target", "port", "lookup")},
            **{key: event[key] for key in ("wire", "log", "first", "last")},
        }
    )


def _verdict(site: Site, host: str, event: Mapping[str, Any], ports: set[int]) -> str:
    ours = set(event["ports"]) <= ports and (event["ports"] or event["protocol"] == "arp")
    if event["target"] == CONTROL_TARGET and ports and ours:
        return "control"
    if event["port"] in NAME_PORTS and event["protocol"] in {"tcp", "udp"}:
        return "allowed" if _is_named(site, host, event) else "lookup"
    return "left" if event["wire"] else "attempt"


def _is_named(site: Site, host: str, event: Mapping[str, Any]) -> bool:
    """Return whether the site lets the host ask that server for names."""
    target = ip_address(event["target"])
    return any(
        (rule.direction, rule.protocol, rule.port) == ("out", event["protocol"], event["port"])
        and any(target in network for network in rule.networks)
        for rule in host_rules(site, host)
    )


def faults(hosts: Iterable[WatchedHost]) -> tuple[str, ...]:
    """Return why isolation is not proved; none if it is."""
    found: list[str] = []
    for host in hosts:
        found += [f"{host.host}: {fault}" for fault in _faults(host)]
    return tuple(found)


def _faults(host: WatchedHost) -> list[str]:
    found = []
    for verdict, words in (
        ("left", "left for"),
        ("attempt", "were stopped on their way to"),
        ("lookup", "asked for a name of"),
    ):
        events = [event for event in host.seen if event.verdict == verdict]
        found += [_words(event, words) for event in events[:MOST_FAULTS]]
        if len(events) > MOST_FAULTS:
            found.append(f"and {len(events) - MOST_FAULTS} more of this kind")
    if host.lost:
        found.append(f"{host.lost} packets could not be looked at")
    if host.overflow:
        found.append(f"{host.overflow} more kinds of packets than are kept")
    if not host.controls:
        found.append("no control has shown that the recorder sees")
    for control in host.controls:
        if not control.wire or control.log is False or control.lookup is False:
            found.append("the recorder did not see a packet that was sent on purpose")
    return found


def _words(event: Seen, words: str) -> str:
    count = max(event.wire, event.log)
    sender = event.sender
    who = sender.process or "a process that had ended"
    detail = ", ".join(part for part in (sender.unit, f"user {sender.user}" * bool(sender.user))
                       if part)  # fmt: skip
    port = f" port {event.port}" if event.port else ""
    name = f" ({event.lookup})" if event.lookup else ""
    by = f"{who} ({detail})" if detail else who
    return f"{count} {event.protocol} packets {words} {event.target}{port}{name}, by {by}"


def statement(
    site: Site, hosts: Iterable[WatchedHost], *, made: datetime, version: str, around: str
) -> IsolationStatement:
    """Return what can be said of the site's isolation.

    Args:
        site: The site.
        hosts: What was seen on each.
        made: The present time.
        version: Bastide's.
        around: The command that went on meanwhile; empty if none.
    """
    every = tuple(hosts)
    return IsolationStatement(
        site=site.name, made=made, bastide=version, around=around, hosts=every, faults=faults(every)
    )
