"""``bastide rollback``: back to what the hosts ran before."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import click

from bastide.cli import apply as apply_command
from bastide.cli.context import (
    load_context,
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
from bastide.plan.path import Road
from bastide.progress import SilentProgress
from bastide.run.apply import apply
from bastide.run.changeover import Ending
from bastide.run.earlier import EarlierRun, choose, good_runs, site_of, trees_of
from bastide.run.facts import gather
from bastide.run.journal import UNDO, begun_rollback
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
        undone: A switch that was cut off was undone; no earlier run was gone back to.
    """

    back_to: str
    apply: ApplyResult
    undone: bool = False

    @property
    def error(self) -> BastideError | None:
        """What makes the command fail; None if every host is where it should be."""
        failed = self.apply.error
        if failed is None or (self.undone and self.apply.ending is Ending.UNDONE):
            return None
        return RollbackError(
            f"the rollback to run {self.back_to} did not end well: {failed}",
            code=FAILED,
            hint=self._hint(failed),
            problems=failed.problems,
        )

    def _hint(self, failed: BastideError) -> str:
        again = f"`bastide rollback --to {self.back_to}`"
        if self.apply.ending in {Ending.UNDONE, Ending.UNTOUCHED}:
            return (
                "every host runs what it ran before the rollback; put right what is said above, "
                f"then {again} tries again; the story: {self.apply.log}"
            )
        return f"{failed.hint}; {again} goes on"


def _view(result: RollbackResult) -> None:
    apply_command.show(result.apply)
    console = stdout()
    if result.undone and result.apply.ending is Ending.KEPT:
        console.print(
            "the switch that was cut off had passed its gates, so it is finished: `bastide "
            "rollback` goes back now",
            markup=False,
        )
        return
    if result.undone:
        console.print("the switch that was cut off is undone", markup=False)
        return
    console.print(f"back to where run {result.back_to} had led", markup=False)
    console.print(
        "site.yaml is as it was: `bastide plan` shows what it wants instead", markup=False
    )


@click.command("rollback")
@site_option
@click.option("--to", "wanted", metavar="N|RUN",
              help="The number of a generation, or a run's id (its folder's name in runs/); the "
              "newest earlier run that ended well if not given.")  # fmt: skip
@click.option("--keep-data", is_flag=True, help="Leave the vector data as it is now.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@reports(_view)
@recorded("rollback", lambda result: {"back_to": result.back_to, "run": result.apply.run})
def command(site_dir: Path, wanted: str | None, *, keep_data: bool, yes: bool) -> RollbackResult:
    """Bring every host back to the generation that an earlier run had left there.

    A rollback is an apply of that run's own site, bundle and files: code, configuration and models
    are as they were then. What a host still has is not built or fetched again; what it lacks comes
    from the store. OS packages stay as they are. Vector data is put back as well if a snapshot was
    taken when that generation was left; what was written since is kept aside on the host, and the
    plan says so before you agree. --keep-data leaves it.

    If an apply was cut off in the middle of its switch, a rollback without --to undoes that switch;
    if a rollback was cut off, it goes on.

    \b
    Exit codes: 0 every host runs the earlier generation and is healthy; 5 nothing was changed;
    8 it failed, and says where the hosts are; 9 another run holds the site.
    """  # noqa: D301 - click wants the real character
    present = load_site(site_dir)
    folder = SiteFolder((site_dir if site_dir.is_dir() else site_dir.parent).resolve())
    require_ssh_files(present, folder)
    if not yes and not sys.stdin.isatty():
        apply_command.require_somebody()
    facts = gather(present, folder, SilentProgress())
    home = Home.default()
    if wanted is None:
        opened = {each.transition.run for each in facts.hosts.values() if each.transition}
        begun = begun_rollback(folder, opened)
        if begun == UNDO or (opened and not begun):
            return _undo(site_dir)
        wanted = begun or None  # a rollback that was cut off goes on, and no step further
    run = choose(good_runs(folder), facts, wanted)
    with watching(run.plan.release) as watcher:
        approve = (lambda _: True) if yes else (lambda fresh: apply_command.ask(fresh, watcher))
        back = _wanted(run, present, Store(home.store), keep_data=keep_data)
        order = Order(folder, home, back, None, approve, back_to=run.folder.id)
        return RollbackResult(run.folder.id, apply(order, watcher))


def _undo(site_dir: Path) -> RollbackResult:
    """Undo the switch that a run was cut off in."""
    context = load_context(site_dir)
    with watching(context.bundle.root.release) as watcher:
        order = Order(context.folder, context.home, context.wanted, undo=True)
        return RollbackResult("", apply(order, watcher), undone=True)


def _wanted(run: EarlierRun, present: Site, store: Store, *, keep_data: bool) -> Wanted:
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
        keep_data=keep_data,
        road=Road({bundle.root.release: read_release(store, bundle)}, rollback=True),
        read_chunks=partial(store.read_chunks, bundle),
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
