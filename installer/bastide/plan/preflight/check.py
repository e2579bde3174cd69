"""What a check is, what it looks at, and what comes of it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Literal

from bastide.errors import Problem
from bastide.plan import changes
from bastide.plan.inputs import PlanInputs
from bastide.plan.needs import HostNeeds, generation_digest
from bastide.schema.condition import ControlCondition, HostCondition
from bastide.schema.facts import HostFacts, UnreachableHost
from bastide.schema.model_card import ModelCard
from bastide.schema.site import Site
from bastide.schema.target import Target

CONTROL = "control node"
SITE_FILE = "site.yaml"


class Severity(StrEnum):
    """Whether a finding stops a run."""

    REFUSE = "refuse"
    WARN = "warn"


@dataclass(frozen=True)
class PreflightInputs:
    """What preflight decides from.

    Args:
        plan: What a plan is made from, facts included.
        target: What the hosts should be.
        cards: The release's model cards, by model name.
        unix_time: The control node's clock, in seconds since 1970; None skips what needs it.
        control: The control node's condition; None skips what needs it.
    """

    plan: PlanInputs
    target: Target
    cards: Mapping[str, ModelCard]
    unix_time: int | None = None
    control: ControlCondition | None = None


@dataclass(frozen=True)
class Trouble:
    """What a check saw.

    Args:
        what: What is wrong, expected against found.
        hint: What to do about it; the check's general fix if empty.
        mild: A run can go on for all that, though the check refuses otherwise.
    """

    what: str
    hint: str = ""
    mild: bool = False


Troubles = Iterable[Trouble | str]


@dataclass(frozen=True)
class HostView:
    """One host that answered, with everything that a check may look at.

    Args:
        needs: What it must have.
        facts: What it is.
        inputs: The site, the control node and all other hosts.
    """

    needs: HostNeeds
    facts: HostFacts
    inputs: PreflightInputs

    @property
    def name(self) -> str:
        """Its name."""
        return self.needs.host

    @property
    def site(self) -> Site:
        """The site."""
        return self.inputs.plan.site

    @property
    def condition(self) -> HostCondition:
        """Its condition; checks that need it are skipped without it."""
        if self.facts.condition is None:
            raise RuntimeError("the host was not asked for its condition")
        return self.facts.condition

    @property
    def is_settled(self) -> bool:
        """Whether it has the wanted generation, intact: nothing would be built or installed."""
        wanted = generation_digest(self.needs)
        return self.facts.generation_digest == wanted and not changes.damage(self.needs, self.facts)

    @property
    def installs_packages(self) -> bool:
        """Whether OS packages would be installed on it."""
        return bool(changes.packages(self.needs, self.facts))


@dataclass(frozen=True)
class Call:
    """A host as it was called, whether it answered or not.

    Args:
        name: Its name.
        site: The site.
        lost: Why there was no answer; None if there was one.
    """

    name: str
    site: Site
    lost: UnreachableHost | None


class Subject(StrEnum):
    """What a check looks at, and so what it is skipped without."""

    SITE = "site.yaml"
    CONTROL = "control node"
    REACH = "way to the host"
    FACTS = "host"
    CONDITION = "host's condition"


@dataclass(frozen=True)
class Check:
    """One read-only check.

    Args:
        code: Stable code of its findings.
        name: Its short name, unique.
        title: What holds if it passes.
        cause: What a finding means.
        fix: What to do about one.
        severity: Whether a finding stops a run.
        subject: What it looks at.
        look: Returns what is wrong. It is given all inputs (site, control node), a ``Call`` (the
            way to a host) or a ``HostView``.
    """

    code: str
    name: str
    title: str
    cause: str
    fix: str
    severity: Severity
    subject: Subject
    look: Callable[..., Troubles]

    @property
    def is_of_hosts(self) -> bool:
        """Whether it is made once a host."""
        return self.subject not in {Subject.SITE, Subject.CONTROL}


@dataclass(frozen=True)
class Finding:
    """One reason why a host, the site or the control node is not fit, or not quite.

    Args:
        code: Its stable code.
        problem: Where, what is wrong, what to do.
        severity: Whether it stops a run.
        check: Name of the check.
    """

    code: str
    problem: Problem
    severity: Severity = Severity.REFUSE
    check: str = ""


@dataclass(frozen=True)
class Outcome:
    """What came of one check at one place.

    Args:
        check: The check.
        where: A host's name, ``control node`` or ``site.yaml``.
        findings: What it found; none if it passed.
        skipped: Why it was not made; empty if it was.
    """

    check: Check
    where: str
    findings: tuple[Finding, ...] = ()
    skipped: str = ""

    @property
    def result(self) -> Literal["passed", "warned", "refused", "skipped"]:
        """Its result in one word."""
        if self.skipped:
            return "skipped"
        if any(each.severity is Severity.REFUSE for each in self.findings):
            return "refused"
        return "warned" if self.findings else "passed"


@dataclass(frozen=True)
class Words:
    """The constant words of a check.

    Args:
        code: Stable code of its findings.
        title: What holds if it passes.
        cause: What a finding means.
        fix: What to do about one.
    """

    code: str
    title: str
    cause: str
    fix: str


Maker = Callable[[Callable[..., Troubles]], Check]


def make(words: Words, subject: Subject, severity: Severity) -> Maker:
    """Return a decorator that makes a function into a check of its name."""

    def maker(look: Callable[..., Troubles]) -> Check:
        name = look.__name__.strip("_").replace("_", "-")
        return Check(words.code, name, words.title, words.cause, words.fix, severity, subject, look)

    return maker


def refuses(subject: Subject, code: str, title: str, cause: str, fix: str) -> Maker:
    """Make a function into a check whose findings stop a run."""
    return make(Words(code, title, cause, fix), subject, Severity.REFUSE)


def warns(subject: Subject, code: str, title: str, cause: str, fix: str) -> Maker:
    """Make a function into a check whose findings are shown, and stop nothing."""
    return make(Words(code, title, cause, fix), subject, Severity.WARN)


def checks_in(namespace: Mapping[str, object]) -> tuple[Check, ...]:
    """Return the checks that a module has made, in its order."""
    return tuple(each for each in namespace.values() if isinstance(each, Check))
