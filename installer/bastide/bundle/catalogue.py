"""Finds releases, model cards and targets in the catalogue folder, by name."""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, TypeVar

from packaging.version import Version

from bastide.errors import ConfigError
from bastide.schema.base import Value
from bastide.schema.loading import parse_yaml
from bastide.schema.model_card import ModelCard
from bastide.schema.release import Release
from bastide.schema.target import Target

V = TypeVar("V", bound=Value)
NOT_THERE = "BAS-2011"
NAMES_DIFFER = "BAS-2012"


@dataclass(frozen=True)
class Entry(Generic[V]):
    """A catalogue file: its value, and its bytes as a bundle will carry them."""

    value: V
    text: str
    filename: str


@dataclass(frozen=True)
class Catalogue:
    """The catalogue folder (``models_manifest``)."""

    root: Path

    def release(self, name: str) -> Entry[Release]:
        """Return the release ``name``: ``starter`` means its newest, ``starter-2026.11.0`` it.

        Raises:
            ConfigError: There is none of that name, or its file has mistakes.
        """
        names = self._names("releases")
        if name not in names:
            versions = [n for n in names if n.rpartition("-")[0] == name]
            if not versions:
                raise self._absent("release", name, "releases")
            name = max(versions, key=lambda n: Version(n.rpartition("-")[2]))
        entry = self._read("releases", name, Release)
        _same(entry.value.full_name, name, f"releases/{name}.yaml")
        return entry

    def model(self, name: str) -> Entry[ModelCard]:
        """Return the model card ``name``.

        Raises:
            ConfigError: There is none of that name, or its file has mistakes.
        """
        entry = self._read("models", name, ModelCard)
        _same(entry.value.name, name, f"models/{name}.yaml")
        return entry

    def target(self, name: str) -> Entry[Target]:
        """Return the target ``name``.

        Raises:
            ConfigError: There is none of that name, or its file has mistakes.
        """
        entry = self._read("targets", name, Target)
        _same(entry.value.name, name, f"targets/{name}.yaml")
        return entry

    def _names(self, folder: str) -> list[str]:
        return sorted(path.stem for path in (self.root / folder).glob("*.yaml"))

    def _read(self, folder: str, name: str, kind: type[V]) -> Entry[V]:
        if name not in self._names(folder):
            raise self._absent(folder.removesuffix("s"), name, folder)
        path = self.root / folder / f"{name}.yaml"
        content = path.read_bytes()
        return Entry(parse_yaml(content, kind, where=str(path)), content.decode(), path.name)

    def _absent(self, what: str, name: str, folder: str) -> ConfigError:
        names = self._names(folder)
        close = difflib.get_close_matches(name, names, n=1)
        return ConfigError(
            f"there is no {what} {name!r} in {self.root / folder}",
            code=NOT_THERE,
            hint=f'did you mean "{close[0]}"?' if close else f"there are: {', '.join(names)}",
        )


def _same(inside: str, name: str, where: str) -> None:
    if inside != name:
        raise ConfigError(
            f"{where} calls itself {inside!r}",
            code=NAMES_DIFFER,
            hint="rename the file or correct the name in it",
        )
