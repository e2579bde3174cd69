"""A publisher's machine, people's machines and a site, each with a home of its own."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from bastide.bundle.build import build
from bastide.bundle.workshop import Workshop
from bastide.cli.main import main
from bastide.progress import SilentProgress
from bastide.schema.artifact import Artifact, ArtifactKind, Component
from bastide.schema.lock import Inline, Lock, LockEntry
from bastide.sources.cache import Cache
from bastide.sources.fetch import Fetcher

PASSPHRASE = "correct horse battery staple"


def inline(name: str, text: str) -> LockEntry:
    """Return an artifact whose text stands in the lock."""
    artifact = Artifact(
        name=name,
        kind=ArtifactKind.BINARY,
        version="1",
        filename=f"{name}.txt",
        size=len(text),
        sha256=hashlib.sha256(text.encode()).hexdigest(),
        platform="any",
        licence="MIT",
        components=(Component.BASE,),
        source="a test",
    )
    return LockEntry(artifact=artifact, origin=Inline(text=text))


@dataclass(frozen=True)
class Machine:
    """One machine: a home and a passphrase."""

    home: Path

    def __call__(self, *arguments: object, expect: int = 0) -> dict[str, Any]:
        """Run a command with --json; return its envelope."""
        said = self.run(*arguments, "--json")
        assert said.exit_code == expect, said.output
        assert "Traceback" not in said.output
        answer: dict[str, Any] = json.loads(said.stdout)
        return answer

    def run(self, *arguments: object, typed: str | None = None) -> Result:
        """Run a command as a person would."""
        environment = {"BASTIDE_HOME": str(self.home), "BASTIDE_TRUST_PASSPHRASE": PASSPHRASE}
        texts = [str(each) for each in arguments]
        return CliRunner().invoke(main, texts, env=environment, input=typed)

    @property
    def publisher(self) -> Path:
        """The trust folder."""
        return self.home / "publisher"

    def refuses(self, code: str, *arguments: object) -> dict[str, Any]:
        """Run a command that must end with a code of ours; return its error."""
        error: dict[str, Any] = self(*arguments, expect=4)["error"]
        assert error["code"] == code, error
        assert error["hint"]
        return error


@pytest.fixture
def machine(tmp_path: Path) -> Callable[[str], Machine]:
    """Return a machine by its name."""
    return lambda name: Machine(tmp_path / name)


@pytest.fixture
def make_bundle(tmp_path: Path) -> Callable[..., Path]:
    """Return what builds a small, unsigned bundle of a release."""

    def make(
        release: str = "starter-2026.11.0",
        target: str = "debian12-x86_64",
        *more: LockEntry,
        text: str = "hello\n",
    ) -> Path:
        entries = (inline("greeting", f"{release}: {text}"), *more)
        lock = Lock(release=release, target=target, entries=entries)
        out = tmp_path / f"{release}-{target}-{len(text)}"
        build(lock, out, Workshop(Fetcher(Cache(tmp_path / "cache")), SilentProgress()))
        return out

    return make
