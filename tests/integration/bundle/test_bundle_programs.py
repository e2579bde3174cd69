"""A program out of a release archive: pinned, taken out, carried, and made again from the lock.

The archive here is a stand-in made on the spot: what is shown is the way from an archive into a
bundle, not Qdrant's server. See tests/e2e/test_vector_server.py for the real one.
"""

from __future__ import annotations

import hashlib
import io
import tarfile
from pathlib import Path
from typing import Any

import pytest
import yaml

from bastide import resources
from bastide.bundle.build import build
from bastide.bundle.programs import program_entries
from bastide.bundle.workshop import Workshop
from bastide.errors import BundleError
from bastide.progress import SilentProgress
from bastide.schema.artifact import ArtifactKind, Component
from bastide.schema.lock import Lock
from bastide.schema.release import Release
from bastide.schema.target import Target
from bastide.sources.cache import Cache
from bastide.sources.fetch import Fetcher

pytestmark = pytest.mark.integration
PROGRAM = b"#!/bin/sh\nexit 0\n"


def archive(folder: Path, member: str = "qdrant") -> Path:
    path = folder / "qdrant-x86_64-unknown-linux-musl.tar.gz"
    with tarfile.open(path, "w:gz") as out:
        for name, content in (("LICENSE", b"Apache"), (member, PROGRAM)):
            entry = tarfile.TarInfo(name)
            entry.size, entry.mode = len(content), 0o755
            out.addfile(entry, io.BytesIO(content))
    return path


def release(path: Path, **changes: Any) -> Release:
    data = yaml.safe_load((resources.catalogue() / "releases/starter-2026.12.0.yaml").read_text())
    content = path.read_bytes()
    program = {
        "url": path.as_uri(),
        "sha256": hashlib.sha256(content).hexdigest(),
        "size": len(content),
        "member": "qdrant",
        "filename": "qdrant",
        "licence": "Apache-2.0",
        **changes,
    }
    data["components"]["vectordb"] = {
        "summary": "Qdrant's server.",
        "engine": "server",
        "version": "1.19.0",
        "programs": [program],
    }
    return Release.model_validate(data)


@pytest.fixture
def target() -> Target:
    text = (resources.catalogue() / "targets/debian12-x86_64.yaml").read_text()
    return Target.model_validate(yaml.safe_load(text))


def workshop(folder: Path) -> Workshop:
    return Workshop(Fetcher(Cache(folder)), SilentProgress())


def test_a_program_comes_out_of_its_pinned_archive(tmp_path: Path, target: Target) -> None:
    path = archive(tmp_path)
    (entry,) = program_entries(release(path), target, workshop(tmp_path / "cache"))
    artifact = entry.artifact
    assert (artifact.name, artifact.kind) == ("qdrant", ArtifactKind.BINARY)
    assert artifact.sha256 == hashlib.sha256(PROGRAM).hexdigest()
    assert artifact.components == (Component.VECTORDB,)
    assert artifact.version == "1.19.0"
    # From the lock alone, with an empty cache: the same bytes, in a bundle.
    lock = Lock(release="starter-2026.12.0", target=target.name, entries=(entry,))
    out = tmp_path / "bundle"
    build(lock, out, workshop(tmp_path / "other cache"))
    blob = out / "sha256" / artifact.sha256[:2] / artifact.sha256
    assert blob.read_bytes() == PROGRAM


def test_a_top_folder_makes_no_difference(tmp_path: Path, target: Target) -> None:
    path = archive(tmp_path, "qdrant-1.19.0/qdrant")
    (entry,) = program_entries(release(path), target, workshop(tmp_path / "cache"))
    assert entry.artifact.size == len(PROGRAM)


@pytest.mark.parametrize("changes", [{"sha256": "0" * 64}, {"member": "qdrantd"}])
def test_another_archive_is_refused(
    tmp_path: Path, target: Target, changes: dict[str, Any]
) -> None:
    wanted = release(archive(tmp_path), **changes)
    with pytest.raises(BundleError):
        program_entries(wanted, target, workshop(tmp_path / "cache"))
