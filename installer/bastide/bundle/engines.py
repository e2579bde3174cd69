"""Wheels that no package index has: engines built from source, and Bastide's own."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from bastide.bundle.workshop import Workshop
from bastide.errors import BundleError
from bastide.host.files import write_atomic
from bastide.schema.artifact import Artifact, ArtifactKind
from bastide.schema.lock import Built, Container, LockEntry, Member
from bastide.schema.release import Engine, Release
from bastide.schema.target import Target
from bastide.sources import llama_wheel, own_wheels
from bastide.sources.archive import sdist_member
from bastide.sources.fetch import Pin
from bastide.sources.index import find_file
from bastide.sources.scratch import scratch


@dataclass(frozen=True)
class LocalWheel:
    """A wheel that was built here.

    Args:
        filename: Its file name.
        sha256: Its digest; it is in the cache.
        origin: How it was built.
    """

    filename: str
    sha256: str
    origin: Built


def build_engine(engine: Engine, target: Target, workshop: Workshop) -> LocalWheel:
    """Return the engine's wheel, built at most once for equal source, recipe and tools.

    Raises:
        BundleError: There is no recipe for it, or the sdist is not the pinned one.
        ProcessError: The build failed.
    """
    if engine.distribution != "llama-cpp-python":
        raise BundleError(
            f"there is no recipe to build {engine.distribution}",
            code="BAS-3022",
            hint="take it out of the release's builds: the only engine is llama-cpp-python",
        )
    sdist, container = fetch_sdist(engine, workshop)
    tools = llama_wheel.toolchain()
    origin = Built(
        recipe=llama_wheel.RECIPE,
        inputs=(container,),
        toolchain=f"{tools.compiler}, glibc {tools.glibc}, {tools.machine}",
    )
    note = workshop.cache.root / "built" / llama_wheel.content_key(container.sha256, tools)
    if note.exists():
        known = json.loads(note.read_text())
        if workshop.cache.has(known["sha256"]):
            llama_wheel.require_glibc(workshop.cache.path(known["sha256"]), target.glibc)
            return LocalWheel(known["filename"], known["sha256"], origin)
    with scratch(workshop.cache.root) as folder:
        workshop.progress.note(f"build {engine.requirement} from source; this happens once")
        wheel = llama_wheel.build_wheel(sdist, folder, workshop.progress, glibc=target.glibc)
        built = _keep(wheel, origin, workshop)
    note.parent.mkdir(parents=True, exist_ok=True)
    write_atomic(note, json.dumps({"filename": built.filename, "sha256": built.sha256}).encode())
    return built


def fetch_sdist(engine: Engine, workshop: Workshop) -> tuple[Path, Container]:
    """Return the engine's pinned source distribution."""
    found = find_file(engine.requirement, sdist=True)
    pin = Pin(found.url, engine.sdist_sha256, found.size, found.filename)
    return workshop.container(pin)


def script_entries(release: Release, workshop: Workshop) -> list[LockEntry]:
    """Return the scripts that hosts run and that only an engine's sdist has."""
    entries = []
    for engine in release.builds:
        sdist, container = fetch_sdist(engine, workshop)
        for script in engine.scripts:
            digest, size = sdist_member(sdist, script.member, workshop.cache)
            artifact = Artifact(
                name=Path(script.filename).stem,
                kind=ArtifactKind.SOURCE,
                version=engine.version,
                filename=script.filename,
                size=size,
                sha256=digest,
                platform="any",
                licence=engine.licence,
                licence_from=f"release.yaml: builds.{engine.distribution}.licence",
                components=script.components,
                source=f"{container.url}#{script.member}",
            )
            origin = Member(container=container, path=(script.member,))
            entries.append(LockEntry(artifact=artifact, origin=origin))
    return entries


def build_own(distribution: str, workshop: Workshop) -> LocalWheel | None:
    """Return the wheel of one of our own distributions, None if it is not ours."""
    source = own_wheels.source_of(distribution)
    if source is None:
        return None
    with scratch(workshop.cache.root) as folder:
        wheel = own_wheels.build_own_wheel(source, folder)
        return _keep(wheel, Built(recipe=own_wheels.RECIPE), workshop)


def link_wheels(wheels: Mapping[str, LocalWheel], folder: Path, workshop: Workshop) -> None:
    """Put wheels under their own names into ``folder``, as an index of local files."""
    for wheel in wheels.values():
        shutil.copyfile(workshop.cache.path(wheel.sha256), folder / wheel.filename)


def _keep(wheel: Path, origin: Built, workshop: Workshop) -> LocalWheel:
    with wheel.open("rb") as stream:
        sha256, _ = workshop.cache.put_stream(stream)
    return LocalWheel(wheel.name, sha256, origin)
