"""Releases: a version of the whole stack, pinned; a YAML file each in models_manifest/releases."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Self

from pydantic import Field, field_validator, model_validator

from bastide.schema.artifact import Component
from bastide.schema.base import Name, Sha256, Size, Value
from bastide.schema.target import PackagePin

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


class Program(Value):
    """An executable out of a project's own release archive, such as Qdrant's server."""

    url: str = Field(
        description="Where the archive is: an https or file address.",
        pattern=r"^(https|file)://\S+$",
    )
    sha256: Sha256 = Field(description="SHA-256 of the archive.")
    size: Size = Field(description="Its bytes.")
    member: str = Field(description="The executable's path in the archive.", pattern=r"^[\w./-]+$")
    filename: str = Field(description="What hosts call it.", pattern=r"^[A-Za-z0-9_][\w.-]*$")
    licence: str = Field(description="SPDX licence expression of the program.")


class ComponentPins(Value):
    """What one component is made of."""

    summary: str = Field(description="What the component does, in one line.")
    engine: str = Field(description="The program that does it, such as haproxy.")
    version: str = Field(description="That program's version; 'os' for an OS package's.")
    wheels: tuple[Requirement, ...] = Field(
        default=(), description="Python distributions it needs, pinned; the lock adds theirs."
    )
    os_packages: tuple[PackagePin, ...] = Field(
        default=(),
        description="OS packages it needs, pinned or not; the lock pins versions and adds theirs.",
    )
    models: tuple[Name, ...] = Field(default=(), description="Model cards it may serve.")
    programs: tuple[Program, ...] = Field(
        default=(), description="Executables out of release archives that it runs."
    )


class Gate(StrEnum):
    """Checks that a generation must pass before it is marked good."""

    HEALTH = "health"  # every service answers
    VERIFICATION = "verification"  # the suite of `bastide verify`
    EVALUATION = "evaluation"  # the release's golden questions, against the generation before


class Hop(Value):
    """A way to this release that leads through another one."""

    start: ReleaseName = Field(description="The release that a site has.")
    via: tuple[ReleaseName, ...] = Field(
        description="Releases to apply first, in order.", min_length=1
    )


class MigrationKind(StrEnum):
    """What a data migration does."""

    REEMBED = "reembed"  # vectors are made anew from the payload's text by the new model
    FORMAT = "format"  # the service changes its own files when it opens them


class MigrationReverse(StrEnum):
    """How a rollback undoes a data migration."""

    SNAPSHOT = "snapshot"  # the snapshot of the switch window is put back
    KEPT = "kept"  # the old vectors, which the snapshot has, are served again
    IRREVERSIBLE = "irreversible"


class DataMigration(Value):
    """A change of stored data that comes with this release."""

    component: Component = Field(description="Whose data changes.")
    kind: MigrationKind = Field(description="What is done.")
    what: str = Field(description="What changes, for the operator.")
    reverse: MigrationReverse = Field(description="How a rollback undoes it.")
    why: str = Field(default="", description="Why it cannot be undone, if it cannot.")

    @model_validator(mode="after")
    def _irreversible_says_why(self) -> Self:
        if self.reverse is MigrationReverse.IRREVERSIBLE and not self.why:
            raise ValueError('an irreversible migration should say "why"')
        return self


Share = Annotated[float, Field(ge=0, le=1)]
Positive = Annotated[float, Field(gt=0)]


class EvaluationFloors(Value):
    """What the new generation must reach, whatever the old one did; none: not asked for."""

    answers: Share | None = Field(default=None, description="Share of good answers.")
    refusals: Share | None = Field(
        default=None, description="Share of questions that it rightly says it cannot answer."
    )
    hit_rate: Share | None = Field(
        default=None, description="Share of questions whose passage is among the first few."
    )
    mean_reciprocal_rank: Share | None = Field(default=None, description="Mean of 1 / rank.")
    tokens_per_second: Positive | None = Field(
        default=None, description="Least rate of one answer, in tokens/s."
    )
    first_token_seconds: Positive | None = Field(
        default=None, description="Longest median wait for the first token, in s."
    )


class EvaluationTolerance(Value):
    """How much worse than the old generation on the same host the new one may be."""

    answers: Share = Field(default=0.0, description="Loss in the share of good answers.")
    refusals: Share = Field(default=1.0, description="Loss in the share of right refusals.")
    hit_rate: Share = Field(default=0.0, description="Loss in hit rate.")
    mean_reciprocal_rank: Share = Field(default=0.05, description="Loss in mean reciprocal rank.")
    speed: Share = Field(
        default=0.5,
        description="Loss in pace, of tokens and to the first one: 0.5 lets both be half as fast.",
    )


class EvaluationGate(Value):
    """The golden questions of a release, and how they are judged."""

    suite: Name = Field(description="Question suite of the catalogue; the bundle carries it.")
    floors: EvaluationFloors = EvaluationFloors()
    tolerance: EvaluationTolerance = EvaluationTolerance()


# Components that releases had to do without at first.
NEWER = frozenset({Component.KEEPALIVED, Component.MONITORING, Component.EXPORTERS})
RESTART_ORDER = (Component.VECTORDB, Component.EMBEDDINGS, Component.LLM, Component.GATEWAY)


class Upgrade(Value):
    """The upgrade manifest: from where this release can be reached, and how."""

    reachable_from: tuple[ReleaseName, ...] = Field(
        description="Releases from which one apply leads here; empty for a first release."
    )
    hops: tuple[Hop, ...] = Field(default=(), description="Ways from releases further back.")
    replaces: dict[Name, Name] = Field(
        default={}, description="Models of earlier releases, each with the one that follows it."
    )
    order: tuple[Component, ...] = Field(
        default=RESTART_ORDER, description="In which order the components of a host restart."
    )
    data_migrations: tuple[DataMigration, ...] = Field(
        default=(), description="Changes of stored data; each is preceded by a snapshot."
    )
    gates: tuple[Gate, ...] = Field(
        description="Checks that a generation must pass to be marked good.", min_length=1
    )
    evaluation: EvaluationGate | None = Field(
        default=None, description="The evaluation gate's questions and limits."
    )
    expected_interruption: dict[Component, Annotated[int, Field(ge=0)]] = Field(
        description="Seconds for which each component is expected not to answer."
    )

    @model_validator(mode="after")
    def _is_consistent(self) -> Self:
        if sorted(self.order) != sorted(RESTART_ORDER):
            raise ValueError(f"order should name each of {', '.join(RESTART_ORDER)} once")
        if (Gate.EVALUATION in self.gates) != (self.evaluation is not None):
            raise ValueError("the gate 'evaluation' and the field 'evaluation' go together")
        return self


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
        missing = [each for each in Component if each not in value and each not in NEWER]
        if missing:
            raise ValueError(f"these are missing: {', '.join(missing)}")
        if (Component.MONITORING in value) != (Component.EXPORTERS in value):
            raise ValueError("monitoring and exporters go together")
        return value

    def pins(self, component: Component) -> ComponentPins:
        """Return what a component is made of; nothing if this release does not have it yet."""
        absent = ComponentPins(summary="not in this release", engine="none", version="none")
        return self.components.get(component, absent)

    def model_uses(self) -> dict[str, tuple[Component, ...]]:
        """Return which components may serve each model, by the model's name."""
        uses: dict[str, tuple[Component, ...]] = {}
        for component, pins in self.components.items():
            for model in pins.models:
                uses[model] = (*uses.get(model, ()), component)
        return uses
