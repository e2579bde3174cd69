"""``bastide apply``: carry out a plan on the hosts."""

from __future__ import annotations

import dataclasses
import sys
from pathlib import Path

import click
from pydantic import ValidationError
from rich.console import Console

from bastide.cli.context import forget_option, load_context, site_option
from bastide.cli.gates import SiteKeeper
from bastide.cli.live import Watcher, watching
from bastide.cli.output import reports, stderr, stdout
from bastide.cli.plan_view import print_plan
from bastide.cli.recording import recorded
from bastide.errors import ConfigError
from bastide.layout import SiteFolder
from bastide.progress import human_bytes
from bastide.run.apply import apply
from bastide.run.changeover import Ending
from bastide.run.session import Order
from bastide.run.summary import ApplyResult, HostOutcome, HostResult
from bastide.schema.plan import Plan

BAD_PLAN = "BAS-2064"
NOBODY_TO_ASK = "BAS-2065"

_STYLES = {
    HostOutcome.OK: "green",
    HostOutcome.CHANGED: "yellow",
    HostOutcome.FAILED: "bold red",
    HostOutcome.UNREACHABLE: "bold red",
    HostOutcome.UNFINISHED: "magenta",
}


def show(result: ApplyResult) -> None:
    """Print what an apply did, host by host."""
    console = stdout()
    for host in result.hosts:
        led = result.ending is Ending.KEPT
        _print_host(console, host, result.generations.get(host.host) if led else None)
    for gate in result.gates:
        mark = "[green]passed[/]" if gate.passed else "[bold red]not passed[/]"
        console.print(f"gate {gate.gate:<13} {mark}  ", end="")
        console.print(gate.words, markup=False)
    for note in result.notes:
        console.print(f"note: {note}", markup=False)
    phases = ", ".join(f"{name} {seconds:.1f} s" for name, seconds in result.seconds.items())
    console.print(f"{result.release} in {result.elapsed:.1f} s ({phases})", markup=False)
    console.print(f"changed steps: {result.changed}", markup=False)
    console.print(f"run folder {result.directory}, log {result.log}", markup=False)


def _print_host(console: Console, host: HostResult, generation: int | None) -> None:
    console.print(f"{host.host:<12} ", end="", markup=False)
    console.print(f"{host.outcome:<12}", end="", style=_STYLES[host.outcome], markup=False)
    parts = [f"{host.changed} changed of {host.done} steps"]
    if generation is not None and host.outcome in {HostOutcome.OK, HostOutcome.CHANGED}:
        parts.append(f"generation {generation}")
    if host.pulled:
        parts.append(f"{human_bytes(host.pulled)} fetched")
    if host.step:
        parts.append(f"in {host.phase}: {host.step}")
    console.print(", ".join(parts), markup=False)


def _about(result: ApplyResult) -> dict[str, str]:
    about = {"release": result.release, "bundle": result.bundle, "plan": result.plan}
    about |= {"run": result.run, "changed_steps": str(result.changed), "ending": result.ending}
    about |= {f"gate {g.gate}": "passed" if g.passed else "not passed" for g in result.gates}
    return about | ({"rolled_back": ", ".join(result.undone)} if result.undone else {})


@click.command("apply")
@click.argument("plan_file", metavar="[PLAN]", required=False,
                type=click.Path(path_type=Path, dir_okay=False))  # fmt: skip
@site_option
@forget_option
@click.option("--yes", is_flag=True, help="Do not ask, whatever the plan says.")
@click.option("--replan", is_flag=True, help="Make a new plan even if there is a plan file.")
@reports(show)
@recorded("apply", _about)
def command(
    plan_file: Path | None, site_dir: Path, forget: tuple[str, ...], *, yes: bool, replan: bool
) -> ApplyResult:
    """Carry out a plan on the hosts.

    PLAN is the file that `bastide plan` wrote: plan.json in the site's folder if not given. It is
    refused, and nothing is changed, if site, bundle or hosts have changed since it was made. If
    there is no plan file, a plan is made, shown, and carried out once you agree (or with --yes).

    Hosts fetch what they lack from this machine, build the new generation beside the running one,
    and switch to it one after the other, the canary first. The release's gates are then asked. If
    a host fails or a gate is not passed, every host goes back to the generation before, with its
    data. A run that was stopped (Ctrl-C) or killed is finished by the same command; a run with
    nothing to do changes nothing and proves it.

    \b
    Exit codes: 0 every host runs the plan's generation and has passed its gates; 5 nothing was
    changed; 6 failed after changes, the message says whether it was rolled back; 7 a gate was not
    passed, rolled back; 8 the way back failed, a person is needed; 9 another run holds the site.
    """  # noqa: D301 - click wants the real character
    context = load_context(site_dir, forget)
    plan = read_plan(context.folder, plan_file, replan=replan)
    if plan is not None:  # who looked at it has seen whom it forgets
        gone = {each.host for each in plan.leaving if each.forgotten}
        context = dataclasses.replace(context, forget=context.forget | gone)
    if plan is None and not yes:
        require_somebody()
    with watching(context.bundle.root.release) as watcher:
        order = Order(
            folder=context.folder,
            home=context.home,
            wanted=context.wanted,
            plan=plan,
            approve=(lambda _: True) if yes else (lambda fresh: ask(fresh, watcher)),
            keeper=SiteKeeper(context),
        )
        return apply(order, watcher)


def read_plan(folder: SiteFolder, given: Path | None, *, replan: bool) -> Plan | None:
    """Return the plan in ``given``, else in the site's folder; None if there is none to follow.

    Args:
        folder: The site's folder.
        given: The file that the operator named; None if none was named.
        replan: Whether the site's own plan file is to be ignored.

    Raises:
        ConfigError: It cannot be read, or is no plan of this version.
    """
    path = given or folder.plan
    if replan or (given is None and not path.exists()):
        return None
    try:
        return Plan.model_validate_json(path.read_bytes())
    except OSError as error:
        raise ConfigError(
            f"the plan {path} cannot be read: {error.strerror}",
            code=BAD_PLAN,
            hint="make one with `bastide plan`",
        ) from error
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or "the file"
        raise ConfigError(
            f"{path} is not a plan of this version: {where}: {first['msg']}",
            code=BAD_PLAN,
            hint="make a new one with `bastide plan`",
        ) from error


def require_somebody() -> None:
    """Return if there is somebody to ask.

    Raises:
        ConfigError: There is not.
    """
    if not sys.stdin.isatty():
        raise ConfigError(
            "there is no plan file, and nobody to ask whether a new plan may be carried out",
            code=NOBODY_TO_ASK,
            hint="run `bastide plan` first, or give --yes",
        )


def ask(plan: Plan, watcher: Watcher) -> bool:
    """Show a plan and return whether to carry it out; one without changes needs no answer."""
    with watcher.paused():
        print_plan(stderr(), plan)
        if not plan.changes:
            return True
        try:
            return click.confirm("Carry this plan out?", err=True)
        except click.Abort:
            return False
