"""``bastide preflight``: are the control node and the hosts fit?"""

from __future__ import annotations

import time
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

import click
from rich.console import Console

from bastide.cli.context import SiteContext, load_context, site_option
from bastide.cli.output import progress, reports, stdout
from bastide.errors import ConfigError, PreflightError
from bastide.host.files import write_atomic
from bastide.plan.inputs import Fingerprints
from bastide.plan.memory import memory_needed
from bastide.plan.preflight import (
    CONTROL,
    Outcome,
    PreflightInputs,
    Severity,
    counts,
    evaluate,
    junit,
    refusal,
)
from bastide.progress import human_bytes
from bastide.run.control import Desk
from bastide.run.survey import survey
from bastide.run.wanted import NO_SECRETS
from bastide.schema.site import Group
from bastide.site.codes import SITE_UNWRITABLE

_ORDER = {"refused": 0, "warned": 1, "passed": 2, "skipped": 3}
_STYLES = {"refused": "bold red", "warned": "yellow", "passed": "green", "skipped": "dim"}


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
class CheckReport:
    """What came of one check at one place."""

    check: str
    code: str
    where: str
    result: Literal["passed", "warned", "refused", "skipped"]
    title: str
    found: tuple[str, ...]
    hints: tuple[str, ...]


@dataclass(frozen=True)
class PreflightReport:
    """Every host that answered, every check, and what is wrong, if anything is."""

    site: str
    release: str
    hosts: tuple[HostReport, ...]
    checks: tuple[CheckReport, ...]
    counts: dict[str, int]
    seconds: float
    error: PreflightError | None = None  # the command then fails with it


def _view(report: PreflightReport) -> None:
    console = stdout()
    console.print(f"site {report.site}, release {report.release}", markup=False)
    shown = {each.host: each for each in report.hosts}
    places = dict.fromkeys(each.where for each in report.checks)
    for place in sorted(places, key=lambda each: _badness(report, each)):
        mine = [each for each in report.checks if each.where == place]
        console.print("")
        host = shown.get(place)
        title = f"{place} ({host.address}): {', '.join(host.groups)}" if host else place
        console.print(title, style="bold", markup=False)
        if host:
            _print_host(console, host)
        _print_checks(console, mine)
    console.print("")
    console.print(f"{_sentence(report.counts)}, in {report.seconds:.1f} s", markup=False)
    if report.error is None:
        console.print("All hosts are fit. Nothing was changed.")


def _badness(report: PreflightReport, place: str) -> tuple[int, int]:
    """Return what sorts the worst place first; the control node before hosts as bad."""
    mine = (_ORDER[each.result] for each in report.checks if each.where == place)
    return min(mine), 0 if place == CONTROL else 1


def _print_host(console: Console, host: HostReport) -> None:
    free = ", ".join(f"{path} {human_bytes(size)}" for path, size in host.free_bytes.items())
    needed, there = human_bytes(host.memory_needed), human_bytes(host.memory_bytes)
    console.print(f"  system  {host.system}, {host.cpus} CPUs", markup=False)
    console.print(f"  memory  {needed} needed, {there} there", markup=False)
    console.print(f"  free    {free}", markup=False)


def _print_checks(console: Console, checks: list[CheckReport]) -> None:
    """Print the findings, worst first, then how many checks there were."""
    for each in sorted(checks, key=lambda each: _ORDER[each.result]):
        for what, hint in zip(each.found, each.hints, strict=True):
            console.print(f"  {each.result:<8}", style=_STYLES[each.result], end="")
            console.print(f"{each.code}  {what}", markup=False)
            console.print(f"            → {hint}", markup=False)
    made = {name: sum(each.result == name for each in checks) for name in _ORDER}
    total = {"checks": len(checks) - made["skipped"], **made}
    console.print(f"  {_sentence(total)}", markup=False)


def _sentence(numbers: dict[str, int]) -> str:
    parts = [f"{numbers['checks']} check{'' if numbers['checks'] == 1 else 's'}"]
    parts.append(f"{numbers['passed']} passed")
    names = ("warned", "refused", "skipped")
    return ", ".join(parts + [f"{numbers[name]} {name}" for name in names if numbers[name]])


@click.command("preflight")
@site_option
@click.option("--junit", "junit_file", type=click.Path(path_type=Path, dir_okay=False),
              help="Write the result as JUnit's XML into this file as well.")  # fmt: skip
@reports(_view)
def command(site_dir: Path, junit_file: Path | None) -> PreflightReport:
    """Check that control node and hosts are fit for their parts, and change nothing.

    Each host is asked one question over SSH; nothing is written on it. All findings of all hosts
    come together, each with its code, its cause and what to do. A refused check ends the command
    with exit code 5, as it would end `bastide apply` before the first change; a warned one is
    only shown. docs/preflight.md lists the checks.
    """
    started = time.monotonic()
    context = load_context(site_dir)
    inputs = look(context)
    outcomes = evaluate(inputs)
    refused = tuple(
        each for o in outcomes for each in o.findings if each.severity is Severity.REFUSE
    )
    seconds = round(time.monotonic() - started, 2)
    if junit_file is not None:
        _write(junit_file, junit(outcomes, seconds))
    return PreflightReport(
        site=context.site.name,
        release=context.bundle.root.release,
        hosts=_hosts(context, inputs),
        checks=tuple(_report(outcome) for outcome in outcomes),
        counts=counts(outcomes),
        seconds=seconds,
        error=refusal(inputs, refused),
    )


def look(context: SiteContext, secrets: Fingerprints = NO_SECRETS) -> PreflightInputs:
    """Return what plan and preflight decide from: wishes, and what hosts and control node are now.

    Args:
        context: The site.
        secrets: What the plan may tell of its secrets; without it, hosts are not asked for theirs.

    Raises:
        ConfigError: The site asks for something that the bundle does not have.
        PreflightError: Somebody asked for the end.
    """
    wanted = context.wanted  # before any host is asked, because mistakes show here
    facts, control = survey(
        Desk(context.folder, context.home, wanted), progress(), salt=secrets.salt
    )
    plan = wanted.plan_inputs(facts, datetime.now(UTC).isoformat(timespec="seconds"), secrets)
    return PreflightInputs(plan, context.target, context.cards, int(time.time()), control)


def _write(file: Path, content: bytes) -> None:
    try:
        write_atomic(file.absolute(), content)
    except OSError as error:
        raise ConfigError(
            f"the report cannot be written to {file}: {error.strerror}",
            code=SITE_UNWRITABLE,
            hint="choose another place with --junit",
        ) from error


def _report(outcome: Outcome) -> CheckReport:
    return CheckReport(
        check=outcome.check.name,
        code=outcome.check.code,
        where=outcome.where,
        result=outcome.result,
        title=outcome.check.title,
        found=tuple(each.problem.what for each in outcome.findings),
        hints=tuple(each.problem.hint for each in outcome.findings),
    )


def _hosts(context: SiteContext, inputs: PreflightInputs) -> tuple[HostReport, ...]:
    reports_ = []
    for name, host in context.site.hosts.items():
        facts = inputs.plan.facts.hosts.get(name)
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
