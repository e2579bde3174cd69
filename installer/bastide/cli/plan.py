"""``bastide plan``: what would change on which host."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import click

from bastide.cli.context import load_context, site_option
from bastide.cli.output import reports, stdout
from bastide.cli.plan_view import print_plan
from bastide.cli.preflight import look
from bastide.cli.recording import recorded
from bastide.errors import ConfigError
from bastide.host.files import write_atomic
from bastide.plan.planner import make_plan
from bastide.plan.preflight import require_fit
from bastide.schema.plan import Plan
from bastide.site.codes import SITE_UNWRITABLE


@dataclass(frozen=True)
class PlanResult:
    """A plan and where it was written."""

    file: Path
    digest: str
    changes: int
    plan: Plan
    next_command: str


def _view(result: PlanResult) -> None:
    console = stdout()
    print_plan(console, result.plan)
    console.print(f"Plan {result.digest[:12]} written to {result.file}", markup=False)
    if result.changes:
        console.print(f"Carry it out with: {result.next_command}", markup=False)


@click.command("plan")
@site_option
@click.option("--out", type=click.Path(path_type=Path, dir_okay=False),
              help="Plan file to write; plan.json in the site's folder if not given.")  # fmt: skip
@reports(_view)
@recorded("plan", lambda result: {"plan": result.digest, "bundle": result.plan.bundle})
def command(site_dir: Path, out: Path | None) -> PlanResult:
    """Show exactly what would change on which host, and write it to a plan file.

    Compares what site.yaml and the newest imported bundle of its release want with what the hosts
    say they are. Nothing is changed. `bastide apply` carries the plan file out, and refuses it if
    site, bundle or hosts have changed since.
    """
    context = load_context(site_dir)
    seen = look(context)
    require_fit(seen)
    plan = make_plan(seen.plan)
    file = (out or context.folder.plan).absolute()
    try:
        write_atomic(file, plan.model_dump_json(indent=2).encode() + b"\n")
    except OSError as error:
        raise ConfigError(
            f"the plan cannot be written to {file}: {error.strerror}",
            code=SITE_UNWRITABLE,
            hint="choose another place with --out",
        ) from error
    return PlanResult(file, plan.digest(), plan.changes, plan, _apply_command(site_dir, out))


def _apply_command(site_dir: Path, out: Path | None) -> str:
    site = "" if site_dir.resolve() == Path.cwd() else f" --site {site_dir}"
    return f"bastide apply{site}" + (f" {out}" if out else "")
