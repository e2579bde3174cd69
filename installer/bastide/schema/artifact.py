"""Artifacts, and the two documents through which a bundle reaches every byte of them.

``bundle.json`` (root) → ``manifest.json`` → ``sha256/ab/<digest>`` blobs. The digest of the root's
canonical bytes is the bundle's digest. Signatures will cover the same chain.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Literal

from pydantic import Field

from bastide.schema.base import Name, Sha256, Size, Value


class ArtifactKind(StrEnum):
    """What an artifact is, and so what consumes it."""

    MODEL = "model"  # a GGUF file
    WHEEL = "wheel"  # a Python wheel for the target
    OS_PACKAGE = "os-package"  # a .deb for the target
    BINARY = "binary"  # an executable or archive used as it is
    SOURCE = "source"  # a source file that runs on hosts, such as the LLM server's script
    CATALOGUE = "catalogue"  # release and model cards, as the site will read them


# How the names of catalogue artifacts begin that are upgrade manifests of earlier releases, and
# those that belong to a question suite.
STEPPING_STONE = "release-"
SUITE = "suite-"


class Component(StrEnum):
    """Who needs an artifact: the control node, all hosts, or the hosts of one group."""

    CONTROL = "control"
    BASE = "base"
    LLM = "llm"
    EMBEDDINGS = "embeddings"
    VECTORDB = "vectordb"
    GATEWAY = "gateway"
    KEEPALIVED = "keepalived"  # the gateways' hosts, if the site has a floating address
    MONITORING = "monitoring"
    EXPORTERS = "exporters"  # every host of a site that has monitoring


class Artifact(Value):
    """One immutable file that a release needs."""

    name: str = Field(description="Unique within its kind: model name, distribution, package.")
    kind: ArtifactKind
    version: str = Field(description="Version as its source states it.")
    filename: str = Field(
        description="Name that consumers expect, such as a wheel's or a .deb's own.",
        pattern=r"^[A-Za-z0-9][A-Za-z0-9._+~%-]*$",
    )
    size: Size
    sha256: Sha256
    platform: str = Field(description="'any', or the target it is for, such as debian12-x86_64.")
    licence: str = Field(description="SPDX expression or named licence; 'unknown' if not stated.")
    licence_from: str = Field(
        default="", description="Where that is declared, such as METADATA: License-Expression."
    )
    components: tuple[Component, ...] = Field(description="Who needs it.", min_length=1)
    source: str = Field(description="Where it came from, for people and for the SBOM.")


class Manifest(Value):
    """Every artifact of a bundle, sorted by kind and name."""

    format: Literal["bastide.manifest/1"] = "bastide.manifest/1"
    release: Name
    target: Name
    lock: Sha256 = Field(description="Digest of the lock that this was built from.")
    artifacts: tuple[Artifact, ...]

    def of_kind(self, kind: ArtifactKind) -> tuple[Artifact, ...]:
        """Return the artifacts of one kind, in the manifest's order."""
        return tuple(a for a in self.artifacts if a.kind is kind)

    def needed_by(self, *components: Component) -> tuple[Artifact, ...]:
        """Return the artifacts that any of ``components`` needs, in the manifest's order."""
        return tuple(a for a in self.artifacts if set(a.components) & set(components))


class RootEntry(Value):
    """A document that the root pins."""

    path: str
    size: Size
    sha256: Sha256


class BundleRoot(Value):
    """``bundle.json``: what a bundle is, and the pins from which every byte is reached."""

    format: Literal["bastide.bundle/1"] = "bastide.bundle/1"
    release: Name
    target: Name
    documents: tuple[RootEntry, ...] = Field(
        description="manifest.json, lock.json, chunks.json and so on, with size and SHA-256."
    )
    blobs: int = Field(description="How many distinct blobs the bundle holds.", ge=0)
    blob_bytes: Size = Field(description="Their size together, in bytes.")
