"""Checks of what a host is against what the site wants of it: system, room, memory, ports."""

from __future__ import annotations

from collections.abc import Iterator

from bastide.layout import HOST_OPT, HOST_STATE
from bastide.plan import changes
from bastide.plan.memory import memory_needed
from bastide.plan.ports import service_ports as ports_of_site
from bastide.plan.preflight.check import (
    HostView,
    PreflightInputs,
    Subject,
    Trouble,
    checks_in,
    refuses,
)
from bastide.plan.services import endpoints
from bastide.schema.facts import HostFacts, Listener
from bastide.schema.site import SERVING, Group
from bastide.schema.vectordb import VectorEngine
from bastide.sizing.memory import MIB

OTHER_SYSTEM = "BAS-5005"
DISK = "BAS-5006"
MEMORY = "BAS-5007"
PORT_TAKEN = "BAS-5008"
TOO_OLD = "BAS-5009"
CLOCK = "BAS-5010"
CONTEXT = "BAS-5012"

DISK_RESERVE = 64 * MIB  # a file system is never filled to the last byte
OLDEST_SYSTEMD = 250  # LoadCredential and the sandbox settings of our units
CLOCK_SLACK_SECONDS = 12 * 3600  # certificates begin a day early; the rest is margin
OURS = {"/opt": str(HOST_OPT), "/var/lib": str(HOST_STATE)}  # may have disks of their own
_OLD = (
    "A host's Python or systemd is too old or another than the bundle's",
    "install the distribution's own `python3`; upgrade the host's system",
)


def megabytes(size: int) -> str:
    """Return an exact size with its value in MB, as disks are sold."""
    return f"{size} bytes ({size / 1e6:.1f} MB)"


@refuses(
    Subject.SITE,
    CONTEXT,
    "the model knows so long a context",
    "`sizes.llm.context_tokens` is more than the model was made for",
    "lower it, or choose another model",
)
def context_window(inputs: PreflightInputs) -> Iterator[Trouble]:
    """Compare the site's context with the model's."""
    site = inputs.plan.site
    card, tokens = inputs.cards.get(site.models.llm), site.sizes.llm.context_tokens
    if card is not None and tokens > card.context_window:
        what = (
            f"sizes.llm.context_tokens is {tokens}, but {card.name} was made for "
            f"{card.context_window} at most"
        )
        yield Trouble(what, f"lower it to {card.context_window}, or choose another model")


@refuses(
    Subject.FACTS,
    OTHER_SYSTEM,
    "distribution, version and architecture are the bundle's",
    "A host runs another distribution, version or architecture than the bundle is for",
    "take it out of `site.yaml`, or build a bundle for its platform",
)
def platform(host: HostView) -> Iterator[Trouble]:
    """Compare the host's system with the target."""
    if not _is_target(host):
        facts, target = host.facts, host.inputs.target
        wanted = f"{target.distribution} {target.version} on {target.architecture}"
        actual = f"{facts.distribution} {facts.distribution_version} on {facts.architecture}"
        hint = "take this host out of site.yaml, or build a bundle for its platform"
        yield Trouble(f"expected {wanted} (target {target.name}), found {actual}", hint)


def _is_target(host: HostView) -> bool:
    facts, target = host.facts, host.inputs.target
    version = facts.distribution_version.split(".")[0]
    wanted = (target.distribution, target.version.split(".")[0], target.architecture)
    return (facts.distribution, version, facts.architecture) == wanted


@refuses(Subject.FACTS, TOO_OLD, "Python is the bundle's", *_OLD)
def python_version(host: HostView) -> Iterator[Trouble]:
    """Compare /usr/bin/python3 with the Python that the wheels are for."""
    found, wanted = host.facts.python, host.inputs.target.python
    if _is_target(host) and _numbers(found)[:2] != _numbers(wanted)[:2]:
        hint = "install the distribution's own python3; the bundle's wheels are for it"
        yield Trouble(f"/usr/bin/python3 should be {wanted}, found {found}", hint)


@refuses(Subject.FACTS, TOO_OLD, "systemd is new enough", *_OLD)
def systemd_version(host: HostView) -> Iterator[Trouble]:
    """Compare systemd's version with what our units need."""
    found = host.facts.systemd
    if found < OLDEST_SYSTEMD:
        what = f"systemd should be {OLDEST_SYSTEMD} or newer, found {found}"
        yield Trouble(what, "upgrade the host's system")


@refuses(
    Subject.FACTS,
    CLOCK,
    "the clock agrees with the control node's",
    "A host's clock is more than 12 h off the control node's",
    "set the wrong clock right; certificates would be refused",
)
def clock(host: HostView) -> Iterator[Trouble]:
    """Compare the host's clock with the control node's."""
    here, there = host.inputs.unix_time, host.facts.unix_time
    if here is None or there is None or abs(there - here) <= CLOCK_SLACK_SECONDS:
        return
    way = "ahead of" if there > here else "behind"
    off = abs(there - here) / 3600
    what = f"its clock is {off:.1f} h {way} the control node's; at most 12 h will do"
    yield Trouble(what, "set the wrong clock right: certificates would be refused")


