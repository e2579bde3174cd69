"""Releases: a version of the whole stack, pinned; a YAML file each in models_manifest/releases."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

from pydantic import Field, field_validator

from bastide.schema.artifact import Component
from bastide.schema.base import Name, Sha256, Value
from bastide.schema.target import PackageName

Requirement = Annotated[
    str,
    Field(
        pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*(\[[a-z0-9,_-]+\])?==[A-Za-z0-9][A-Za-z0-9.+!_-]*$",
        description="A Python distribution pinned to one version, such as name==1.0.",
    ),
]
ReleaseVersion = Annotated[
    str,
    Field(
        pattern=r"^[0-9]{4}\.(0?[1-9]|1[0-2])\.[0-9]+$",
        description="Year, month and count, such as 2026.11.0.",
    ),
]
ReleaseName = Annotated[
    str,
    Field(
        pattern=r"^[a-z][a-z0-9_]*-[0-9]{4}\.[0-9]{1,2}\.[0-9]+$",
        description="A release's name and version, such as starter-2026.11.0.",
    ),
]


class Script(Value):
    """A file of an engine's source distribution that hosts run but that its wheel lacks."""

    member: str = Field(description="Path below the sdist's top folder.", pattern=r"^[\w./-]+$")
    filename: str = Field(description="What hosts call it.", pattern=r"^[A-Za-z0-9_][\w.-]*$")
    components: tuple[Component, ...] = Field(description="Who runs it.", min_length=1)


class Engine(Value):
    """A Python distribution without a usable wheel: Bastide builds it from its pinned sdist."""

    distribution: Name = Field(description="Its name on the package index.")
    version: str = Field(description="Its version.")
    sdist_sha256: Sha256 = Field(description="SHA-256 of its source distribution.")
    scripts: tuple[Script, ...] = Field(default=(), description="Files to take from it as well.")
    licence: str = Field(description="SPDX licence expression of engine and scripts.")

    @property
    def requirement(self) -> str:
        """The pinned requirement."""
        return f"{self.distribution}=={self.version}"


class ComponentPins(Value):
    """What one component is made of."""

    summary: str = Field(description="What the component does, in one line.")
    engine: str = Field(description="The program that does it, such as haproxy.")
    version: str = Field(description="That program's version; 'os' for an OS package's.")
    wheels: tuple[Requirement, ...] = Field(
        default=(), description="Python distributions it needs, pinned; the lock adds theirs."
    )
    os_packages: tuple[PackageName, ...] = Field(
        default=(), description="OS packages it needs; the lock pins versions and adds theirs."
    )
    models: tuple[Name, ...] = Field(default=(), description="Model cards it may serve.")


class Gate(StrEnum):
    """Checks that can guard a generation."""

    HEALTH = "health"
    VERIFICATION = "verification"


class Hop(Value):
    """A way to this release that leads through another one."""

    start: ReleaseName = Field(description="The release that a site has.")
    via: tuple[ReleaseName, ...] = Field(description="Releases to apply first, in order.")


class DataMigration(Value):
    """A change of stored data that comes with this release."""

    component: Component = Field(description="Whose data changes.")
    what: str = Field(description="What changes, for the operator.")
    reversible: bool = Field(description="Whether a rollback can undo it without the snapshot.")


class Upgrade(Value):
    """The upgrade manifest: from where this release can be reached, and how."""

    reachable_from: tuple[ReleaseName, ...] = Field(
        description="Releases from which one apply leads here; empty for a first release."
    )
    hops: tuple[Hop, ...] = Field(default=(), description="Ways from releases further back.")
    data_migrations: tuple[DataMigration, ...] = Field(
        default=(), description="Changes of stored data; each is preceded by a snapshot."
    )
    gates: tuple[Gate, ...] = Field(
        description="Checks that a generation must pass to be marked good.", min_length=1
    )
    expected_interruption: dict[Component, Annotated[int, Field(ge=0)]] = Field(
        description="Seconds for which each component is expected not to answer."
    )


class Release(Value):
    """A version of the stack: every component, model and package pinned."""

    name: Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*$")] = Field(
        description="The release's name; with the version it is its file's name."
    )
    version: ReleaseVersion = Field(description="Year, month and count, such as 2026.11.0.")
    summary: str = Field(description="What the release is for, in one line.")
    targets: tuple[Name, ...] = Field(description="What it can be built for.", min_length=1)
    components: dict[Component, ComponentPins] = Field(description="Its parts.")
    builds: tuple[Engine, ...] = Field(
        default=(), description="Distributions that Bastide builds from their pinned source."
    )
    constraints: tuple[Requirement, ...] = Field(
        default=(), description="Versions of the Python distributions that the others pull in."
    )
    upgrade: Upgrade = Field(description="The upgrade manifest.")

    @property
    def full_name(self) -> str:
        """Name and version, such as ``starter-2026.11.0``."""
        return f"{self.name}-{self.version}"

    @field_validator("components")
    @classmethod
    def _all_components(
        cls, value: dict[Component, ComponentPins]
    ) -> dict[Component, ComponentPins]:
        missing = [component for component in Component if component not in value]
        if missing:
            raise ValueError(f"these are missing: {', '.join(missing)}")
        return value

    def model_uses(self) -> dict[str, tuple[Component, ...]]:
        """Return which components may serve each model, by the model's name."""
        uses: dict[str, tuple[Component, ...]] = {}
        for component, pins in self.components.items():
            for model in pins.models:
                uses[model] = (*uses.get(model, ()), component)
        return uses
