"""What is rehearsed: the generation that the site has, and the one that it wants."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from bastide.rehearsal.scene import Scene, bounded, site_in_lab, size_differences, tree_in_lab
from bastide.render.trees import HostTree, render_trees
from bastide.run.earlier import EarlierRun
from bastide.schema.model_card import ModelCard
from bastide.schema.rehearsal import Difference, Machine
from bastide.schema.release import Release
from bastide.schema.site import Site, Ssh
from bastide.store.local import StoredBundle


@dataclass(frozen=True)
class Side:
    """One generation of a site, as far as the control node knows it.

    Args:
        site: What ``site.yaml`` says, or said.
        bundle: The imported bundle.
        release: Its release.
        cards: Its model cards, by model name.
    """

    site: Site
    bundle: StoredBundle
    release: Release
    cards: Mapping[str, ModelCard]


@dataclass(frozen=True)
class Present:
    """What the site runs now.

    Args:
        side: Site and bundle.
        run: The run that led there.
        trees: Its hosts' files, as that run rendered them.
    """

    side: Side
    run: EarlierRun
    trees: Mapping[str, HostTree]


@dataclass(frozen=True)
class Cast:
    """Both generations, ready for the lab.

    Args:
        wanted: The wanted one.
        present: The present one; None if nothing is installed.
        differences: In what they had to differ from production.
    """

    wanted: Side
    present: Present | None
    differences: tuple[Difference, ...] = ()


def cast_for_lab(
    wanted: Side, present: Present | None, scene: Scene, ssh: Ssh, machine: Machine, share: float
) -> Cast:
    """Return both generations with the lab's addresses, in sizes that this machine can hold; pure.

    Args:
        wanted: The wanted generation, in production.
        present: The present one, in production; None if nothing is installed.
        scene: Who plays whom.
        ssh: The way into the lab's hosts.
        machine: This machine.
        share: The part of its free memory that the lab may take.

    Raises:
        ConfigError: It cannot hold them.
    """
    room = int(machine.memory_free * share)
    sites = [wanted.site, *([present.side.site] if present else [])]
    cards = [wanted.cards, *([present.side.cards] if present else [])]
    small = [bounded(s, c, room, machine.cpus) for s, c in zip(sites, cards, strict=True)]
    # What one generation had to give up, the other gives up too: else it would look like a change.
    fitted = [
        _capped(site, [(a, b) for a, b in zip(sites, small, strict=True) if b is not site])
        for site in small
    ]
    found = size_differences(sites[0], fitted[0], "wanted")
    new = replace(wanted, site=site_in_lab(fitted[0], scene, ssh))
    if present is None:
        return Cast(new, None, found)
    found += size_differences(sites[1], fitted[1], "present")
    old = replace(present.side, site=site_in_lab(fitted[1], scene, ssh))
    trees, notes = _trees(present, old, scene, reduced=fitted[1] != sites[1])
    return Cast(new, Present(old, present.run, trees), (*found, *notes))


def _capped(site: Site, others: list[tuple[Site, Site]]) -> Site:
    """Return ``site`` with no size larger than what another one was reduced to."""
    sizes = site.sizes
    for before, after in others:
        for group in ("llm", "embeddings"):
            was, now, own = (getattr(each, group) for each in (before.sizes, after.sizes, sizes))
            caps = {
                name: min(getattr(own, name), getattr(now, name))
                for name in type(now).model_fields
                if getattr(was, name) != getattr(now, name)
            }
            sizes = sizes.replace(**{group: own.replace(**caps)})
    return site.replace(sizes=sizes)


def _trees(
    present: Present, lab: Side, scene: Scene, *, reduced: bool
) -> tuple[Mapping[str, HostTree], tuple[Difference, ...]]:
    """Return the files of the present generation for the lab, as they are in production."""
    side = present.side
    today = render_trees(side.site, side.release, side.bundle.manifest, side.cards)
    same = {n: t.sha256 for n, t in today.items()} == {
        n: t.sha256 for n, t in present.trees.items()
    }
    if not same and not reduced:
        return {n: tree_in_lab(t, scene.addresses) for n, t in present.trees.items()}, ()
    trees = render_trees(lab.site, lab.release, lab.bundle.manifest, lab.cards)
    if same:
        return trees, ()
    note = Difference(
        what="files of the present generation",
        production="rendered by the version of Bastide that applied them",
        lab="rendered by this version, because sizes had to be reduced",
        meaning="changes that come from newer templates are not rehearsed",
    )
    return trees, (note,)
