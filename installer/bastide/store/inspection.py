"""Whether the artifacts of a bundle are what they claim, once their digests are right.

A right digest proves that a file is the builder's; it does not prove that the builder had the
right file. Only verified bytes are parsed here, and of each only headers and tables.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from bastide.errors import ConfigError, Problem
from bastide.schema.artifact import Artifact, ArtifactKind, Manifest
from bastide.schema.gguf_check import check_gguf
from bastide.schema.loading import parse_yaml
from bastide.schema.model_card import ModelCard
from bastide.schema.target import Target
from bastide.sources.checks.closure import unmet
from bastide.sources.checks.deb import check_deb
from bastide.sources.checks.findings import CATALOGUE, CLOSURE, ELF, MODEL, finding, unreadable
from bastide.sources.checks.wheel import check_stream, check_wheel
from bastide.sources.debian import BASE_SYSTEM, PACKAGE_INDEX, parse_stanzas

BlobPath = Callable[[str], Path]
Inspect = Callable[[Manifest, BlobPath], list[Problem]]
THREADS = min(4, os.cpu_count() or 1)  # the libraries in wheels are unpacked outside the GIL


def inspect_quickly(manifest: Manifest, blob: BlobPath) -> list[Problem]:
    """Return the same as `inspect_artifacts`, for an import, which should take no longer for it.

    Of libraries above 8 MiB inside wheels only the machine is looked at, not the C library that
    they need: the builder has looked, and `bastide bundle verify` does.
    """
    return inspect_artifacts(manifest, blob, thorough=False)


def inspect_artifacts(
    manifest: Manifest, blob: BlobPath, *, thorough: bool = True
) -> list[Problem]:
    """Return what in a bundle's artifacts contradicts its manifest, its cards or its target.

    Models are compared with their cards, wheels, binaries and OS packages with the target, and the
    OS packages with each other and the target's base system. A bundle for no target at all, which
    no site can use, is only looked at for its models.

    Args:
        manifest: The bundle's artifacts.
        blob: Returns where the verified bytes of a digest lie.
        thorough: Whether to look into large libraries as well.
    """
    listed = {a.filename: a for a in manifest.of_kind(ArtifactKind.CATALOGUE)}
    problems = [
        problem
        for model in manifest.of_kind(ArtifactKind.MODEL)
        for problem in _inspect_model(model, listed.get(f"{model.name}.yaml"), blob)
    ]
    if "target.yaml" not in listed:
        return problems
    try:
        content = blob(listed["target.yaml"].sha256).read_bytes()
        target = parse_yaml(content, Target, where="target.yaml")
        return problems + _inspect_platform(manifest, target, blob, thorough=thorough)
    except ConfigError as error:
        return problems + [replace(problem, code=CATALOGUE) for problem in error.problems]
    except OSError as error:
        path = blob(listed["target.yaml"].sha256)
        return [*problems, unreadable(listed["target.yaml"], CATALOGUE, path, error)]


def _inspect_model(model: Artifact, listed: Artifact | None, blob: BlobPath) -> list[Problem]:
    where = f"{model.filename} ({model.name})"
    if listed is None:
        what = f"the bundle carries no model card {model.name}.yaml for it"
        return [Problem(where, what, code=MODEL)]
    try:
        content = blob(listed.sha256).read_bytes()
        card = parse_yaml(content, ModelCard, where=listed.filename)
        if card.file.sha256 != model.sha256:
            what = f"its card {listed.filename} is of another file: {card.file.sha256}"
            return [Problem(where, f"{what}, not {model.sha256}", code=MODEL)]
        found = check_gguf(blob(model.sha256), card)
    except ConfigError as error:
        found = list(error.problems)
    except OSError as error:
        found = [Problem(where, f"its header cannot be read: {error.strerror}")]
    return [replace(problem, code=MODEL) for problem in found]


@dataclass(frozen=True)
class _Looked:
    problems: list[Problem]
    control: Mapping[str, str]


def _inspect_platform(
    manifest: Manifest, target: Target, blob: BlobPath, *, thorough: bool
) -> list[Problem]:
    kinds = (ArtifactKind.WHEEL, ArtifactKind.BINARY, ArtifactKind.OS_PACKAGE)
    artifacts = [a for a in manifest.artifacts if a.kind in kinds]
    artifacts.sort(key=lambda artifact: -artifact.size)  # the longest first, for even threads
    with ThreadPoolExecutor(max_workers=THREADS) as pool:
        look = partial(_look, target=target, blob=blob, thorough=thorough)
        looked = list(pool.map(look, artifacts))
    problems = [problem for one in looked for problem in one.problems]
    controls = {
        artifact.name: one.control
        for artifact, one in zip(artifacts, looked, strict=True)
        if artifact.kind is ArtifactKind.OS_PACKAGE
    }
    if not problems and controls:
        problems = _inspect_closure(manifest, controls, blob)
    return sorted(problems, key=lambda problem: problem.where)


def _look(artifact: Artifact, target: Target, blob: BlobPath, *, thorough: bool) -> _Looked:
    path = blob(artifact.sha256)
    try:
        if artifact.kind is ArtifactKind.WHEEL:
            return _Looked(check_wheel(path, artifact, target, thorough=thorough), {})
        if artifact.kind is ArtifactKind.OS_PACKAGE:
            return _Looked(*check_deb(path, artifact, target))
        with path.open("rb") as stream:
            return _Looked(check_stream(stream, "", artifact, target), {})
    except OSError as error:
        return _Looked([unreadable(artifact, ELF, path, error)], {})


def _inspect_closure(
    manifest: Manifest, controls: Mapping[str, Mapping[str, str]], blob: BlobPath
) -> list[Problem]:
    """Return what the OS packages lack; their index must list exactly them."""
    texts = {}
    for artifact in manifest.of_kind(ArtifactKind.CATALOGUE):
        if artifact.name in (PACKAGE_INDEX, BASE_SYSTEM):
            try:
                texts[artifact.name] = blob(artifact.sha256).read_text(errors="replace")
            except OSError as error:
                return [unreadable(artifact, CLOSURE, blob(artifact.sha256), error)]
    problems = _index_problems(manifest, texts.get(PACKAGE_INDEX, ""))
    if BASE_SYSTEM not in texts:
        what = "the bundle does not say which packages its target's base system has"
        return [*problems, Problem(BASE_SYSTEM, what, "build the bundle again", CLOSURE)]
    packages = {a.name: a for a in manifest.of_kind(ArtifactKind.OS_PACKAGE)}
    ordered = [controls[name] for name in sorted(controls)]
    hint = "add the package to the release, or correct the target's base_packages"
    return problems + [
        finding(
            packages[each.package],
            CLOSURE,
            f"it depends on {each.dependency!r}, which neither bundle nor base system has",
            hint,
        )
        for each in unmet(ordered, list(parse_stanzas(texts[BASE_SYSTEM])))
    ]


def _index_problems(manifest: Manifest, text: str) -> list[Problem]:
    index = {(s["Package"], s["Version"]): s.get("SHA256") for s in parse_stanzas(text)}
    packages = manifest.of_kind(ArtifactKind.OS_PACKAGE)
    carried = {(a.name, a.version): a.sha256 for a in packages}
    differing = sorted(set(index.items()) ^ set(carried.items()), key=str)
    names = ", ".join(dict.fromkeys(f"{name} {version}" for (name, version), _ in differing))
    what = f"the index of OS packages and the packages differ: {names}"
    return [Problem(PACKAGE_INDEX, what, "build the bundle again", CLOSURE)] if differing else []
