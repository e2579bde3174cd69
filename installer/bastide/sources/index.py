"""Package index: resolves requirements to wheels for a target's Python and C library, with uv.

uv reads the machine's own configuration (``uv.toml``, ``UV_INDEX_URL`` …), so mirrors work without
a word here; its lock names the address and SHA-256 of every file.
"""

from __future__ import annotations

import re
import shutil
import sys
import tempfile
import tomllib
import urllib.parse
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from packaging.tags import Tag, compatible_tags, cpython_tags
from packaging.utils import parse_wheel_filename

from bastide.errors import BundleError
from bastide.host.process import ProcessError, run
from bastide.schema.target import Target

LOCK_NAME = "pylock.toml"


@dataclass(frozen=True)
class IndexFile:
    """One file of the index.

    Args:
        name: Normalised distribution name.
        version: Its version.
        url: Where it is; ``file:`` for a wheel that was built here.
        sha256: Its digest, as the index states it.
        size: Its bytes, if the index states them.
    """

    name: str
    version: str
    url: str
    sha256: str
    size: int | None

    @property
    def filename(self) -> str:
        """The file's own name."""
        return urllib.parse.unquote(urllib.parse.urlsplit(self.url).path.rpartition("/")[2])


def uv_program() -> str:
    """Return the path of uv, which comes with Bastide's ``builder`` extra.

    Raises:
        BundleError: It is not installed.
    """
    beside = Path(sys.executable).with_name("uv")
    found = str(beside) if beside.exists() else shutil.which("uv")
    if not found:
        raise BundleError(
            "uv is not installed; it resolves the Python packages of a bundle",
            code="BAS-3020",
            hint="install Bastide with its builder extra: pip install 'bastide[builder]'",
        )
    return found


def resolve_wheels(
    requirements: Sequence[str],
    constraints: Sequence[str],
    target: Target,
    local: Path | None = None,
) -> tuple[IndexFile, ...]:
    """Return the wheels that ``requirements`` need on ``target``, dependencies included.

    Args:
        requirements: Top-level requirements, pinned.
        constraints: Versions of whatever they pull in.
        target: Python version, architecture and C library to resolve for.
        local: A folder of wheels that were built here and that the index does not have.

    Raises:
        BundleError: There is no answer, or only a source distribution; uv's words say why.
    """
    options = [
        "--python-version", target.python,
        "--python-platform", target.uv_platform,
        "--only-binary", ":all:",
    ]  # fmt: skip
    if local is not None:
        options += ["--find-links", str(local)]
    packages = _compile(requirements, constraints, options)
    ranks = {tag: rank for rank, tag in enumerate(target_tags(target))}
    return tuple(sorted((_wheel(p, local, ranks) for p in packages), key=lambda f: f.name))


def find_file(requirement: str, *, sdist: bool = False) -> IndexFile:
    """Return the one file of a pinned requirement, its wheel or its source distribution."""
    (package,) = _compile([requirement], [], ["--no-deps"])
    entry = package.get("sdist") if sdist else (package.get("wheels") or [None])[0]
    if entry is None:
        kind = "source distribution" if sdist else "wheel"
        raise BundleError(
            f"the package index has no {kind} of {requirement}",
            code="BAS-3024",
            hint="correct the version that the catalogue pins",
        )
    return _index_file(package, entry)


def _compile(
    requirements: Sequence[str], constraints: Sequence[str], options: Sequence[str]
) -> list[dict[str, Any]]:
    with tempfile.TemporaryDirectory(prefix="bastide-resolve-") as scratch:
        folder = Path(scratch)
        (folder / "requirements.in").write_text("\n".join(requirements) + "\n")
        (folder / "constraints.txt").write_text("\n".join(constraints) + "\n")
        command = [
            uv_program(), "pip", "compile", "--quiet", "--no-header", "--format", "pylock.toml",
            *options, "--constraints", "constraints.txt", "requirements.in", "-o", LOCK_NAME,
        ]  # fmt: skip
        try:
            run(command, cwd=folder, env={"UV_NO_PROGRESS": "1"})
        except ProcessError as error:
            raise BundleError(
                f"the Python packages cannot be resolved for this target:\n{error}",
                code="BAS-3024",
                hint="correct the pins in the release, or make the index reachable",
            ) from error
        lock = tomllib.loads((folder / LOCK_NAME).read_text())
    packages = lock.get("packages", [])
    return [package for package in packages if isinstance(package, dict)]


def target_tags(target: Target) -> list[Tag]:
    """Return the wheel tags that the target's Python takes, the best first."""
    major, minor = (int(part) for part in target.python.split("."))
    newest = int(target.glibc.split(".")[1])
    machine = target.architecture
    platforms = [f"manylinux_2_{n}_{machine}" for n in range(newest, 16, -1)]
    platforms += [f"manylinux2014_{machine}", f"linux_{machine}"]
    interpreter = f"cp{major}{minor}"
    return [
        *cpython_tags((major, minor), [interpreter], platforms),
        *compatible_tags((major, minor), interpreter, platforms),
    ]


def _wheel(package: dict[str, Any], local: Path | None, ranks: Mapping[Tag, int]) -> IndexFile:
    candidates = []
    for wheel in package.get("wheels") or []:
        entry = dict(wheel)
        if "url" not in entry and local is not None:
            entry["url"] = (local / Path(entry["path"]).name).resolve().as_uri()
        file = _index_file(package, entry)
        fitting = [ranks[t] for t in parse_wheel_filename(file.filename)[3] if t in ranks]
        if fitting:
            candidates.append((min(fitting), file))
    if not candidates:
        raise BundleError(
            f"{package['name']} {package.get('version')} has no wheel that fits the target",
            code="BAS-3024",
            hint="pin a version that has one, or give the release a recipe to build it",
        )
    return min(candidates, key=lambda candidate: candidate[0])[1]


def _index_file(package: dict[str, Any], entry: dict[str, Any]) -> IndexFile:
    return IndexFile(
        name=re.sub(r"[-_.]+", "-", package["name"]).lower(),
        version=str(package.get("version", "")),
        url=entry["url"],
        sha256=entry.get("hashes", {}).get("sha256", ""),
        size=entry.get("size"),
    )
