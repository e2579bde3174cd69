"""Small real files of every kind, made here, and the target that they are for."""

from __future__ import annotations

import hashlib
import io
import lzma
import sys
import sysconfig
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

from bastide import resources
from bastide.schema.artifact import Artifact, ArtifactKind, Component
from bastide.schema.loading import parse_yaml
from bastide.schema.target import Target
from bastide.sources.wheelfile import WheelName, write_wheel

MakeArtifact = Callable[..., Artifact]


@pytest.fixture(scope="session")
def target() -> Target:
    path = resources.catalogue() / "targets" / "debian12-x86_64.yaml"
    return parse_yaml(path.read_bytes(), Target, where=str(path))


@pytest.fixture(scope="session")
def library() -> bytes:
    """Return a real shared object that needs symbol versions of glibc."""
    for folder in (Path(sysconfig.get_paths()["platlib"]), Path(sys.executable).resolve().parent):
        for path in sorted(folder.rglob("*.so")):
            content = path.read_bytes()
            if b"GLIBC_2." in content and len(content) < 1 << 21:
                return content
    pytest.fail("no shared object on this machine")


@pytest.fixture(scope="session")
def make_artifact() -> MakeArtifact:
    def make(path: Path, kind: ArtifactKind, name: str, version: str) -> Artifact:
        content = path.read_bytes()
        return Artifact(
            name=name,
            kind=kind,
            version=version,
            filename=path.name,
            size=len(content),
            sha256=hashlib.sha256(content).hexdigest(),
            platform="any",
            licence="MIT",
            components=(Component.BASE,),
            source="made by a test",
        )

    return make


@pytest.fixture(scope="session")
def make_wheel() -> Callable[..., Path]:
    def make(
        folder: Path,
        files: dict[str, bytes] | None = None,
        *,
        version: str = "1.0",
        tag: str = "py3-none-any",
        metadata: bytes | None = None,
    ) -> Path:
        name = WheelName("demo_pkg", version, tag)
        text = f"Metadata-Version: 2.1\nName: demo-pkg\nVersion: {version}\n".encode()
        path = folder / name.filename
        content = {"demo_pkg/__init__.py": b"x = 1\n", **(files or {})}
        write_wheel(path, name, content, metadata=metadata or text)
        return path

    return make


def tar_of(files: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


def ar_of(members: dict[str, bytes]) -> bytes:
    parts = [b"!<arch>\n"]
    for name, content in members.items():
        parts.append(f"{name:<16}{0:<12}{0:<6}{0:<6}{100644:<8}{len(content):<10}`\n".encode())
        parts.append(content + b"\n" * (len(content) % 2))
    return b"".join(parts)


@pytest.fixture(scope="session")
def make_deb() -> Callable[..., Path]:
    def make(
        folder: Path, control: str | None = None, files: dict[str, bytes] | None = None
    ) -> Path:
        text = control or "Package: demo\nVersion: 1:1.0-1\nArchitecture: amd64\n"
        path = folder / "demo_1%3a1.0-1_amd64.deb"
        members = {
            "debian-binary": b"2.0\n",
            "control.tar.xz": lzma.compress(tar_of({"./control": text.encode()})),
            "data.tar.xz": lzma.compress(tar_of(files or {})),
        }
        path.write_bytes(ar_of(members))
        return path

    return make
