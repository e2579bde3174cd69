"""The release's real templates, rendered for small sites."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from a_site import a_site

from bastide import resources
from bastide.render.trees import HostTree, render_trees
from bastide.schema.artifact import Artifact, ArtifactKind, Component, Manifest
from bastide.schema.loading import load_yaml
from bastide.schema.model_card import ModelCard
from bastide.schema.release import Release
from bastide.schema.site import Site

CHAT, EMBED = "smollm2-135m-instruct-q4_1-t2", "all-minilm-l6-v2-q8_0"


def make_site(hosts: Mapping[str, tuple[str, list[str]]], **changes: Any) -> Site:
    network = {"control_address": "10.77.0.1", **changes.pop("network", {})}
    return a_site(hosts, network, **{"models": {"llm": CHAT, "embeddings": EMBED}, **changes})


def one_host(**changes: Any) -> Site:
    groups = ["llm", "embeddings", "vectordb", "gateway"]
    return make_site({"host1": ("10.77.0.11", groups)}, **changes)


def two_hosts(**changes: Any) -> Site:
    return make_site(
        {
            "host1": ("10.77.0.11", ["llm", "embeddings", "vectordb"]),
            "host2": ("10.77.0.12", ["llm", "gateway"]),
        },
        **changes,
    )


def artifact(name: str, kind: ArtifactKind, *components: Component) -> Artifact:
    return Artifact(
        name=name, kind=kind, version="1", filename=name, size=5, sha256="a" * 64,
        platform="any", licence="MIT", components=components, source="test",
    )  # fmt: skip


def trees(site: Site, *, nftables: bool = True) -> dict[str, HostTree]:
    """Render every file of every host of ``site``."""
    catalogue = resources.catalogue()
    release = load_yaml(catalogue / "releases/starter-2026.12.0.yaml", Release, code="BAS-0000")
    cards = {
        name: load_yaml(catalogue / f"models/{name}.yaml", ModelCard, code="BAS-0000")
        for name in (CHAT, EMBED)
    }
    artifacts = [
        artifact(CHAT, ArtifactKind.MODEL, Component.LLM),
        artifact(EMBED, ArtifactKind.MODEL, Component.EMBEDDINGS),
    ]
    if site.network.gateway_address:
        artifacts.append(artifact("keepalived", ArtifactKind.OS_PACKAGE, Component.KEEPALIVED))
    if nftables:
        artifacts.append(artifact("nftables", ArtifactKind.OS_PACKAGE, Component.BASE))
    manifest = Manifest(
        release=release.full_name, target=site.target, lock="0" * 64, artifacts=tuple(artifacts)
    )
    return render_trees(site, release, manifest, cards)
