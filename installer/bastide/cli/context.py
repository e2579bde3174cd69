"""What most verbs begin with: the site of a folder, and the imported bundle that it runs."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any, TypeVar

import click

from bastide.errors import BundleError, ConfigError, Problem
from bastide.layout import Home, SiteFolder
from bastide.plan.needs import generation_digest, host_needs
from bastide.plan.path import Road
from bastide.render.trees import render_trees
from bastide.run.wanted import Wanted
from bastide.schema.artifact import STEPPING_STONE, ArtifactKind
from bastide.schema.expectations import Expectations
from bastide.schema.loading import parse_yaml
from bastide.schema.model_card import ModelCard
from bastide.schema.release import Release
from bastide.schema.site import Site
from bastide.schema.target import Target
from bastide.site.codes import NOT_IMPORTED, SSH_FILES
from bastide.site.config import load_site
from bastide.store.local import Store, StoredBundle
from bastide.verify.expectations import expectations, with_generations

M = TypeVar("M", Release, ModelCard, Target)
WRONG_CARD = "BAS-3090"


@dataclass(frozen=True)
class SiteContext:
    """A site and everything that is known about it without asking a host.

    Args:
        site: What ``site.yaml`` says.
        folder: The site's folder.
        home: The control node's own state.
        store: The imported bundles.
        bundle: The newest of them that the site's release and target ask for.
        release: That bundle's release.
        cards: Its model cards, by model name.
        target: What the hosts should be.
        forget: Hosts that have left the site and are gone for good.
    """

    site: Site
    folder: SiteFolder
    home: Home
    store: Store
    bundle: StoredBundle
    release: Release
    cards: dict[str, ModelCard]
    target: Target
    forget: frozenset[str] = frozenset()

    def expected(self) -> Expectations:
        """Return what the site must be once its bundle is applied.

        Raises:
            ConfigError: A chosen model is not in the bundle, or has no card.
        """
        expected = expectations(
            self.site,
            self.bundle.manifest,
            self.cards,
            release=self.bundle.root.release,
            bundle=self.bundle.digest,
            authority=str(self.folder.authority),
        )
        needs = host_needs(self.site, self.bundle.manifest, self.wanted.tree_digests())
        return with_generations(expected, {each.host: generation_digest(each) for each in needs})

    @cached_property
    def wanted(self) -> Wanted:
        """What the site should be: the planner's and the run's input, trees rendered."""
        manifest = self.bundle.manifest
        return Wanted(
            site=self.site,
            site_digest=self.site.digest(),
            release=self.bundle.root.release,
            bundle=self.bundle.digest,
            manifest=manifest,
            cards=self.cards,
            target=self.target,
            trees=render_trees(self.site, self.release, manifest, self.cards),
            blobs={each.sha256: self.store.blob(each.sha256) for each in manifest.artifacts},
            road=read_road(self.store, self.site.target),
            forget=self.forget,
            read_chunks=partial(self.store.read_chunks, self.bundle),
        )


def site_option(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add ``--site`` to a command, as ``site_dir``."""
    return click.option(
        "--site",
        "site_dir",
        type=click.Path(path_type=Path),
        default=Path(),
        envvar="BASTIDE_SITE",
        help="Folder that holds site.yaml; $BASTIDE_SITE, or the present folder.",
    )(command)


