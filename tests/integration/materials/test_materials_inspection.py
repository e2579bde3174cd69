"""A bundle's artifacts together: target, packages, their index and the base system."""

from __future__ import annotations

import hashlib
import io
import lzma
import tarfile
from pathlib import Path

import pytest

from bastide import resources
from bastide.errors import Problem
from bastide.schema.artifact import Artifact, ArtifactKind, Component, Manifest
from bastide.sources.debian import BASE_SYSTEM, PACKAGE_INDEX
from bastide.store.inspection import inspect_artifacts

pytestmark = pytest.mark.integration
CATALOGUE, DEB = ArtifactKind.CATALOGUE, ArtifactKind.OS_PACKAGE
TARGET = (resources.catalogue() / "targets" / "debian12-x86_64.yaml").read_bytes()
BASE = b"Package: libc6\nVersion: 2.36-9\nArchitecture: amd64\n"


def deb(control: str) -> bytes:
    tar = io.BytesIO()
    with tarfile.open(fileobj=tar, mode="w") as archive:
        info = tarfile.TarInfo("./control")
        info.size = len(control)
        archive.addfile(info, io.BytesIO(control.encode()))
    members = {"debian-binary": b"2.0\n", "control.tar.xz": lzma.compress(tar.getvalue())}
    parts = [b"!<arch>\n"]
    for name, content in members.items():
        parts.append(f"{name:<16}{0:<32}{len(content):<10}`\n".encode())
        parts.append(content + b"\n" * (len(content) % 2))
    return b"".join(parts)


def inspect(place: Path, depends: str, **changed: bytes | None) -> list[Problem]:
    package = deb(f"Package: demo\nVersion: 1\nArchitecture: amd64\nDepends: {depends}\n")
    index = f"Package: demo\nVersion: 1\nSHA256: {hashlib.sha256(package).hexdigest()}\n"
    files: dict[str, tuple[ArtifactKind, str, bytes | None]] = {
        "demo_1_amd64.deb": (DEB, "demo", package),
        "target.yaml": (CATALOGUE, "target", TARGET),
        "Packages": (CATALOGUE, PACKAGE_INDEX, index.encode()),
        "base-system": (CATALOGUE, BASE_SYSTEM, BASE),
    }
    for name, content in changed.items():
        file = {"target": "target.yaml", "index": "Packages", "base": "base-system"}[name]
        files[file] = (*files[file][:2], content)
    artifacts = []
    for filename, (kind, name, content) in files.items():
        if content is None:
            continue
        digest = hashlib.sha256(content).hexdigest()
        (place / digest).write_bytes(content)
        artifacts.append(
            Artifact(
                name=name,
                kind=kind,
                version="1",
                filename=filename,
                size=len(content),
                sha256=digest,
                platform="any",
                licence="MIT",
                components=(Component.BASE,),
                source="made by a test",
            )
        )
    manifest = Manifest(release="r-1", target="t", lock="0" * 64, artifacts=tuple(artifacts))
    return inspect_artifacts(manifest, lambda sha256: place / sha256)


def test_a_complete_closure_passes(tmp_path: Path) -> None:
    assert inspect(tmp_path, "libc6 (>= 2.34)") == []


@pytest.mark.parametrize(
    ("depends", "changed", "code", "words"),
    [
        ("libc6 (>= 2.99)", {}, "BAS-3165", "'libc6 (>= 2.99)', which neither"),
        ("missing", {}, "BAS-3165", "'missing'"),
        ("libc6", {"base": None}, "BAS-3165", "does not say which packages"),
        ("libc6", {"index": b""}, "BAS-3165", "demo 1"),
        ("libc6", {"index": b"Package: demo\nVersion: 1\nSHA256: 00\n"}, "BAS-3165", "demo 1"),
        ("libc6", {"target": b"name: [\n"}, "BAS-3166", ""),
        ("libc6", {"target": b"name: x\n"}, "BAS-3166", ""),
    ],
)
def test_what_does_not_fit_together(
    tmp_path: Path, depends: str, changed: dict[str, bytes | None], code: str, words: str
) -> None:
    problems = inspect(tmp_path, depends, **changed)
    assert problems
    assert {problem.code for problem in problems} == {code}
    assert words in problems[0].what
