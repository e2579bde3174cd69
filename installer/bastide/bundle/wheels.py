"""Resolves and fetches the Python wheels of a release."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from bastide.bundle.engines import LocalWheel, build_engine, build_own, link_wheels
from bastide.bundle.workshop import Workshop, public_url
from bastide.errors import BundleError
from bastide.schema.artifact import Artifact, ArtifactKind, Component
from bastide.schema.lock import Built, Download, LockEntry
from bastide.schema.release import Release
from bastide.schema.target import Target
from bastide.sources.fetch import Pin
from bastide.sources.index import IndexFile, resolve_wheels
from bastide.sources.licence_texts import wheel_licence
from bastide.sources.scratch import scratch

HOST_COMPONENTS = (
    Component.BASE, Component.LLM, Component.EMBEDDINGS, Component.VECTORDB, Component.GATEWAY,
    Component.KEEPALIVED,
    Component.MONITORING, Component.EXPORTERS,
)  # fmt: skip


def wheel_entries(release: Release, target: Target, workshop: Workshop) -> list[LockEntry]:
    """Return every wheel that hosts and control node need; all are then in the cache.

    All components of a host share one virtual environment, so they are resolved together; the
    control node has its own.

    Raises:
        BundleError: There is no answer, or a wheel cannot be had.
    """
    local = _local_wheels(release, target, workshop)
    with scratch(workshop.cache.root) as folder:
        link_wheels(local, folder, workshop)
        resolver = _Resolver(release, target, folder)
        workshop.progress.note("resolve Python packages")
        needed = resolver.needed()
    return _fetched(needed, {w.filename: w for w in local.values()}, target, workshop)


def _local_wheels(release: Release, target: Target, workshop: Workshop) -> dict[str, LocalWheel]:
    wheels = {e.distribution: build_engine(e, target, workshop) for e in release.builds}
    names = {r.partition("==")[0] for pins in release.components.values() for r in pins.wheels}
    for name in sorted(names - set(wheels)):
        if own := build_own(name, workshop):
            wheels[name] = own
    return wheels


@dataclass(frozen=True)
class _Needed:
    file: IndexFile
    components: tuple[Component, ...]


@dataclass(frozen=True)
class _Resolver:
    release: Release
    target: Target
    local: Path
    answers: dict[tuple[str, ...], tuple[IndexFile, ...]] = field(default_factory=dict)

    def needed(self) -> list[_Needed]:
        """Return each wheel once, with all components that need it."""
        hosts = self._files(*HOST_COMPONENTS)
        agreed = [f"{file.name}=={file.version}" for file in hosts]
        found: dict[str, _Needed] = {}
        for component in Component:
            control = component is Component.CONTROL
            for file in self._files(component, agreed=() if control else agreed):
                known = found.setdefault(file.name, _Needed(file, ()))
                if known.file.version != file.version:
                    raise BundleError(
                        f"{file.name} is needed as {known.file.version} and as {file.version}",
                        code="BAS-3024",
                        hint="pin it in the release's constraints",
                    )
                found[file.name] = _Needed(known.file, (*known.components, component))
        return [found[name] for name in sorted(found)]

    def _files(self, *components: Component, agreed: Sequence[str] = ()) -> tuple[IndexFile, ...]:
        pins = [self.release.pins(component).wheels for component in components]
        requirements = sorted({requirement for wheels in pins for requirement in wheels})
        if not requirements:
            return ()
        constraints = [*self.release.constraints, *agreed]
        key = (*requirements, "", *constraints)
        if key not in self.answers:
            self.answers[key] = resolve_wheels(requirements, constraints, self.target, self.local)
        return self.answers[key]


def _fetched(
    needed: Sequence[_Needed],
    local: Mapping[str, LocalWheel],
    target: Target,
    workshop: Workshop,
) -> list[LockEntry]:
    foreign = [n for n in needed if n.file.filename not in local]
    if unpinned := [n.file.filename for n in foreign if not n.file.sha256]:
        raise BundleError(
            f"the package index states no SHA-256 for {', '.join(unpinned)}",
            code="BAS-3024",
            hint="use an index that does; nothing enters a bundle without a digest",
        )
    pins = [Pin(n.file.url, n.file.sha256, n.file.size, n.file.filename) for n in foreign]
    workshop.fetch("fetch Python wheels", pins)
    return [_entry(n, local.get(n.file.filename), target, workshop) for n in needed]


def _entry(
    needed: _Needed, local: LocalWheel | None, target: Target, workshop: Workshop
) -> LockEntry:
    file = needed.file
    origin: Built | Download = local.origin if local else Download(url=public_url(file.url))
    sha256 = local.sha256 if local else file.sha256
    path = workshop.cache.path(sha256)
    declared = wheel_licence(path)
    artifact = Artifact(
        name=file.name,
        kind=ArtifactKind.WHEEL,
        version=file.version,
        filename=file.filename,
        size=path.stat().st_size,
        sha256=sha256,
        platform="any" if file.filename.endswith("-any.whl") else target.name,
        licence=declared.licence,
        licence_from=declared.place,
        components=needed.components,
        source=f"built here ({origin.recipe})" if isinstance(origin, Built) else origin.url,
    )
    return LockEntry(artifact=artifact, origin=origin)