def forget_option(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add ``--forget`` to a command, as ``forget``."""
    return click.option(
        "--forget",
        metavar="HOST",
        multiple=True,
        help="A host that has left site.yaml and is gone for good: nothing is done on it. Can be "
        "given several times.",
    )(command)


def load_context(site_dir: Path, forget: Iterable[str] = ()) -> SiteContext:
    """Return the site of ``site_dir`` with the bundle that it runs.

    Args:
        site_dir: The site's folder, or its ``site.yaml``.
        forget: Hosts that have left the site and are gone for good.

    Raises:
        ConfigError: ``site.yaml`` is wrong, its SSH files are missing, or no imported bundle has
            its release for its target.
        BundleError: The store's record of the bundle is damaged.
    """
    site = load_site(site_dir)
    folder = SiteFolder((site_dir if site_dir.is_dir() else site_dir.parent).resolve())
    require_ssh_files(site, folder)
    home = Home.default()
    store = Store(home.store)
    bundle = find_bundle(store, site)
    return SiteContext(
        site=site,
        folder=folder,
        home=home,
        store=store,
        bundle=bundle,
        release=read_release(store, bundle),
        cards=read_cards(store, bundle, site),
        target=read_target(store, bundle),
        forget=frozenset(forget),
    )


def find_bundle(store: Store, site: Site) -> StoredBundle:
    """Return the newest imported bundle of the site's release and target.

    Raises:
        ConfigError: There is none; the message says what there is.
    """
    bundles = store.bundles()
    for bundle in reversed(bundles):
        if bundle.root.target == site.target and is_release(bundle.root.release, site.release):
            return bundle
    known = sorted({f"{each.root.release} for {each.root.target}" for each in bundles})
    raise ConfigError(
        f"site.yaml asks for release '{site.release}' on target '{site.target}', but no such "
        f"bundle was imported; imported: {', '.join(known) or 'none'}",
        code=NOT_IMPORTED,
        hint="import it (`bastide import DIR`), or correct 'release' and 'target' in site.yaml",
    )


def is_release(full_name: str, asked: str) -> bool:
    """Return whether release ``full_name`` (name-version) is the one ``asked`` for."""
    return full_name == asked or full_name.rpartition("-")[0] == asked


def read_release(store: Store, bundle: StoredBundle) -> Release:
    """Return an imported bundle's release.

    Raises:
        BundleError: It is damaged.
    """
    return _read(store, bundle, "release.yaml", Release)


def read_cards(store: Store, bundle: StoredBundle, site: Site) -> dict[str, ModelCard]:
    """Return the cards of the site's models, as far as the bundle has these models.

    A model that it lacks is the planner's to report, with what there is instead.

    Raises:
        BundleError: A card is damaged.
    """
    files = {a.name: a.filename for a in bundle.manifest.of_kind(ArtifactKind.CATALOGUE)}
    names = sorted({site.models.llm, site.models.embeddings})
    carried = {name: files[f"model-{name}"] for name in names if f"model-{name}" in files}
    return {name: _read(store, bundle, file, ModelCard) for name, file in carried.items()}


def read_road(store: Store, target: str) -> Road:
    """Return the upgrade manifests of all imported bundles, and which releases are imported.

    A release that several bundles tell of is taken from its own bundle, else from the newest.

    Args:
        store: The imported bundles.
        target: Of the bundles that count as imported.

    Raises:
        BundleError: A manifest is damaged.
    """
    told: dict[str, Release] = {}
    own: dict[str, Release] = {}
    for bundle in store.bundles():
        for artifact in bundle.manifest.of_kind(ArtifactKind.CATALOGUE):
            if artifact.name.startswith(STEPPING_STONE):
                release = _manifest(store, bundle, artifact.filename)
                told |= {release.full_name: release} if release else {}
        release = _manifest(store, bundle, "release.yaml")
        own |= {release.full_name: release} if release else {}
    imported = {each.root.release for each in store.bundles() if each.root.target == target}
    return Road({**told, **own}, frozenset(imported))


def _manifest(store: Store, bundle: StoredBundle, filename: str) -> Release | None:
    """Return an upgrade manifest of a bundle; None if another version of Bastide wrote it."""
    try:
        return _read(store, bundle, filename, Release)
    except BundleError as error:
        if error.code != WRONG_CARD:
            raise
        return None


def read_target(store: Store, bundle: StoredBundle) -> Target:
    """Return what an imported bundle was built for.

    Raises:
        BundleError: It is damaged.
    """
    return _read(store, bundle, "target.yaml", Target)


def require_ssh_files(site: Site, folder: SiteFolder) -> None:
    """Return if the SSH key and known_hosts files of ``site.yaml`` can be read.

    Raises:
        ConfigError: One cannot.
    """
    problems = []
    for field in ("private_key", "known_hosts"):
        path = folder.root / Path(getattr(site.ssh, field)).expanduser()
        try:
            with path.open("rb"):
                pass
        except OSError as error:
            hint = "give the right path" + (
                f", or collect the hosts' keys: ssh-keyscan ADDRESS >> {path}"
                if field == "known_hosts"
                else ""
            )
            problems.append(Problem(f"ssh.{field}", f"{path}: {error.strerror}", hint))
    if problems:
        raise ConfigError(
            f"{folder.config}: files that it names cannot be read",
            code=SSH_FILES,
            hint="hosts are only ever reached by key, and only if their own key is known",
            problems=tuple(problems),
        )


def _read(store: Store, bundle: StoredBundle, filename: str, model: type[M]) -> M:
    content = store.read_catalogue(bundle.manifest, filename)
    try:
        return parse_yaml(content, model, where=filename)
    except ConfigError as error:  # not the operator's file: the bundle carries a wrong one
        raise BundleError(
            f"the bundle of {bundle.root.release} carries a wrong {filename}",
            code=WRONG_CARD,
            hint="build the bundle again with this version of Bastide",
            problems=error.problems,
        ) from error
