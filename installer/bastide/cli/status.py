"""``bastide status``: what each host runs."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import click

from bastide.cli.context import find_bundle, load_context, require_ssh_files, site_option
from bastide.cli.ledger_view import LedgerView, load_ledger, show_ledger
from bastide.cli.output import progress, reports, stdout
from bastide.errors import BundleError, ConfigError
from bastide.layout import Home, SiteFolder
from bastide.plan.needs import host_needs
from bastide.plan.planner import plan_host
from bastide.progress import human_bytes
from bastide.run.facts import gather
from bastide.schema.facts import DataSnapshot, HostFacts, SiteFacts, Transition
from bastide.schema.plan import CertificateChange, HostPlan
from bastide.schema.site import Group, Site
from bastide.site.codes import NOT_IMPORTED
from bastide.site.config import load_site
from bastide.site.secrets import renew_in_memory
from bastide.store import Store, StoredBundle
from bastide.trust.verifier import Trust

UNITS_OK = "active"


@dataclass(frozen=True)
class GenerationStatus:
    """One generation on a host.

    Args:
        number: Its number.
        live: Whether the host runs it.
        good_since: When it passed its gates, by the host's clock; empty if it has not.
        run: The run that proved it.
    """

    number: int
    live: bool
    good_since: str = ""
    run: str = ""


@dataclass(frozen=True)
class HostStatus:
    """One host as it is now.

    Args:
        host: Its name.
        address: Its address.
        groups: What the site wants it to do.
        reachable: Whether it answered.
        state: ``up to date``, ``drifted``, ``under way`` (a switch
            was cut off), ``differs`` (a plan would change it), ``empty``,
            ``unknown`` (no imported bundle to compare with) or ``unreachable``.
        reason: Why it did not answer.
        release: The release that its generation is of; empty if not known.
        generation: Its current generation.
        units: Its units' active states.
        drift: What differs from its own generation.
        generations: All that are built on it, newest first.
        under_way: The switch that a run was cut off in; none if there is none.
        snapshots: Snapshots of the vector DB's data.
    """

    host: str
    address: str
    groups: tuple[Group, ...]
    reachable: bool
    state: str
    reason: str = ""
    release: str = ""
    generation: int | None = None
    units: dict[str, str] | None = None
    drift: tuple[str, ...] = ()
    generations: tuple[GenerationStatus, ...] = ()
    under_way: Transition | None = None
    snapshots: tuple[DataSnapshot, ...] = ()


@dataclass(frozen=True)
class SiteStatus:
    """The whole site as it is now.

    Args:
        site: Its name.
        wanted_release: What ``site.yaml`` asks for.
        healthy: Whether all hosts answer and their units run.
        hosts: Each host.
        bundle: Digest of the imported bundle that it runs; empty if there is none.
        trust: What was proved of that bundle's origin when it came in.
        certificates: Certificates that are due, or that a person must see to.
    """

    site: str
    wanted_release: str
    healthy: bool
    hosts: tuple[HostStatus, ...]
    bundle: str = ""
    trust: Trust | None = None
    certificates: tuple[CertificateChange, ...] = ()


def _view(status: SiteStatus) -> None:
    console = stdout()
    console.print(f"site {status.site}, wants release {status.wanted_release}", markup=False)
    if status.trust is not None:
        console.print(f"bundle {status.bundle[:16]}, {status.trust.statement}", markup=False)
    for host in status.hosts:
        console.print("")
        console.print(f"{host.host} ({host.address}): {host.state}", style="bold", markup=False)
        if not host.reachable:
            console.print(f"  {host.reason}", markup=False)
            continue
        generation = "none" if host.generation is None else str(host.generation)
        release = f", release {host.release}" if host.release else ""
        console.print(f"  generation  {generation}{release}", markup=False)
        for unit, state in (host.units or {}).items():
            style = "" if state == UNITS_OK else "red"
            console.print(f"  unit        {unit} {state}", style=style or None, markup=False)
        for each in host.generations:
            proved = f"good since {each.good_since}{_age(each.good_since)}"
            proved = proved if each.good_since else "not proved"
            live = "live, " if each.live else ""
            console.print(f"  has         {each.number}: {live}{proved}", markup=False)
        for snapshot in host.snapshots:
            what = f"data of generation {snapshot.generation}, {snapshot.created}"
            console.print(f"  snapshot    {what}, {human_bytes(snapshot.size)}", markup=False)
        if host.under_way is not None:
            what = f"run {host.under_way.run} was cut off on the way to {host.under_way.after}"
            console.print(f"  under way   ! {what}", style="red", markup=False)
        for what in host.drift:
            console.print(f"  drift       ! {what}", style="red", markup=False)
    unwell = [host.host for host in status.hosts if not (host.reachable and _is_well(host))]
    words = f"not well: {', '.join(unwell)}" if unwell else "every host answers, its units run"
    console.print(f"\n{words}", style="red" if unwell else None, markup=False)
    _view_certificates(status.certificates)
    if any(host.state in {"drifted", "differs", "empty", "under way"} for host in status.hosts):
        console.print("", "`bastide plan` shows what would bring them there.", sep="\n")


def _age(since: str) -> str:
    """Return for how long that is, in words; empty if the clocks do not agree."""
    try:
        seconds = (datetime.now(UTC) - datetime.fromisoformat(since)).total_seconds()
    except (TypeError, ValueError):
        return ""
    for size, unit in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= size:
            return f", {seconds // size:.0f} {unit}"
    return ", just now" if seconds >= 0 else ""


def _view_certificates(due: tuple[CertificateChange, ...]) -> None:
    for number, change in enumerate(due):
        text = f"certificate {change.name}: {change.why}"
        stdout().print(f"\n{text}" if number == 0 else text, style="yellow", markup=False)


def _show(result: SiteStatus | LedgerView) -> None:
    if isinstance(result, LedgerView):
        show_ledger(result)
    else:
        _view(result)


@click.command("status")
@site_option
@click.option("--ledger", is_flag=True,
              help="Show instead what was done on this machine, by whom and when.")  # fmt: skip
@click.option("--expect-head", metavar="SHA256",
              help="With --ledger: refuse it unless this entry, which was its newest when you "
              "noted it down, is still in it.")  # fmt: skip
@reports(_show)
def command(site_dir: Path, expect_head: str | None, *, ledger: bool) -> SiteStatus | LedgerView:
    """Show what each host runs: release, generation, units, and what has drifted.

    Asks every host and changes nothing. A host is `up to date` if it runs what site.yaml and the
    newest imported bundle of its release want.
    """
    if ledger or expect_head:
        return load_ledger(expect_head)
    site = load_site(site_dir)
    folder = SiteFolder((site_dir if site_dir.is_dir() else site_dir.parent).resolve())
    require_ssh_files(site, folder)
    facts = gather(site, folder, progress())
    plans = _plans(site_dir, facts)
    hosts = tuple(_host(site, name, facts, plans.get(name)) for name in site.hosts)
    healthy = all(host.reachable and _is_well(host) for host in hosts)
    bundle = _bundle(site)
    digest, trust = (bundle.digest, bundle.trust) if bundle else ("", None)
    due = _certificates(site, folder)
    return SiteStatus(site.name, site.release, healthy, hosts, digest, trust, due)


def _certificates(site: Site, folder: SiteFolder) -> tuple[CertificateChange, ...]:
    """Return what is to be told of certificates; nothing if the vault does not open here."""
    try:
        return renew_in_memory(folder, Home.default(), site, datetime.now(UTC)).changes
    except ConfigError:
        return ()  # who may look at hosts need not be able to open secrets


def _bundle(site: Site) -> StoredBundle | None:
    try:
        return find_bundle(Store(Home.default().store), site)
    except (ConfigError, BundleError):
        return None  # hosts are shown all the same


def _plans(site_dir: Path, facts: SiteFacts) -> dict[str, HostPlan]:
    """Return what would change on each host that answered; nothing if no bundle was imported."""
    try:
        context = load_context(site_dir)
    except ConfigError as error:
        if error.code == NOT_IMPORTED:
            return {}
        raise
    except BundleError:
        return {}
    inputs = context.wanted.plan_inputs(facts, "")
    needs = host_needs(inputs.site, inputs.manifest, inputs.trees)
    return {each.host: plan_host(each, inputs) for each in needs if each.host in facts.hosts}


def _host(site: Site, name: str, facts: SiteFacts, plan: HostPlan | None) -> HostStatus:
    address, groups = str(site.hosts[name].address), site.hosts[name].groups
    found = facts.hosts.get(name)
    if found is None:
        lost = facts.unreachable.get(name)
        reason = lost.reason if lost else "no answer was recorded"
        return HostStatus(name, address, groups, False, "unreachable", reason)  # noqa: FBT003
    return HostStatus(
        host=name,
        address=address,
        groups=groups,
        reachable=True,
        state=_state(found.generation, plan, under_way=found.transition is not None),
        release=found.release,
        generation=found.generation,
        units=found.units,
        drift=plan.drift if plan else (),
        generations=_generations(found),
        under_way=found.transition,
        snapshots=found.snapshots,
    )


def _generations(facts: HostFacts) -> tuple[GenerationStatus, ...]:
    good = {each.number: each for each in facts.good}
    return tuple(
        GenerationStatus(
            number,
            number == facts.generation,
            good[number].since if number in good else "",
            good[number].run if number in good else "",
        )
        for number in sorted(facts.generations, reverse=True)
    )


def _state(generation: int | None, plan: HostPlan | None, *, under_way: bool) -> str:
    if generation is None:
        return "empty"
    if under_way:
        return "under way"
    if plan is None:
        return "unknown"
    if plan.drift:
        return "drifted"
    return "differs" if plan.changes else "up to date"


def _is_well(host: HostStatus) -> bool:
    return host.generation is not None and all(
        state == UNITS_OK for state in (host.units or {}).values()
    )
