"""``bastide preflight``: are the hosts fit?"""

from __future__ import annotations

import time
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import click

from bastide.cli.context import SiteContext, load_context, site_option
from bastide.cli.output import progress, reports, stdout
from bastide.errors import PreflightError
from bastide.plan.inputs import Fingerprints, PlanInputs
from bastide.plan.memory import memory_needed
from bastide.plan.preflight import PreflightInputs, require_fit
from bastide.progress import human_bytes
from bastide.run.facts import gather
from bastide.run.wanted import NO_SECRETS
from bastide.schema.site import Group


@dataclass(frozen=True)
class HostReport:
    """What preflight saw of a host that answered."""

    host: str
    address: str
    groups: tuple[Group, ...]
    system: str
    cpus: int
    memory_bytes: int
    memory_needed: int
    free_bytes: dict[str, int]


@dataclass(frozen=True)
class PreflightReport:
    """Every host that answered, and what is wrong, if anything is."""

    site: str
    release: str
    hosts: tuple[HostReport, ...]
    error: PreflightError | None = None  # the command then fails with it


def _view(report: PreflightReport) -> None:
    console = stdout()
    console.print(f"site {report.site}, release {report.release}", markup=False)
    for host in report.hosts:
        free = ", ".join(f"{path} {human_bytes(size)}" for path, size in host.free_bytes.items())
        console.print("")
        console.print(f"{host.host} ({host.address}): {', '.join(host.groups)}", markup=False)
        console.print(f"  system  {host.system}, {host.cpus} CPUs", markup=False)
        console.print(
            f"  memory  {human_bytes(host.memory_needed)} needed, "
            f"{human_bytes(host.memory_bytes)} there",
            markup=False,
        )
        console.print(f"  free    {free}", markup=False)
    console.print("")
    if report.error is None:
        console.print("All hosts are fit. Nothing was changed.")


@click.command("preflight")
@site_option
@reports(_view)
def command(site_dir: Path) -> PreflightReport:
    """Check that every host is fit for its part, and change nothing.

    Each host is asked, over SSH, what it is. Reported, all together: hosts that are down or
    refuse the key, another system or architecture than the bundle's, too little disk (exact
    figures, by file system) or memory (weights, context and services), ports that something else
    holds, a Python or systemd that is too old, a clock that is far off.
    """
    context = load_context(site_dir)
    inputs = gather_inputs(context)
    error: PreflightError | None = None
    try:
        require_ready(context, inputs)
    except PreflightError as refused:
        error = refused
    return PreflightReport(
        site=context.site.name,
        release=context.bundle.root.release,
        hosts=_hosts(context, inputs),
        error=error,
    )


def gather_inputs(context: SiteContext, secrets: Fingerprints = NO_SECRETS) -> PlanInputs:
    """Return what a plan is made from: the context's wishes and the hosts' facts, asked now.

    Args:
        context: The site.
        secrets: What the plan may tell of its secrets; without it, hosts are not asked for theirs.
    """
    wanted = context.wanted  # before any host is asked, because mistakes show here
    facts = gather(context.site, context.folder, progress(), secrets.salt)
    return wanted.plan_inputs(facts, datetime.now(UTC).isoformat(timespec="seconds"), secrets)


def require_ready(context: SiteContext, inputs: PlanInputs) -> None:
    """Return if all hosts are fit.

    Raises:
        PreflightError: They are not; all findings are listed.
    """
    require_fit(PreflightInputs(inputs, context.target, context.cards, int(time.time())))


def _hosts(context: SiteContext, inputs: PlanInputs) -> tuple[HostReport, ...]:
    reports_ = []
    for name, host in context.site.hosts.items():
        facts = inputs.facts.hosts.get(name)
        if facts is None:
            continue
        needed = memory_needed(host.groups, context.site, context.cards)
        reports_.append(
            HostReport(
                host=name,
                address=str(host.address),
                groups=host.groups,
                system=f"{facts.distribution} {facts.distribution_version}, {facts.architecture}, "
                f"systemd {facts.systemd}, Python {facts.python}",
                cpus=facts.cpus,
                memory_bytes=facts.memory_bytes,
                memory_needed=sum(needed.values()),
                free_bytes={system.path: system.free_bytes for system in facts.file_systems},
            )
        )
    return tuple(reports_)
