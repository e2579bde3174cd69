"""``bastide rehearse``: the plan on lab hosts, before it touches production."""

from __future__ import annotations

from pathlib import Path

import click
from rich.table import Table

from bastide.cli.apply import read_plan
from bastide.cli.context import (
    find_bundle,
    read_cards,
    read_release,
    read_target,
    site_option,
)
from bastide.cli.output import progress, reports, stdout
from bastide.cli.recording import recorded
from bastide.errors import ConfigError
from bastide.layout import Home, RunFolder, SiteFolder
from bastide.progress import human_bytes
from bastide.rehearsal.codes import NOT_READY
from bastide.rehearsal.run import Order, RehearsalResult, rehearse
from bastide.rehearsal.sides import Present, Side
from bastide.render.rehearsal_page import html
from bastide.run.earlier import EarlierRun, good_runs, site_of, trees_of
from bastide.schema.rehearsal import Difference, Rehearsal, RehearsedStep
from bastide.schema.site import Site
from bastide.site.config import load_site
from bastide.store.local import Store, StoredBundle

LAB = "rehearsal"


def _view(result: RehearsalResult) -> None:
    report, console = result.report, stdout()
    came = f"from {report.coming_from}" if report.coming_from else "first install"
    console.print(f"{report.site}: {report.release}, {came}", style="bold", markup=False)
    for pair in report.hosts:
        console.print(f"  {pair.host} is played by {pair.lab_host}", markup=False)
    for step in report.steps:
        _print_step(step)
    _print_services(report)
    _print_disk(report)
    for note in report.plan_notes:
        console.print(f"plan differs, {note.host}, {note.what}: production {note.production}; "
                      f"lab {note.lab}", markup=False)  # fmt: skip
    console.print("The lab is not production:", style="bold")
    for each in report.differences:
        console.print(f"  {each.what}: {each.lab}; {each.meaning}", markup=False)
    verdict = "[bold green]rehearsed well[/]" if report.good else "[bold red]rehearsal failed[/]"
    console.print(f"{verdict} in {report.seconds:.0f} s; production was not touched")
    console.print(f"Report: {result.html}", markup=False)
    if result.kept:
        players = ", ".join(f"{pair.host} is {pair.lab_host}" for pair in report.hosts)
        for line in (
            f"The lab '{report.lab}' stands: {players}. Commands of Bastide's on its site:",
            f"  {result.entrance} status --site {result.kept}",
            f"`bastide lab down --name {report.lab}` removes it, as does the next rehearsal.",
        ):
            console.print(line, markup=False, soft_wrap=True)


def _print_step(step: RehearsedStep) -> None:
    console = stdout()
    console.print("[green]✓[/] " if step.good else "[red]✗[/] ", end="")
    parts = [f"{step.seconds:.1f} s"]
    parts += [f"{step.changed} steps changed"] if step.hosts else []
    parts += [f"{human_bytes(step.pulled)} fetched"] if step.pulled else []
    parts += [step.words] if step.words else []
    console.print(f"{step.title:<32} {', '.join(parts)}", markup=False)
    phases = ", ".join(f"{name} {seconds:.1f} s" for name, seconds in step.phases.items())
    if phases:
        console.print(f"    {phases}", markup=False, style="dim")
    for gate in step.gates:
        state = "passed" if gate.passed else "NOT PASSED"
        console.print(f"    gate {gate.gate} {state}: {gate.words}", markup=False)
    if step.failure:
        console.print(f"    {step.failure.code} {step.failure.message}", markup=False)
        for problem in step.failure.problems:
            console.print(f"      {problem}", markup=False)


def _print_services(report: Rehearsal) -> None:
    watched = [step for step in report.steps if step.services]
    if not watched:
        return
    table = Table(title="Interruption: longest wait for a good answer, beyond the usual",
                  title_justify="left", box=None)  # fmt: skip
    for name in ("step", "service", "plan", "measured", "asked", "failed", "try later"):
        table.add_column(name, justify="left" if name in {"step", "service"} else "right")
    for step in watched:
        for each in step.services:
            plan = "" if each.expected is None else f"{each.expected} s"
            style = "yellow" if each.longer and step.name == "upgrade" else ""
            table.add_row(step.title, each.service, plan, f"{each.silence:.1f} s", str(each.asked),
                          str(each.failed), str(each.refused), style=style)  # fmt: skip
    stdout().print(table)


def _print_disk(report: Rehearsal) -> None:
    step = report.step("upgrade")
    if step is None or not step.disk:
        return
    table = Table(title="Disk, upgrade", title_justify="left", box=None)
    for name in ("host", "path", "before", "peak", "after", "grew at most", "plan"):
        table.add_column(name, justify="left" if name in {"host", "path"} else "right")
    for use in step.disk:
        planned = "" if use.planned is None else human_bytes(use.planned)
        sizes = (use.before, use.peak, use.after, use.peak - use.before)
        table.add_row(use.host, use.path, *map(human_bytes, sizes), planned)
    stdout().print(table)


