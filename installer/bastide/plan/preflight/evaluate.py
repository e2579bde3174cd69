"""Makes all checks on values: every finding of every host, at once."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

from bastide.errors import PreflightError, Problem
from bastide.plan.needs import HostNeeds, host_needs
from bastide.plan.preflight.check import (
    CONTROL,
    SITE_FILE,
    Call,
    Check,
    Finding,
    HostView,
    Outcome,
    PreflightInputs,
    Severity,
    Subject,
    Trouble,
)
from bastide.plan.preflight.registry import CHECKS
from bastide.schema.facts import UnreachableHost

UNFIT = "BAS-5001"  # findings of several kinds


def evaluate(inputs: PreflightInputs) -> tuple[Outcome, ...]:
    """Return what came of every check, at every place: site, control node, then host by host.

    Raises:
        ConfigError: The bundle does not carry a chosen model.
    """
    plan = inputs.plan
    needs = host_needs(plan.site, plan.manifest, plan.trees, plan.replaces)
    found = [_of_site(check, inputs) for check in CHECKS if not check.is_of_hosts]
    for each in needs:
        found += _of_host(each, inputs)
    return tuple(found)


def check(inputs: PreflightInputs) -> tuple[Finding, ...]:
    """Return every reason why a run must not begin; none if all is fit.

    Raises:
        ConfigError: The bundle does not carry a chosen model.
    """
    return tuple(
        finding
        for outcome in evaluate(inputs)
        for finding in outcome.findings
        if finding.severity is Severity.REFUSE
    )


def require_fit(inputs: PreflightInputs) -> None:
    """Return if all hosts are fit.

    Raises:
        PreflightError: They are not; its code is the findings' own if they are all of one kind.
        ConfigError: The bundle does not carry a chosen model.
    """
    error = refusal(inputs, check(inputs))
    if error is not None:
        raise error


def refusal(inputs: PreflightInputs, found: tuple[Finding, ...]) -> PreflightError | None:
    """Return the error that says what was found; None if that is nothing."""
    if not found:
        return None
    codes = {finding.code for finding in found}
    places = {finding.problem.where for finding in found}
    hosts, total = places & set(inputs.plan.site.hosts), len(inputs.plan.site.hosts)
    unfit = f"{len(hosts)} of {total} {'host is' if total == 1 else 'hosts are'} not fit"
    elsewhere = "the site cannot work as it is described"
    if CONTROL in places:
        elsewhere = "the control node is not fit"
    return PreflightError(
        f"{unfit if hosts else elsewhere}; nothing was changed",
        code=codes.pop() if len(codes) == 1 else UNFIT,
        hint="put right what is listed, then run `bastide preflight` again",
        problems=tuple(finding.problem for finding in found),
    )


def counts(outcomes: tuple[Outcome, ...]) -> dict[str, int]:
    """Return how many checks were made, passed, warned, refused and skipped."""
    results: Counter[str] = Counter(outcome.result for outcome in outcomes)
    made = len(outcomes) - results["skipped"]
    names = ("passed", "warned", "refused", "skipped")
    return {"checks": made, **{name: results[name] for name in names}}


def _of_site(check: Check, inputs: PreflightInputs) -> Outcome:
    if check.subject is Subject.CONTROL:
        if inputs.control is None:
            return Outcome(check, CONTROL, skipped="the control node was not looked at")
        return _made(check, CONTROL, inputs)
    return _made(check, SITE_FILE, inputs)


def _of_host(needs: HostNeeds, inputs: PreflightInputs) -> Iterator[Outcome]:
    name, known = needs.host, inputs.plan.facts
    facts = known.hosts.get(name)
    unknown = UnreachableHost(reason="no answer was recorded", kind="failed")
    lost = None if facts else known.unreachable.get(name, unknown)
    for check in CHECKS:
        if not check.is_of_hosts:
            continue
        if check.subject is Subject.REACH:
            yield _made(check, name, Call(name, inputs.plan.site, lost))
        elif facts is None:
            yield Outcome(check, name, skipped="the host gave no answer")
        elif check.subject is Subject.CONDITION and facts.condition is None:
            yield Outcome(check, name, skipped="the host was not asked for its condition")
        else:
            yield _made(check, name, HostView(needs, facts, inputs))


def _made(check: Check, where: str, seen: Any) -> Outcome:  # noqa: ANN401 - as the subject says
    findings = (_finding(check, where, trouble) for trouble in check.look(seen))
    return Outcome(check, where, tuple(findings))


def _finding(check: Check, where: str, trouble: Trouble | str) -> Finding:
    if isinstance(trouble, str):
        trouble = Trouble(trouble)
    problem = Problem(where, trouble.what, trouble.hint or check.fix, check.code)
    severity = Severity.WARN if trouble.mild else check.severity
    return Finding(check.code, problem, severity, check.name)
