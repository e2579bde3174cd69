"""Resolves a release for a target: names become digests."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path, PurePosixPath

from pydantic import ValidationError

from bastide.bundle.catalogue import Catalogue
from bastide.bundle.engines import script_entries
from bastide.bundle.models import ModelOrigin, bring_model
from bastide.bundle.programs import program_entries
from bastide.bundle.wheels import HOST_COMPONENTS, wheel_entries
from bastide.bundle.workshop import Workshop, public_url
from bastide.errors import BundleError, ConfigError
from bastide.host.files import write_atomic
from bastide.schema.artifact import STEPPING_STONE, SUITE, Artifact, ArtifactKind, Component
from bastide.schema.lock import Download, Inline, Joined, Lock, LockEntry, Member
from bastide.schema.model_card import ModelCard
from bastide.schema.model_file import Part
from bastide.schema.release import NEWER, Release
from bastide.schema.target import Target
from bastide.sources.archive import zip_member
from bastide.sources.debian import (
    BASE_SYSTEM,
    PACKAGE_INDEX,
    DebFile,
    DebianSolver,
)
from bastide.sources.fetch import Pin
from bastide.sources.licence_texts import Declared, copyright_names, deb_copyright
from bastide.sources.places import index_pin
from bastide.sources.scratch import scratch
from bastide.trust.licences import TERMS, Subject


def resolve(catalogue: Catalogue, release: str, target: str, workshop: Workshop) -> Lock:
    """Return the lock of a release for a target; what had to be fetched stays in the cache.

    Args:
        catalogue: Where releases, model cards and targets are described.
        release: A release's name (its newest version), or name and version.
        target: A target's name.
        workshop: Cache, network, progress.

    Raises:
        ConfigError: The catalogue has mistakes, or the release is not for this target.
        BundleError: Something cannot be resolved, fetched or built.
    """
    release_entry = catalogue.release(release)
    target_entry = catalogue.target(target)
    plan, platform = release_entry.value, target_entry.value
    if platform.name not in plan.targets:
        raise ConfigError(
            f"{plan.full_name} is not for {platform.name}",
            code="BAS-2013",
            hint=f"it is for: {', '.join(plan.targets)}",
        )
    entries = _model_entries(catalogue, plan, workshop)
    entries += _os_entries(plan, platform, workshop)
    entries += wheel_entries(plan, platform, workshop)
    entries += script_entries(plan, workshop)
    entries += program_entries(plan, platform, workshop)
    entries += upgrade_entries(catalogue, plan)
    entries.append(_text("release", plan.version, "release.yaml", release_entry.text))
    entries.append(_text("target", platform.version, "target.yaml", target_entry.text))
    ordered = sorted(entries, key=lambda e: (e.artifact.kind, e.artifact.name))
    return Lock(release=plan.full_name, target=platform.name, entries=tuple(ordered))


def upgrade_entries(catalogue: Catalogue, release: Release) -> list[LockEntry]:
    """Return what the isolated side needs to know for an upgrade, besides the release itself.

    That is the upgrade manifests of the releases on the ways to this one, and the questions of its
    evaluation gate.
    """
    entries = []
    for stone in catalogue.stepping_stones(release):
        name = f"{STEPPING_STONE}{stone.value.full_name}"
        entries.append(_text(name, stone.value.version, f"{name}.yaml", stone.text))
    if release.upgrade.evaluation is not None:
        suite = catalogue.suite(release.upgrade.evaluation.suite)
        name = f"{SUITE}{suite.entry.value.name}"
        entries.append(_text(name, release.version, f"{name}.yaml", suite.entry.text))
        for part, text in sorted(suite.files.items()):
            entries.append(_text(f"{name}-{part}", release.version, f"{name}-{part}.jsonl", text))
    return entries


def _model_entries(catalogue: Catalogue, release: Release, workshop: Workshop) -> list[LockEntry]:
    entries = []
    for name, components in release.model_uses().items():
        entry = catalogue.model(name)
        card = entry.value
        declared = f"{entry.filename}: licence"
        if workshop.licences is not None:  # before hundreds of megabytes are fetched
            model = Subject(f"model {card.name}", ArtifactKind.MODEL, card.licence.label, declared)
            workshop.licences.require([model])
        origin = bring_model(card, workshop)
        artifact = Artifact(
            name=card.name,
            kind=ArtifactKind.MODEL,
            version=card.version,
            filename=card.file.name,
            size=card.file.size,
            sha256=card.file.sha256,
            platform="any",
            licence=card.licence.label,
            licence_from=declared,
            components=components,
            source=_address(origin),
        )
        entries.append(LockEntry(artifact=artifact, origin=origin))
        entries.append(_text(f"model-{card.name}", card.version, entry.filename, entry.text))
        if card.licence.copy_in is not None:
            entries.append(_terms(card, card.licence.copy_in, components, workshop))
    return entries


def _terms(
    card: ModelCard, copy: Part, components: tuple[Component, ...], workshop: Workshop
) -> LockEntry:
    """Return the copy of a model's terms that has to go where the model goes."""
    path, container = workshop.container(index_pin(copy))
    digest, size = zip_member(path, copy.member, workshop.cache)
    artifact = Artifact(
        name=f"{TERMS}{card.name}",
        kind=ArtifactKind.CATALOGUE,
        version=card.version,
        filename=f"{card.name}.terms{PurePosixPath(copy.member[-1]).suffix}",
        size=size,
        sha256=digest,
        platform="any",
        licence=card.licence.label,
        licence_from=f"{card.name}.yaml: licence.copy_in",
        components=components,
        source=f"{container.url}#{copy.member[-1]}",
    )
    return LockEntry(artifact=artifact, origin=Member(container=container, path=copy.member))


