"""``bastide rollback``: back to what the hosts ran before."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

import click

from bastide.cli import apply as apply_command
from bastide.cli.context import (
    read_cards,
    read_release,
    read_target,
    require_ssh_files,
    site_option,
)
from bastide.cli.live import watching
from bastide.cli.output import reports, stdout
from bastide.cli.recording import recorded
from bastide.errors import BastideError, ConfigError, RollbackError
from bastide.layout import Home, SiteFolder
from bastide.progress import SilentProgress
from bastide.run.apply import apply
from bastide.run.earlier import EarlierRun, choose, good_runs, site_of, trees_of
from bastide.run.facts import gather
from bastide.run.session import Order
from bastide.run.summary import ApplyResult
from bastide.run.wanted import Wanted
from bastide.schema.site import Site
from bastide.site.codes import NOT_IMPORTED
from bastide.site.config import load_site
from bastide.store.local import Store, StoredBundle

FAILED = "BAS-8001"


@dataclass(frozen=True)
class RollbackResult:
    """What a rollback did.

    Args:
        back_to: The run whose outcome the hosts have again.
        apply: What was done for that.
    """

    back_to: str
    apply: ApplyResult

    @property
    def error(self) -> BastideError | None:
        """What makes the command fail; None if every host is where it should be."""
        failed = self.apply.error
        if failed is None:
            return None
        return RollbackError(
            f"the rollback to run {self.back_to} did not end well: {failed}",
            code=FAILED,
            hint=f"a person is needed now. {failed.hint}; `bastide rollback --to {self.back_to}` "
            "goes on",
            problems=failed.problems,
        )


def _view(result: RollbackResult) -> None:
    apply_command.show(result.apply)
    console = stdout()
    console.print(f"back to where run {result.back_to} had led", markup=False)
    console.print(
        "site.yaml is as it was: `bastide plan` shows what it wants instead", markup=False
    )


@click.command("rollback")
@site_option
@click.option("--to", "wanted", metavar="N|RUN",
              help="The number of a generation, or a run's id (its folder's name in runs/); the "
              "newest earlier run that ended well if not given.")  # fmt: skip
@click.option("--yes", is_flag=True, help="Do not ask.")
@reports(_view)
@recorded("rollback", lambda result: {"back_to": result.back_to, "run": result.apply.run})
def command(site_dir: Path, wanted: str | None, *, yes: bool) -> RollbackResult:
    """Bring every host back to the generation that an earlier run had left there.

    A rollback is an apply of that run's own site, bundle and files: code, configuration and models
    are as they were then. What a host still has is not built or fetched again; what it lacks comes
    from the store. OS packages stay as they are. Vector data stays as it is: it is not set back.

    \b
    Exit codes: 0 every host runs the earlier generation and is healthy; 5 nothing was changed;
    8 failed after changes, a person is needed; 9 another run holds the site.
    """  # noqa: D301 - click wants the real character
    present = load_site(site_dir)
    folder = SiteFolder((site_dir if site_dir.is_dir() else site_dir.parent).resolve())
    require_ssh_files(present, folder)
    if not yes and not sys.stdin.isatty():
        apply_command.require_somebody()
    run = choose(good_runs(folder), gather(present, folder, SilentProgress()), wanted)
    home = Home.default()
    with watching(run.plan.release) as watcher:
        approve = (lambda _: True) if yes else (lambda fresh: apply_command.ask(fresh, watcher))
        order = Order(folder, home, _wanted(run, present, Store(home.store)), None, approve)
        return RollbackResult(run.folder.id, apply(order, watcher))


def _wanted(run: EarlierRun, present: Site, store: Store) -> Wanted:
    site, bundle = site_of(run, present), _bundle(store, run)
    return Wanted(
        site=site,
        site_digest=site.digest(),
        release=bundle.root.release,
        bundle=bundle.digest,
        manifest=bundle.manifest,
        cards=read_cards(store, bundle, site),
        target=read_target(store, bundle),
        trees=trees_of(run),
        blobs={each.sha256: store.blob(each.sha256) for each in bundle.manifest.artifacts},
        upgrade=read_release(store, bundle).upgrade,
    )


def _bundle(store: Store, run: EarlierRun) -> StoredBundle:
    for bundle in store.bundles():
        if bundle.digest == run.plan.bundle:
            return bundle
    raise ConfigError(
        f"{run} was made from the bundle {run.plan.bundle[:16]}…, which the store does not have",
        code=NOT_IMPORTED,
        hint="import that bundle again, or choose another run with --to",
    )