def _about(result: RehearsalResult) -> dict[str, str]:
    report = result.report
    return {
        "release": report.release,
        "bundle": report.bundle,
        "coming_from": report.coming_from,
        "plan": report.plan,
        "report": str(result.html),
    }


@click.command("rehearse")
@click.argument("plan_file", metavar="[PLAN]", required=False,
                type=click.Path(path_type=Path, dir_okay=False))  # fmt: skip
@site_option
@click.option("--name", default=LAB, show_default=True, help="Of the lab that is raised for it.")
@click.option("--keep", is_flag=True, help="Leave the lab standing, to look at it.")
@click.option("--replan", is_flag=True, help="Ignore the plan file of the site's folder.")
@reports(_view)
@recorded("rehearse", _about)
def command(
    plan_file: Path | None, site_dir: Path, name: str, *, keep: bool, replan: bool
) -> RehearsalResult:
    """Try the upgrade on lab hosts first, and say what it will do in production.

    Raises a lab with one host for each of the site's, with the same groups, ports, models and
    sizes; brings it to the generation that the site runs now; loads data; then, while a client
    asks every service all the time: upgrades with the same bundle, templates and gates, rolls
    back, compares the data, upgrades again, and shows that nothing is left to do. Reports steps,
    durations, interruption and disk, and in what the lab is not production.

    PLAN is the file that `bastide plan` wrote: plan.json in the site's folder if not given. It
    binds the rehearsal: same site, same bundle; and the work that the lab's plan has is compared
    with it. Without one, the rehearsal is of what site.yaml wants now.

    No host of the site is touched or asked: only its folder and the store are read, so it also
    works while production is down. The report is written into the site's reports/.

    \b
    Exit codes: 0 all went as it should; 2 it could not begin; 7 something did not go well in the
    lab, production is as it was; 9 another rehearsal of that name is under way.
    """  # noqa: D301 - click wants the real character
    site = load_site(site_dir)
    folder = SiteFolder((site_dir if site_dir.is_dir() else site_dir.parent).resolve())
    home = Home.default()
    store = Store(home.store)
    bundle = find_bundle(store, site)
    present, notes = _present(folder, site, store)
    order = Order(
        folder=folder,
        home=home,
        wanted=_side(store, site, bundle),
        present=present,
        target=read_target(store, bundle),
        plan=read_plan(folder, plan_file, replan=replan),
        lab=name,
        keep=keep,
        page=html,
        notes=notes,
    )
    return rehearse(order, progress())


def _side(store: Store, site: Site, bundle: StoredBundle) -> Side:
    return Side(site, bundle, read_release(store, bundle), read_cards(store, bundle, site))


def _present(
    folder: SiteFolder, site: Site, store: Store
) -> tuple[Present | None, tuple[Difference, ...]]:
    """Return what the site runs now, by its own record; None if nothing was ever applied.

    Raises:
        ConfigError: The record or the bundle that it came from is gone.
    """
    runs = good_runs(folder)
    if not runs:
        return None, _no_good_run(folder)
    run = runs[0]
    was = site_of(run, site)
    side = _side(store, was, _bundle_of(store, run))
    return Present(side, run, trees_of(run)), _later_runs(folder, run)


def _bundle_of(store: Store, run: EarlierRun) -> StoredBundle:
    for bundle in store.bundles():
        if bundle.digest == run.plan.bundle:
            return bundle
    raise ConfigError(
        f"the site runs {run.plan.release}, from the bundle {run.plan.bundle[:16]}…, which the "
        "store does not have: the present generation cannot be brought up in a lab",
        code=NOT_READY,
        hint="import that bundle again; releases that a site runs belong into its store",
    )


def _names(folder: SiteFolder) -> list[str]:
    found = folder.runs.iterdir() if folder.runs.is_dir() else []
    return sorted(RunFolder(path).id for path in found if path.is_dir())


def _no_good_run(folder: SiteFolder) -> tuple[Difference, ...]:
    if not _names(folder):
        return ()
    return (
        Difference(
            what="present generation",
            production="unknown: no run of this folder ended well",
            lab="none: a first install was rehearsed",
            meaning="hosts that are installed in part are not rehearsed",
        ),
    )


def _later_runs(folder: SiteFolder, run: EarlierRun) -> tuple[Difference, ...]:
    later = [name for name in _names(folder) if name > run.folder.id]
    if not later:
        return ()
    return (
        Difference(
            what="present generation",
            production=f"{len(later)} later runs did not end well, the last is {later[-1]}",
            lab=f"as run {run.folder.id} left it, the last that ended well",
            meaning="what the later runs left on hosts is not rehearsed",
        ),
    )