def _address(origin: ModelOrigin) -> str:
    match origin:
        case Download():
            return origin.url
        case Joined():
            return origin.parts[0].container.url
        case _:
            return origin.container.url


def _os_entries(release: Release, target: Target, workshop: Workshop) -> list[LockEntry]:
    workshop.progress.note(f"resolve OS packages for {target.name}")
    with scratch(workshop.cache.root) as folder:
        solver = DebianSolver(target, folder)
        needs: dict[DebFile, tuple[Component, ...]] = {}
        for component in HOST_COMPONENTS:
            for deb in solver.closure(release.pins(component).os_packages):
                needs[deb] = (*needs.get(deb, ()), component)
        base = solver.base_system()
    ordered = sorted(needs, key=lambda deb: deb.name)
    pins = [Pin(deb.url, deb.sha256, deb.size, deb.filename) for deb in ordered]
    paths = workshop.fetch("fetch OS packages", pins)
    licences = _deb_licences({deb.name: path for deb, path in zip(ordered, paths, strict=True)})
    index = "\n".join(deb.index_entry for deb in ordered)
    entries = [_os_entry(deb, needs[deb], target, licences[deb.name]) for deb in ordered]
    return [
        *entries,
        _text(PACKAGE_INDEX, target.version, "Packages", index),
        _text(BASE_SYSTEM, target.version, "base-system", base),
    ]


def _deb_licences(paths: dict[str, Path]) -> dict[str, Declared]:
    """Return each package's licence; packages of one source may share one copyright file."""
    found = {name: deb_copyright(path, name) for name, path in paths.items()}
    licences = {}
    for name, own in found.items():
        said = found.get(own.shared_with, own) if own.shared_with else own
        licences[name] = Declared(copyright_names(said.text or ""), said.path)
    return licences


def _os_entry(
    deb: DebFile, components: tuple[Component, ...], target: Target, licence: Declared
) -> LockEntry:
    url = public_url(deb.url)
    artifact = Artifact(
        name=deb.name,
        kind=ArtifactKind.OS_PACKAGE,
        version=deb.version,
        filename=deb.filename,
        size=deb.size,
        sha256=deb.sha256,
        platform=target.name,
        licence=licence.licence,
        licence_from=licence.place,
        components=components,
        source=url,
    )
    return LockEntry(artifact=artifact, origin=Download(url=url))


def _text(name: str, version: str, filename: str, text: str) -> LockEntry:
    """Return an entry whose content the lock carries itself; everyone gets it."""
    content = text.encode()
    artifact = Artifact(
        name=name,
        kind=ArtifactKind.CATALOGUE,
        version=version,
        filename=filename,
        size=len(content),
        sha256=hashlib.sha256(content).hexdigest(),
        platform="any",
        licence="Apache-2.0",
        licence_from="Bastide's LICENSE",
        components=(Component.CONTROL, *(each for each in HOST_COMPONENTS if each not in NEWER)),
        source="Bastide's catalogue",
    )
    return LockEntry(artifact=artifact, origin=Inline(text=text))


def save_lock(lock: Lock, path: Path) -> None:
    """Write the lock as readable JSON."""
    text = json.dumps(lock.model_dump(mode="json"), indent=1, sort_keys=True, ensure_ascii=False)
    write_atomic(path, text.encode() + b"\n")


def load_lock(path: Path) -> Lock:
    """Return the lock in the file at ``path``.

    Raises:
        BundleError: It cannot be read or is none.
    """
    try:
        return Lock.model_validate_json(path.read_bytes())
    except (OSError, ValidationError) as error:
        raise BundleError(
            f"{path} is not a readable lock: {_first_line(error)}",
            code="BAS-3035",
            hint="make one: bastide bundle lock --release NAME --target NAME --out FILE",
        ) from error


def _first_line(error: Exception) -> str:
    if isinstance(error, ValidationError):
        first = error.errors()[0]
        return f"{'.'.join(str(part) for part in first['loc'])}: {first['msg']}"
    return str(error)
