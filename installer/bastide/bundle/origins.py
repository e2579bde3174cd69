"""Brings every artifact of a lock into the cache, each by its own origin."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

from bastide.bundle.engines import build_engine, build_own
from bastide.bundle.models import convert_model, join_model
from bastide.bundle.workshop import Workshop
from bastide.errors import BundleError
from bastide.schema.artifact import ArtifactKind
from bastide.schema.base import Value
from bastide.schema.loading import parse_yaml
from bastide.schema.lock import (
    Built,
    Converted,
    Download,
    Inline,
    Joined,
    Lock,
    LockEntry,
    Member,
)
from bastide.schema.model_card import ModelCard
from bastide.schema.release import Release
from bastide.schema.target import Target
from bastide.sources import llama_wheel
from bastide.sources.archive import member
from bastide.sources.fetch import Pin

D = TypeVar("D", bound=Value)


def obtain_all(lock: Lock, workshop: Workshop) -> None:
    """Make sure that the cache has every artifact of ``lock``.

    Raises:
        BundleError: One cannot be had, or comes out with another digest than the lock's.
    """
    missing = [e for e in lock.entries if not workshop.cache.has(e.artifact.sha256)]
    _download(missing, workshop)
    for entry in missing:
        if not isinstance(entry.origin, Download):
            _make(entry, lock, workshop)
            _require(entry, workshop)


def _download(entries: Sequence[LockEntry], workshop: Workshop) -> None:
    pins = []
    for entry in entries:
        artifact, origin = entry.artifact, entry.origin
        if isinstance(origin, Download):
            pins.append(Pin(origin.url, artifact.sha256, artifact.size, artifact.filename))
        elif isinstance(origin, Member | Converted):
            container = origin.container
            pins.append(Pin(container.url, container.sha256, container.size))
        elif isinstance(origin, Joined):
            inside = (part.container for part in origin.parts)
            pins += [Pin(each.url, each.sha256, each.size) for each in inside]
    unique = {pin.sha256: pin for pin in pins}
    if unique:
        workshop.fetch("fetch what is missing", list(unique.values()))


def _make(entry: LockEntry, lock: Lock, workshop: Workshop) -> None:
    origin, cache = entry.origin, workshop.cache
    match origin:
        case Inline():
            cache.put(origin.text.encode())
        case Member():
            container = origin.container
            member(container.url, cache.path(container.sha256), origin.path, cache)
        case Joined():
            card = document_in(lock, f"model-{entry.artifact.name}", ModelCard)
            join_model(card, origin, workshop)
        case Converted():
            card = document_in(lock, f"model-{entry.artifact.name}", ModelCard)
            convert_model(card, origin, workshop)
        case Built() if origin.recipe == llama_wheel.RECIPE:
            release = document_in(lock, "release", Release)
            target = document_in(lock, "target", Target)
            for engine in release.builds:
                if engine.distribution == entry.artifact.name:
                    build_engine(engine, target, workshop)
        case Built():
            build_own(entry.artifact.name, workshop)


def cards_in(lock: Lock) -> dict[str, ModelCard]:
    """Return the model cards that a lock carries, by model name.

    Raises:
        ConfigError: One has mistakes.
    """
    names = {entry.artifact.name for entry in lock.entries}
    models = (e.artifact.name for e in lock.entries if e.artifact.kind is ArtifactKind.MODEL)
    return {
        name: document_in(lock, f"model-{name}", ModelCard)
        for name in models
        if f"model-{name}" in names
    }


def document_in(lock: Lock, name: str, kind: type[D]) -> D:
    """Return a catalogue file that a lock carries.

    Args:
        lock: The lock.
        name: The artifact's name: release, target, or model- with a model's name.
        kind: What the file describes.

    Raises:
        BundleError: It carries none of that name.
        ConfigError: It has mistakes.
    """
    for entry in lock.entries:
        if entry.artifact.name == name and isinstance(entry.origin, Inline):
            return parse_yaml(entry.origin.text.encode(), kind, where=f"the lock's {name}")
    raise BundleError(
        f"the lock carries no {name}", code="BAS-3035", hint="make a new one: `bastide bundle lock`"
    )


def _require(entry: LockEntry, workshop: Workshop) -> None:
    artifact = entry.artifact
    if workshop.cache.has(artifact.sha256):
        return
    advice = "make a new lock"
    if isinstance(entry.origin, Built):
        advice = f"build with what the lock says ({entry.origin.toolchain or 'the same checkout'})"
    raise BundleError(
        f"{artifact.filename}: this machine makes another file than the lock pins "
        f"({artifact.sha256})",
        code="BAS-3027",
        hint=f"{advice}, or make a new lock",
    )
