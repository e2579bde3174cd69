"""Finds releases, model cards and targets in the catalogue folder, by name."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, TypeVar

from packaging.version import Version

from bastide import resources
from bastide.errors import ConfigError
from bastide.evaluation.suites import CORPUS, QUESTIONS, assemble
from bastide.plan.path import lineage
from bastide.schema.base import Value
from bastide.schema.loading import parse_yaml
from bastide.schema.model_card import CatalogueCard, ModelCard
from bastide.schema.release import Release
from bastide.schema.suite import Suite
from bastide.schema.target import Target

V = TypeVar("V", bound=Value)
NOT_THERE = "BAS-2011"
NAMES_DIFFER = "BAS-2012"
NOT_PINNED = "BAS-2031"


@dataclass(frozen=True)
class Entry(Generic[V]):
    """A catalogue file: its value, and its bytes as a bundle will carry them."""

    value: V
    text: str
    filename: str


@dataclass(frozen=True)
class CarriedSuite:
    """A question suite as a bundle will carry it.

    Args:
        entry: Its own file.
        files: Text of the files that it names, by what they are for it.
    """

    entry: Entry[Suite]
    files: dict[str, str]


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

    def stepping_stones(self, release: Release) -> tuple[Entry[Release], ...]:
        """Return the releases on the ways that lead to ``release``, by name.

        Raises:
            ConfigError: A release's file has mistakes.
        """
        entries = {name: self.release(name) for name in self._names("releases")}
        known = {name: entry.value for name, entry in entries.items()}
        ways = lineage(release.full_name, {**known, release.full_name: release})
        return tuple(entries[name] for name in ways)

    def suite(self, name: str) -> CarriedSuite:
        """Return the question suite ``name`` with the files that it names.

        These are looked for beside it, and then beside the suites that ship.

        Raises:
            ConfigError: There is none of that name, or a file has mistakes.
        """
        entry = self._read("suites", name, Suite)
        _same(entry.value.name, name, f"suites/{name}.yaml")
        suite = entry.value
        corpus = self._beside(suite.corpus)
        questions = self._beside(suite.retrieval.questions if suite.retrieval else None)
        assemble(suite, self.root / "suites" / entry.filename, corpus, questions)
        files = {CORPUS: corpus, QUESTIONS: questions}
        texts = {part: path.read_text() for part, path in files.items() if path is not None}
        return CarriedSuite(entry, texts)

    def _beside(self, named: str | None) -> Path | None:
        if named is None:
            return None
        own = self.root / "suites" / named
        shipped = resources.catalogue() / "suites" / named
        return shipped if shipped.is_file() and not own.is_file() else own

    def model(self, name: str) -> Entry[ModelCard]:
        """Return the model card ``name``, for a bundle: its file must be pinned.

        Raises:
            ConfigError: There is none of that name, its file has mistakes, or it pins no file.
        """
        entry = self._card(name)
        pinned = entry.value.pinned()
        if pinned is None:
            raise ConfigError(
                f"the model card {name} pins no file: its digest and size are not known",
                code=NOT_PINNED,
                hint=f"get its GGUF file, then: bastide models pin {name} FILE --catalogue DIR",
            )
        return Entry(pinned, entry.text, entry.filename)

    def card(self, name: str) -> Entry[CatalogueCard]:
        """Return the model card that is called ``name`` or that names it among its other names.

        Raises:
            ConfigError: There is none of that name, or a file has mistakes.
        """
        if name in self._names("models"):
            return self._card(name)
        cards = self.cards()
        for entry in cards:
            if name in entry.value.also:
                return entry
        also = [other for entry in cards for other in entry.value.also]
        raise self._absent("model", name, "models", also)

    def cards(self) -> tuple[Entry[CatalogueCard], ...]:
        """Return all model cards, by name.

        Raises:
            ConfigError: A file has mistakes.
        """
        return tuple(self._card(name) for name in self._names("models"))

    def _card(self, name: str) -> Entry[CatalogueCard]:
        entry = self._read("models", name, CatalogueCard)
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

    def _absent(self, what: str, name: str, folder: str, also: Sequence[str] = ()) -> ConfigError:
        names = [*self._names(folder), *also]
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
