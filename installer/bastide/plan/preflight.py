"""Are the hosts fit for what the site wants of them? Every finding of every host, at once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from bastide.errors import PreflightError, Problem
from bastide.plan import changes
from bastide.plan.inputs import PlanInputs
from bastide.plan.memory import memory_needed
from bastide.plan.needs import HostNeeds, generation_digest, host_needs
from bastide.schema.facts import HostFacts, Listener, UnreachableHost
from bastide.schema.model_card import ModelCard
from bastide.schema.site import Group, Site
from bastide.schema.target import Target
from bastide.sizing.memory import MIB

UNFIT = "BAS-5001"  # findings of several kinds
UNREACHABLE = "BAS-5003"
REFUSED = "BAS-5004"
OTHER_SYSTEM = "BAS-5005"
DISK = "BAS-5006"
MEMORY = "BAS-5007"
PORT_TAKEN = "BAS-5008"
TOO_OLD = "BAS-5009"
CLOCK = "BAS-5010"
NO_AGENT = "BAS-5011"
CONTEXT = "BAS-5012"

DISK_RESERVE = 64 * MIB  # a file system is never filled to the last byte
OLDEST_SYSTEMD = 250  # LoadCredential and the sandbox settings of our units
CLOCK_SLACK_SECONDS = 12 * 3600  # certificates begin a day early; the rest is margin


@dataclass(frozen=True)
class Finding:
    """One reason why a host is not fit.

    Args:
        code: Its stable code.
        problem: Host, what is wrong, what to do.
    """

    code: str
    problem: Problem


@dataclass(frozen=True)
class PreflightInputs:
    """What preflight decides from.

    Args:
        plan: What a plan is made from, facts included.
        target: What the hosts should be.
        cards: The release's model cards, by model name.
        unix_time: The control node's clock, in seconds since 1970; None skips that check.
    """

    plan: PlanInputs
    target: Target
    cards: Mapping[str, ModelCard]
    unix_time: int | None = None


def check(inputs: PreflightInputs) -> tuple[Finding, ...]:
    """Return every reason why a host of the site is not fit; none if all are.

    Raises:
        ConfigError: The bundle does not carry a chosen model.
    """
    plan = inputs.plan
    found = _context(plan.site, inputs.cards)
    for needs in host_needs(plan.site, plan.manifest, plan.trees, plan.replaces):
        facts = plan.facts.hosts.get(needs.host)
        if facts is None:
            found.append(_silent(needs.host, plan.facts.unreachable.get(needs.host), plan.site))
            continue
        found += _system(needs.host, facts, inputs.target)
        found += _clock(needs.host, facts, inputs.unix_time)
        found += _disk(needs, facts)
        found += _memory(needs, facts, inputs)
        found += _ports(needs, facts, plan.site)
    return tuple(found)


def require_fit(inputs: PreflightInputs) -> None:
    """Return if all hosts are fit.

    Raises:
        PreflightError: They are not; its code is the findings' own if they are all of one kind.
        ConfigError: The bundle does not carry a chosen model.
    """
    found = check(inputs)
    if not found:
        return
    codes = {finding.code for finding in found}
    hosts = {finding.problem.where for finding in found} & set(inputs.plan.site.hosts)
    total = len(inputs.plan.site.hosts)
    unfit = f"{len(hosts)} of {total} {'host is' if total == 1 else 'hosts are'} not fit"
    raise PreflightError(
        f"{unfit if hosts else 'the site cannot work as it is described'}; nothing was changed",
        code=codes.pop() if len(codes) == 1 else UNFIT,
        hint="put right what is listed, then run `bastide preflight` again",
        problems=tuple(finding.problem for finding in found),
    )


def megabytes(size: int) -> str:
    """Return an exact size with its value in MB, as disks are sold."""
    return f"{size} bytes ({size / 1e6:.1f} MB)"


def _silent(host: str, lost: UnreachableHost | None, site: Site) -> Finding:
    ssh, address = site.ssh, site.hosts[host].address
    reason = lost.reason if lost else "no answer was recorded"
    kind = lost.kind if lost else "failed"
    if kind == "unreachable":
        return Finding(
            UNREACHABLE,
            Problem(
                host,
                f"cannot be reached at {address} port {ssh.port}: {reason}",
                "check that it is up, its address in site.yaml, and the network between",
            ),
        )
    if kind == "denied":
        return Finding(
            REFUSED,
            Problem(
                host,
                f"refuses the login of {ssh.user} with key {ssh.private_key}: {reason}",
                f"put {ssh.private_key}.pub into {ssh.user}'s authorized_keys on {host}; "
                f"if its host key changed, correct {ssh.known_hosts}",
            ),
        )
    return Finding(
        NO_AGENT,
        Problem(
            host,
            f"answers, but could not be asked: {reason}",
            "/usr/bin/python3 must be there, and the user must be root or have sudo",
        ),
    )


def _context(site: Site, cards: Mapping[str, ModelCard]) -> list[Finding]:
    card, tokens = cards.get(site.models.llm), site.sizes.llm.context_tokens
    if card is None or tokens <= card.context_window:
        return []
    what = (
        f"sizes.llm.context_tokens is {tokens}, but {card.name} was made for "
        f"{card.context_window} at most"
    )
    hint = f"lower it to {card.context_window}, or choose another model"
    return [Finding(CONTEXT, Problem("site.yaml", what, hint))]


def _system(host: str, facts: HostFacts, target: Target) -> list[Finding]:
    found = []
    wanted = f"{target.distribution} {target.version} on {target.architecture}"
    version = facts.distribution_version.split(".")[0]
    actual = f"{facts.distribution} {facts.distribution_version} on {facts.architecture}"
    if (facts.distribution, version, facts.architecture) != (
        target.distribution,
        target.version.split(".")[0],
        target.architecture,
    ):
        hint = "take this host out of site.yaml, or build a bundle for its platform"
        what = f"expected {wanted} (target {target.name}), found {actual}"
        found.append(Finding(OTHER_SYSTEM, Problem(host, what, hint)))
    elif _numbers(facts.python)[:2] != _numbers(target.python)[:2]:
        what = f"/usr/bin/python3 should be {target.python}, found {facts.python}"
        hint = "install the distribution's own python3; the bundle's wheels are for it"
        found.append(Finding(TOO_OLD, Problem(host, what, hint)))
    if facts.systemd < OLDEST_SYSTEMD:
        what = f"systemd should be {OLDEST_SYSTEMD} or newer, found {facts.systemd}"
        found.append(Finding(TOO_OLD, Problem(host, what, "upgrade the host's system")))
    return found


def _clock(host: str, facts: HostFacts, unix_time: int | None) -> list[Finding]:
    if unix_time is None or facts.unix_time is None:
        return []
    skew = facts.unix_time - unix_time
    if abs(skew) <= CLOCK_SLACK_SECONDS:
        return []
    way = "ahead of" if skew > 0 else "behind"
    what = f"its clock is {abs(skew) / 3600:.1f} h {way} the control node's; at most 12 h will do"
    hint = "set the wrong clock right: certificates would be refused"
    return [Finding(CLOCK, Problem(host, what, hint))]


def _disk(needs: HostNeeds, facts: HostFacts) -> list[Finding]:
    """Compare what is needed with what is free, file system by file system."""
    intact = facts.generation_digest == generation_digest(needs) and not changes.damage(
        needs, facts
    )
    if intact:
        return []
    devices: dict[str, dict[str, int]] = {}
    free: dict[str, int] = {}
    for path, size in changes.disk(needs, facts).items():
        system = _file_system(path, facts)
        if system is None:
            continue
        device, room = system
        devices.setdefault(device, {})[path] = size
        free[device] = room
    found = []
    for device, paths in devices.items():
        wanted = sum(paths.values()) + DISK_RESERVE
        if wanted > free[device]:
            parts = ", ".join(f"{path} {size}" for path, size in sorted(paths.items()))
            what = (
                f"too little disk on {device} (holds {', '.join(sorted(paths))}): needs "
                f"{megabytes(wanted)}, has {megabytes(free[device])} free; in bytes: {parts}, "
                f"reserve {DISK_RESERVE}"
            )
            hint = f"free {megabytes(wanted - free[device])} there, or enlarge the file system"
            found.append(Finding(DISK, Problem(needs.host, what, hint)))
    return found


def _file_system(path: str, facts: HostFacts) -> tuple[str, int] | None:
    """Return device and free bytes of the file system that holds ``path``.

    Facts name /opt, /var/lib and /etc; what is not below one of them is taken to be on the root
    file system, with /etc.
    """
    for system in facts.file_systems:
        if system.path == path:
            return system.device, system.free_bytes
    for fallback in ("/", "/etc"):
        for system in facts.file_systems:
            if system.path == fallback:
                return system.device, system.free_bytes
    return None


def _memory(needs: HostNeeds, facts: HostFacts, inputs: PreflightInputs) -> list[Finding]:
    parts = memory_needed(needs.groups, inputs.plan.site, inputs.cards)
    wanted = sum(parts.values())
    if wanted <= facts.memory_bytes:
        return []
    detail = ", ".join(f"{what} {size / 1e6:.0f} MB" for what, size in parts.items())
    what = (
        f"too little memory: needs {megabytes(wanted)}, has {megabytes(facts.memory_bytes)} "
        f"({detail})"
    )
    hint = "lower sizes.llm.parallel or context_tokens, choose a smaller model, or move a group"
    return [Finding(MEMORY, Problem(needs.host, what, hint))]


def _ports(needs: HostNeeds, facts: HostFacts, site: Site) -> list[Finding]:
    network = site.network
    ports = {
        Group.LLM: network.llm_port,
        Group.EMBEDDINGS: network.embeddings_port,
        Group.VECTORDB: network.vectordb_port,
        Group.GATEWAY: network.gateway_port,
    }
    found = []
    for group in needs.groups:
        for listener in facts.listeners:
            if listener.port != ports[group] or _is_ours(listener, group):
                continue
            who = f"process {listener.process or 'unknown'}"
            unit = f" of unit {listener.unit}" if listener.unit else ""
            what = (
                f"port {listener.port}, which the service '{group}' needs, is taken by "
                f"{who}{unit} (listening on {listener.address})"
            )
            stop = f"stop it (systemctl disable --now {listener.unit})" if unit else "stop it"
            hint = f"{stop}, or choose another network.{group}_port in site.yaml"
            found.append(Finding(PORT_TAKEN, Problem(needs.host, what, hint)))
    return found


def _is_ours(listener: Listener, group: Group) -> bool:
    return listener.unit == f"bastide-{group}.service"


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split(".") if part.isdigit())
