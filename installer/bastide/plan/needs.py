"""What a host must have to play its part: artifacts, places, units. Independent of its facts."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath

from bastide.errors import ConfigError
from bastide.layout import HOST_ARTIFACTS, blob_path, host_model
from bastide.plan.engine import require_engine
from bastide.plan.firewall import FIREWALL_PACKAGE, FIREWALL_UNIT
from bastide.plan.floating import UNIT as KEEPALIVED
from bastide.plan.floating import floats
from bastide.plan.inputs import TreeDigest
from bastide.plan.services import (
    ALERTMANAGER,
    HOST_METRICS,
    NODE_EXPORTER,
    PROMETHEUS,
    SYSLOG,
    components_on,
    units_of,
)
from bastide.schema.artifact import Artifact, ArtifactKind, Component, Manifest
from bastide.schema.site import SERVING, Group, Site

MODEL_MISSING = "BAS-2030"
INSTALLER = "uv"  # the wheel that fills the host's venv; not itself part of it
TREE_NAME = "tree.tar"

# Files that describe the host and that no running service reads.
DESCRIPTIONS = frozenset(
    {
        "etc/host.json",
        "etc/release.json",
        "etc/upgrade-manifest.yaml",
        "etc/sysusers.conf",
        "etc/journald.conf",  # journald's own: the host agent tells it
    }
)
# How the names of files that a unit reads begin; of any other, all services are told. What the
# dashboard is made of is read anew for each request.
DASHBOARD = "etc/dashboard/"
FILE_HEADS = {
    "bastide-llm.service": ("llm", "llama"),
    "bastide-embeddings.service": ("embedding",),
    "bastide-vectordb.service": ("vectordb",),
    "bastide-gateway.service": ("gateway", "haproxy"),
    KEEPALIVED: ("keepalived", "floating"),
    PROMETHEUS: ("prometheus",),
    ALERTMANAGER: ("alertmanager",),
    NODE_EXPORTER: ("node-exporter",),
    HOST_METRICS: ("host-metrics",),
    SYSLOG: ("syslog",),
}
FILTER_HEADS = ("nftables", "firewall")
SERVING_UNITS = frozenset({KEEPALIVED, *(unit for group in SERVING for unit in units_of(group))})
PYTHON_GROUPS = (Group.LLM, Group.EMBEDDINGS, Group.VECTORDB)


@dataclass(frozen=True)
class HostNeeds:
    """What one host must have.

    Args:
        host: The host's name.
        groups: What it does.
        artifacts: All artifacts of the bundle that it needs, in the manifest's order.
        tree: Its rendered files.
    """

    host: str
    groups: tuple[Group, ...]
    artifacts: tuple[Artifact, ...]
    tree: TreeDigest

    def of_kind(self, kind: ArtifactKind) -> tuple[Artifact, ...]:
        """Return the artifacts of one kind."""
        return tuple(artifact for artifact in self.artifacts if artifact.kind is kind)

    @property
    def wheels(self) -> tuple[Artifact, ...]:
        """The wheels of the host's venv."""
        return tuple(a for a in self.of_kind(ArtifactKind.WHEEL) if a.name != INSTALLER)

    @property
    def installer(self) -> Artifact | None:
        """The artifact that brings uv."""
        return next((a for a in self.artifacts if a.name == INSTALLER), None)

    @property
    def units(self) -> tuple[str, ...]:
        """The systemd units that run all the time, sorted."""
        names = (path.removeprefix("units/") for path in self.tree.files if _is_unit(path))
        return tuple(sorted(names))

    @property
    def contents(self) -> dict[str, str]:
        """What the generation is made of: ``<kind>/<name>`` → digest."""
        return {f"{a.kind}/{a.name}": a.sha256 for a in self.artifacts}

    def affected_by_file(self, path: str) -> frozenset[str]:
        """Return the units that must restart when ``path`` of the tree changes."""
        if path in DESCRIPTIONS or path.startswith(DASHBOARD):
            return frozenset()
        stem = PurePosixPath(path).name.removeprefix("bastide-")
        if stem.startswith(FILTER_HEADS):
            return frozenset({FIREWALL_UNIT}) & frozenset(self.units)
        units = frozenset(unit for unit, heads in FILE_HEADS.items() if stem.startswith(heads))
        return (units or SERVING_UNITS) & frozenset(self.units)

    def affected_by(self, artifact: Artifact) -> frozenset[str]:
        """Return the units that must restart when ``artifact`` changes."""
        if artifact.name == FIREWALL_PACKAGE and artifact.kind is ArtifactKind.OS_PACKAGE:
            return frozenset({FIREWALL_UNIT}) & frozenset(self.units)
        components = set(artifact.components)
        if artifact.kind is ArtifactKind.WHEEL and artifact.name != INSTALLER:
            components = {Component(str(group)) for group in PYTHON_GROUPS}  # one for all
        units = {unit for component in components for unit in units_of(component)}
        return frozenset(units) & frozenset(self.units)


