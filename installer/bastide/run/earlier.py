"""Runs that brought every host where it should go: what a rollback can go back to.

Everything is read from the runs' own folders, as they were carried out.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass

from pydantic import ValidationError

from bastide.errors import ConfigError
from bastide.layout import RunFolder, SiteFolder
from bastide.render.trees import HostTree, read_tree
from bastide.schema.facts import SiteFacts
from bastide.schema.plan import Plan
from bastide.schema.site import Site

NOTHING_EARLIER = "BAS-2066"
NO_SUCH_RUN = "BAS-2067"
DAMAGED = "BAS-2068"


@dataclass(frozen=True)
class EarlierRun:
    """A run that ended well.

    Args:
        folder: Its folder.
        plan: What it carried out.
    """

    folder: RunFolder
    plan: Plan

    @property
    def digests(self) -> dict[str, str]:
        """The content of each host's generation after it, by host."""
        return {host.host: host.generation_digest for host in self.plan.hosts}

    @property
    def generations(self) -> dict[str, int]:
        """The number of each host's generation after it, by host."""
        return {host.host: host.generation_after for host in self.plan.hosts}

    def __str__(self) -> str:
        numbers = ", ".join(f"{host} {number}" for host, number in self.generations.items())
        return f"run {self.folder.id} ({self.plan.release}; generations: {numbers})"


def good_runs(folder: SiteFolder) -> tuple[EarlierRun, ...]:
    """Return the runs that ended well and whose folders are whole, newest first."""
    return tuple(_good_runs(folder))


def _good_runs(folder: SiteFolder) -> Iterator[EarlierRun]:
    roots = sorted(folder.runs.iterdir(), reverse=True) if folder.runs.is_dir() else []
    for run in map(RunFolder, roots):
        try:
            summary = json.loads(run.summary.read_bytes())
            plan = Plan.model_validate_json(run.plan.read_bytes())
        except (OSError, ValueError):
            continue  # cut off, or of another version
        if summary.get("failure") is None and run.site.is_file():
            yield EarlierRun(run, plan)


def last_site(folder: SiteFolder) -> Site | None:
    """Return the site as it was last carried out well; None if it never was, or nobody knows."""
    for run in _good_runs(folder):
        try:
            return Site.model_validate_json(run.folder.site.read_bytes())
        except (OSError, ValidationError):
            return None
    return None


def choose(runs: tuple[EarlierRun, ...], facts: SiteFacts, wanted: str | None) -> EarlierRun:
    """Return the run to go back to.

    Args:
        runs: The good ones, newest first.
        facts: What the hosts are now.
        wanted: A run's id, or the number of a generation; None for the newest that led to an
            earlier generation than the present one.

    Raises:
        ConfigError: There is no such run.
    """
    if wanted is not None:
        return _named(runs, wanted)
    for run in runs:
        if _is_earlier(run, facts):
            return run
    raise ConfigError(
        "there is no run that ended well and led to an earlier generation than the present one",
        code=NOTHING_EARLIER,
        hint="`bastide status` shows what the hosts run; change site.yaml and apply instead",
    )


def _is_earlier(run: EarlierRun, facts: SiteFacts) -> bool:
    """Return whether some host would go to a lower generation, and none to a higher one."""
    steps = [
        number - (found.generation or 0)
        for host, number in run.generations.items()
        if (found := facts.hosts.get(host)) is not None
    ]
    return bool(steps) and max(steps) <= 0 and min(steps) < 0


def _named(runs: tuple[EarlierRun, ...], wanted: str) -> EarlierRun:
    for run in runs:
        if wanted == run.folder.id or set(run.generations.values()) == {_number(wanted)}:
            return run
    known = "; ".join(str(run) for run in runs[:10]) or "none"
    raise ConfigError(
        f"no run that ended well is '{wanted}', or led every host to generation {wanted}",
        code=NO_SUCH_RUN,
        hint=f"there are: {known}",
    )


def _number(text: str) -> int | None:
    return int(text) if text.isdecimal() else None


def site_of(run: EarlierRun, present: Site) -> Site:
    """Return the site as the run carried it out, reached in the way that holds now.

    Raises:
        ConfigError: The run's record is damaged.
    """
    try:
        site = Site.model_validate_json(run.folder.site.read_bytes())
    except (OSError, ValidationError) as error:
        raise _damaged(run, run.folder.site.name, error) from error
    return site.replace(ssh=present.ssh)


def trees_of(run: EarlierRun) -> dict[str, HostTree]:
    """Return the files of every host's generation, as they were.

    Raises:
        ConfigError: The run's record is damaged.
    """
    trees = {}
    for host in run.plan.hosts:
        try:
            tree = read_tree(host.host, run.folder.tree(host.host).read_bytes())
        except (OSError, ValueError) as error:
            raise _damaged(run, f"the files of {host.host}", error) from error
        if tree.sha256 != host.tree_sha256:
            raise _damaged(run, f"the files of {host.host}", "another digest than the plan's")
        trees[host.host] = tree
    return trees


def _damaged(run: EarlierRun, what: str, why: object) -> ConfigError:
    return ConfigError(
        f"{run} cannot be gone back to: {what} in {run.folder.root} cannot be read: {why}",
        code=DAMAGED,
        hint="restore the run's folder from a backup, or choose another one with --to",
    )