@refuses(
    Subject.FACTS,
    DISK,
    "there is room for what comes",
    "Too little disk on a host; the message has the exact figure by file system",
    "free that much, or enlarge the file system",
)
def disk(host: HostView) -> Iterator[Trouble]:
    """Compare what is needed with what is free, file system by file system."""
    if host.is_settled:
        return
    devices: dict[str, dict[str, int]] = {}
    free: dict[str, int] = {}
    for path, size in changes.disk(host.needs, host.facts).items():
        system = _file_system(path, host.facts)
        if system is None:
            continue
        device, room = system
        devices.setdefault(device, {})[path] = size
        free[device] = room
    for device, paths in devices.items():
        wanted = sum(paths.values()) + DISK_RESERVE
        if wanted > free[device]:
            parts = ", ".join(f"{path} {size}" for path, size in sorted(paths.items()))
            what = (
                f"too little disk on {device} (holds {', '.join(sorted(paths))}): needs "
                f"{megabytes(wanted)}, has {megabytes(free[device])} free; in bytes: {parts}, "
                f"reserve {DISK_RESERVE}"
            )
            yield Trouble(
                what, f"free {megabytes(wanted - free[device])} there, or enlarge the file system"
            )


def _file_system(path: str, facts: HostFacts) -> tuple[str, int] | None:
    """Return device and free bytes of the file system that holds what is written below ``path``.

    The host's condition knows where our own folders are or would be; without it, facts name /opt,
    /var/lib and /etc, and the rest is taken to be on the root file system, with /etc.
    """
    if facts.condition:
        place = facts.condition.place(OURS.get(path, path))
        if place:
            return place.device, place.free_bytes
    known = {system.path: (system.device, system.free_bytes) for system in facts.file_systems}
    return known.get(path) or known.get("/") or known.get("/etc")


@refuses(
    Subject.FACTS,
    MEMORY,
    "there is memory for weights, context and services",
    "Too little memory on a host for weights, context and services",
    "lower `sizes.llm`, choose a smaller model, or move a group to another host",
)
def memory(host: HostView) -> Iterator[Trouble]:
    """Compare what the host's services need with its memory."""
    parts = memory_needed(host.needs.groups, host.site, host.inputs.cards)
    wanted = sum(parts.values())
    if wanted > host.facts.memory_bytes:
        detail = ", ".join(f"{what} {size / 1e6:.0f} MB" for what, size in parts.items())
        yield Trouble(
            f"too little memory: needs {megabytes(wanted)}, has "
            f"{megabytes(host.facts.memory_bytes)} ({detail})",
            "lower sizes.llm.parallel or context_tokens, choose a smaller model, or move a group",
        )


@refuses(
    Subject.FACTS,
    PORT_TAKEN,
    "the services' ports are free",
    "A port that a service needs is taken; the message names process and unit",
    "stop that process, or choose another port under `network`",
)
def ports(host: HostView) -> Iterator[Trouble]:
    """Look for others that listen where our services will."""
    wanted = service_ports(host)
    for group in host.needs.groups:
        for listener in host.facts.listeners if group in SERVING else ():
            if listener.port == wanted[group] and not _is_ours(listener, group):
                yield _port_taken(listener, group, f"network.{group}_port")


@refuses(
    Subject.FACTS,
    PORT_TAKEN,
    "the ports of monitoring and of the gateway's metrics are free",
    "A port that a service needs is taken; the message names process and unit",
    "stop that process, or choose another port under `network`",
)
def metrics_ports(host: HostView) -> Iterator[Trouble]:
    """Look for others that listen where metrics are given and collected."""
    for each in endpoints(host.site, host.needs.host):
        fixed = each.port not in service_ports(host).values() or each.name == "prometheus"
        for listener in host.facts.listeners if fixed and each.unit in host.needs.units else ():
            if listener.port == each.port and listener.unit != each.unit:
                what = f"port {each.port}, which is needed for {each.name}, is taken by process "
                unit = f" of unit {listener.unit}" if listener.unit else ""
                yield Trouble(f"{what}{listener.process or 'unknown'}{unit}", "stop it")


@refuses(
    Subject.FACTS,
    PORT_TAKEN,
    "the vector DB's ports for gRPC and for its peers are free",
    "A port that a service needs is taken; the message names process and unit",
    "stop that process, or choose another port under `vectordb`",
)
def vector_server_ports(host: HostView) -> Iterator[Trouble]:
    """Look for others that listen where Qdrant's own server will, beside its REST API."""
    rules = host.site.vectordb
    if Group.VECTORDB not in host.needs.groups or rules.engine is not VectorEngine.SERVER:
        return
    wanted = {"grpc_port": rules.grpc_port}
    if len(host.site.hosts_in(Group.VECTORDB)) > 1:
        wanted["peer_port"] = rules.peer_port
    for name, port in wanted.items():
        for listener in host.facts.listeners:
            if listener.port == port and not _is_ours(listener, Group.VECTORDB):
                yield _port_taken(listener, Group.VECTORDB, f"vectordb.{name}")


def service_ports(host: HostView) -> dict[Group, int]:
    """Return the port of each service of the site whose port the site chooses."""
    found = ports_of_site(host.site)
    return {group: found[group] for group in SERVING}


def _port_taken(listener: Listener, group: Group, setting: str) -> Trouble:
    unit = f" of unit {listener.unit}" if listener.unit else ""
    what = (
        f"port {listener.port}, which the service '{group}' needs, is taken by "
        f"process {listener.process or 'unknown'}{unit} (listening on {listener.address})"
    )
    stop = f"stop it (systemctl disable --now {listener.unit})" if unit else "stop it"
    return Trouble(what, f"{stop}, or choose another {setting} in site.yaml")


def _is_ours(listener: Listener, group: Group) -> bool:
    return listener.unit == f"bastide-{group}.service"


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split(".") if part.isdigit())


CHECKS = checks_in(globals())
