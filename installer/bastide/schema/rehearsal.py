"""What a rehearsal found: the plan's way, seen on lab hosts. Pure data."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from bastide.schema.artifact import Component
from bastide.schema.base import Name, Sha256, Size, Value
from bastide.schema.site import Group

StepName = Literal["install", "load", "upgrade", "rollback", "upgrade_again", "settled"]


class HostPair(Value):
    """A host of the site and the lab host that plays it."""

    host: Name
    address: str = Field(description="In production.")
    groups: tuple[Group, ...]
    lab_host: str
    lab_address: str


class Difference(Value):
    """Something in which the lab is not production."""

    what: str
    production: str
    lab: str
    meaning: str = Field(description="What that does to this rehearsal's findings.")


class Service(Value):
    """What a client saw of one service while a step lasted, asking four times a second."""

    service: str = Field(description="What was asked, such as chat.")
    component: Component
    asked: int = Field(description="Requests that were sent.")
    failed: int = Field(description="Requests without an answer, or with a 5xx that is no 503.")
    refused: int = Field(description="Requests answered with 503 or 429: try again later.")
    rejected: int = Field(description="Requests answered with another 4xx.")
    silence: float = Field(
        description="Longest time without a good answer, less the usual time between two, in s."
    )
    slowest: float = Field(description="The slowest good answer, in s.")
    expected: int | None = Field(
        default=None, description="Seconds of interruption that the plan expects; None: not said."
    )
    answers: dict[str, int] = Field(default={}, description="Answers by status; 0 means none.")

    @property
    def longer(self) -> bool:
        """Whether clients waited longer than the plan says."""
        return self.expected is not None and self.silence > max(self.expected, 1)


class DiskUse(Value):
    """What Bastide's files and OS packages take on one path of a host."""

    host: Name
    path: str
    before: Size
    peak: Size = Field(description="Highest of the looks that were taken once a second.")
    after: Size
    planned: Size | None = Field(default=None, description="Growth that the plan foresees.")


class GateSeen(Value):
    """What a gate found."""

    gate: str
    passed: bool
    words: str
    host: str = ""
    seconds: float = 0.0
    report: str = Field(default="", description="The gate's own page, beside this report.")


class HostWork(Value):
    """What a step did on one host."""

    host: Name
    outcome: str
    changed: int = Field(description="Steps that changed something.")
    pulled: Size = Field(description="Bytes that it fetched.")
    generation: int | None = None


class Failure(Value):
    """Why a step did not end well, in the words of the command that it ran."""

    code: str
    message: str
    hint: str = ""
    problems: tuple[str, ...] = ()


class RehearsedStep(Value):
    """One step of the rehearsal."""

    name: StepName
    title: str
    command: str = Field(default="", description="What was run, as in production.")
    good: bool
    seconds: float
    phases: dict[str, float] = Field(default={}, description="Seconds of each phase, in order.")
    hosts: tuple[HostWork, ...] = ()
    gates: tuple[GateSeen, ...] = ()
    services: tuple[Service, ...] = ()
    disk: tuple[DiskUse, ...] = ()
    words: str = Field(default="", description="What was found, in a sentence.")
    failure: Failure | None = None
    log: str = Field(default="", description="The step's timeline, beside this report.")

    @property
    def changed(self) -> int:
        """Steps that changed something, over all hosts."""
        return sum(host.changed for host in self.hosts)

    @property
    def pulled(self) -> int:
        """Bytes that hosts fetched."""
        return sum(host.pulled for host in self.hosts)


class PlanNote(Value):
    """Something in which the plan for the lab differs from the one for production."""

    host: str
    what: str
    production: str
    lab: str


class Machine(Value):
    """The machine that the rehearsal took place on."""

    cpus: int
    memory: Size
    memory_free: Size


class Rehearsal(Value):
    """A whole rehearsal."""

    format: Literal["bastide.rehearsal/1"] = "bastide.rehearsal/1"
    site: Name
    release: str = Field(description="The release that was rehearsed, name-version.")
    bundle: Sha256
    coming_from: str = Field(description="The release that the site has; empty: first install.")
    present_run: str = Field(description="The site's run that led there; empty: none.")
    lab: str
    started: str = Field(description="RFC 3339.")
    seconds: float
    machine: Machine
    hosts: tuple[HostPair, ...]
    plan: str = Field(default="", description="Digest of the given plan; empty: none was given.")
    plan_notes: tuple[PlanNote, ...] = ()
    data_points: int = Field(default=0, description="Points in the vector DB of the lab.")
    differences: tuple[Difference, ...] = ()
    steps: tuple[RehearsedStep, ...] = ()
    failure: Failure | None = None

    @property
    def good(self) -> bool:
        """Whether everything went as it should."""
        return self.failure is None

    def step(self, name: StepName) -> RehearsedStep | None:
        """Return the step of that name; None if the rehearsal did not come to it."""
        return next((step for step in self.steps if step.name == name), None)
