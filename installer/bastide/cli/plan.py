"""``bastide plan``: what would change on which host."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import click

from bastide.cli.context import forget_option, load_context, site_option
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
from bastide.site.salt import new_salt
from bastide.site.secrets import planned_fingerprints


@dataclass(frozen=True)
class PlanResult:
    """A plan and where it was written."""

    file: Path
    digest: str
    changes: int
    plan: Plan
    next_command: str
    detail: bool = False


def _view(result: PlanResult) -> None:
    console = stdout()
    print_plan(console, result.plan, detail=result.detail)
    console.print(f"Plan {result.digest[:12]} written to {result.file}", markup=False)
    if result.changes:
        console.print(f"Carry it out with: {result.next_command}", markup=False)


@click.command("plan")
@site_option
@click.option("--out", type=click.Path(path_type=Path, dir_okay=False),
              help="Plan file to write; plan.json in the site's folder if not given.")  # fmt: skip
@forget_option
@click.option("--detail", is_flag=True, help="List every path and artifact, not their number.")
@reports(_view)
@recorded("plan", lambda result: {"plan": result.digest, "bundle": result.plan.bundle})
def command(
    site_dir: Path, out: Path | None, forget: tuple[str, ...], *, detail: bool
) -> PlanResult:
    """Show exactly what would change on which host, and write it to a plan file.

    Compares what site.yaml and the newest imported bundle of its release want with what the hosts
    say they are. Nothing is changed. `bastide apply` carries the plan file out, and refuses it if
    site, bundle or hosts have changed since. The plan names everything that an apply changes on a
    host; of secrets it has nothing but salted fingerprints. The file's format is that of `bastide
    schema plan`.
    """
    context = load_context(site_dir, forget)
    now = datetime.now(UTC)
    seen = look(
        context,
        planned_fingerprints(context.folder, context.home, context.site, now, new_salt()),
    )
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
    return PlanResult(
        file, plan.digest(), plan.changes, plan, _apply_command(site_dir, out), detail
    )


def _apply_command(site_dir: Path, out: Path | None) -> str:
    site = "" if site_dir.resolve() == Path.cwd() else f" --site {site_dir}"
    return f"bastide apply{site}" + (f" {out}" if out else "")