def host_needs(
    site: Site,
    manifest: Manifest,
    trees: Mapping[str, TreeDigest],
    replaces: Mapping[str, str] | None = None,
) -> tuple[HostNeeds, ...]:
    """Return what each host of the site must have, in the site's order.

    Args:
        site: The site.
        manifest: The bundle's artifacts.
        trees: Each host's rendered files.
        replaces: Models of earlier releases with their successors, for the error's hint.

    Raises:
        ConfigError: The bundle does not carry a model that the site chose, the vector DB's engine,
            or keepalived for its floating address.
    """
    _require_models(site, manifest, replaces or {})
    require_engine(site, manifest)
    chosen = {Component.LLM: site.models.llm, Component.EMBEDDINGS: site.models.embeddings}
    needs = []
    for name, host in site.hosts.items():
        wanted = {Component.BASE, *components_on(site, name)}
        if floats(site, manifest, name):
            wanted.add(Component.KEEPALIVED)
        artifacts = tuple(a for a in manifest.needed_by(*wanted) if _fits(a, wanted, chosen))
        needs.append(HostNeeds(name, host.groups, artifacts, trees[name]))
    return tuple(needs)


def generation_digest(needs: HostNeeds) -> str:
    """Return the digest of a generation's whole content: equal content, equal digest."""

    def digests(artifacts: tuple[Artifact, ...]) -> list[str]:
        return sorted(artifact.sha256 for artifact in artifacts)

    packages = needs.of_kind(ArtifactKind.OS_PACKAGE)
    content = {
        "tree": needs.tree.sha256,
        "wheels": digests(needs.wheels),
        "models": sorted([a.name, a.sha256] for a in needs.of_kind(ArtifactKind.MODEL)),
        "sources": sorted([a.filename, a.sha256] for a in needs.of_kind(ArtifactKind.SOURCE)),
        "binaries": digests(needs.of_kind(ArtifactKind.BINARY)),
        "os_packages": sorted(f"{a.name}={a.version}" for a in packages),
    }
    text = json.dumps(content, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def destination(artifact: Artifact) -> str:
    """Return where an artifact's blob lies on a host, as an absolute path."""
    if artifact.kind is ArtifactKind.MODEL:
        return str(host_model(artifact.sha256))
    return blob_destination(artifact.sha256)


def blob_destination(sha256: str) -> str:
    """Return where any blob but a model lies on a host, as an absolute path."""
    return str(HOST_ARTIFACTS / blob_path(sha256))


def _is_unit(path: str) -> bool:
    return path.startswith("units/") and path.endswith(".service")


def _fits(artifact: Artifact, wanted: set[Component], chosen: Mapping[Component, str]) -> bool:
    """Return whether a model is one that the site chose; anything else always fits."""
    if artifact.kind is ArtifactKind.CATALOGUE:
        return False
    if artifact.kind is not ArtifactKind.MODEL:
        return True
    uses = set(artifact.components) & wanted
    return any(chosen.get(use) == artifact.name for use in uses)


def _require_models(site: Site, manifest: Manifest, replaces: Mapping[str, str]) -> None:
    for use, name in (("llm", site.models.llm), ("embeddings", site.models.embeddings)):
        models = manifest.of_kind(ArtifactKind.MODEL)
        fitting = sorted(a.name for a in models if Component(use) in a.components)
        if name not in fitting:
            advice = f"set models.{use} to one of these, or import a bundle that has '{name}'"
            if replaces.get(name) in fitting:
                advice = (
                    f"in this release '{replaces[name]}' follows '{name}': set models.{use}: "
                    f"{replaces[name]}"
                )
            raise ConfigError(
                f"site.yaml: models.{use} is '{name}', but the bundle {manifest.release} carries "
                f"for this use: {', '.join(fitting) or 'nothing'}",
                code=MODEL_MISSING,
                hint=advice,
            )
