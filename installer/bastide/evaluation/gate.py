"""The evaluation gate: may a generation stay that answers like this? Pure."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import get_args

from bastide.errors import VerifyError
from bastide.schema.release import EvaluationGate
from bastide.schema.scores import (
    Finding,
    GateVerdict,
    GenerationScores,
    Measure,
    SearchScore,
    ShareScore,
)
from bastide.schema.site import Group

OTHER_QUESTIONS = "BAS-7033"
ROUNDING = 1e-9  # shares are sums of fractions

MEASURES: tuple[Measure, ...] = get_args(Measure)
LABELS: dict[Measure, str] = {
    "answers": "good answers",
    "refusals": "right refusals",
    "hit_rate": "passages found",
    "mean_reciprocal_rank": "reciprocal rank",
    "tokens_per_second": "tokens/s",
    "first_token_seconds": "first token",
}
OF_EMBEDDINGS: frozenset[Measure] = frozenset({"hit_rate", "mean_reciprocal_rank"})
OF_SPEED: frozenset[Measure] = frozenset({"tokens_per_second", "first_token_seconds"})
_LESS_IS_BETTER: Measure = "first_token_seconds"


def shown(measure: Measure, value: float | None) -> str:
    """Return a measure's value for people."""
    if value is None:
        return "-"
    if measure == "first_token_seconds":
        return f"{value:.2f} s"
    if measure == "tokens_per_second":
        return f"{value:.1f}"
    return f"{value:.2f}" if measure == "mean_reciprocal_rank" else f"{value:.0%}"


def measures_of(groups: Collection[Group]) -> frozenset[Measure]:
    """Return what is judged on a host of these groups: what it serves."""
    found = set(OF_EMBEDDINGS) if Group.EMBEDDINGS in groups else set()
    return frozenset(found | ({*MEASURES} - OF_EMBEDDINGS if Group.LLM in groups else set()))


def decide(
    gate: EvaluationGate,
    new: GenerationScores,
    old: GenerationScores | None,
    judged: Collection[Measure] = MEASURES,
) -> GateVerdict:
    """Return whether ``new`` reaches every floor and is not much worse than ``old``.

    A question that was answered well in one round and badly in another is held against neither
    side: in the comparison it is good for the new generation, and bad for the old one.

    Args:
        gate: Floors and tolerances.
        new: How the generation did that is to be judged.
        old: How the one before did on the same host; None: only floors count.
        judged: Measures that count; of the others only the values are told.

    Raises:
        VerifyError: The two were asked different questions, or on different hosts.
    """
    if old is not None and (old.suite_digest, old.host) != (new.suite_digest, new.host):
        raise VerifyError(
            f"scores cannot be compared: {old.suite} ({old.suite_digest[:12]}) on {old.host}, "
            f"but {new.suite} ({new.suite_digest[:12]}) on {new.host}",
            code=OTHER_QUESTIONS,
            hint="evaluate both generations with one suite on one host",
        )
    findings = tuple(
        _finding(_Case(gate, measure, new, old, counts=measure in judged)) for measure in MEASURES
    )
    return GateVerdict(passed=all(each.ok for each in findings), findings=findings)


def in_one_sentence(verdict: GateVerdict) -> str:
    """Return what speaks against a generation, or else how it did, with each measure's name."""
    if verdict.failed:
        return "; ".join(f"{LABELS[each.measure]}: {each.words}" for each in verdict.failed)
    known = [each for each in verdict.findings if each.new is not None]
    return ", ".join(f"{LABELS[each.measure]} {shown(each.measure, each.new)}" for each in known)


@dataclass(frozen=True)
class _Case:
    gate: EvaluationGate
    measure: Measure
    new: GenerationScores
    old: GenerationScores | None
    counts: bool = True

    @property
    def floor(self) -> float | None:
        value: float | None = getattr(self.gate.floors, self.measure) if self.counts else None
        return value

    @property
    def tolerance(self) -> float:
        name = "speed" if self.measure in OF_SPEED else self.measure
        value: float = getattr(self.gate.tolerance, name)
        return value

    @property
    def served(self) -> bool:
        """Whether the new generation has the service at all that this measures."""
        return bool(self.new.embedding_model if self.measure in OF_EMBEDDINGS else self.new.model)

    @property
    def allowed(self) -> float | None:
        """The worst value that the old generation's still lets pass."""
        known = self.old is not None and self.counts
        before = getattr(self.old, self.measure) if known else None
        if isinstance(before, ShareScore):
            before = before.low
        if before is None:
            return None
        if self.measure == _LESS_IS_BETTER:  # half as fast is twice as long
            return float(before) / (1 - self.tolerance) if self.tolerance < 1 else None
        if self.measure in OF_SPEED:
            return float(before) * (1 - self.tolerance)
        return max(0.0, float(before) - self.tolerance)


def _reaches(measure: Measure, value: float, limit: float) -> bool:
    if measure == _LESS_IS_BETTER:
        return value <= limit + ROUNDING
    return value >= limit - ROUNDING


def _finding(case: _Case) -> Finding:
    measure, floor, allowed = case.measure, case.floor, case.allowed
    new = case.new.measured(measure)
    old = case.old.measured(measure) if case.old is not None else None
    limits = [each for each in (floor, allowed) if each is not None]
    strictest = min if measure == _LESS_IS_BETTER else max
    faults = _not_measured(case) if new is None else _faults(case, new)
    return Finding(
        measure=measure,
        new=new,
        old=old,
        floor=floor,
        tolerance=case.tolerance if old is not None else None,
        limit=strictest(limits) if limits else None,
        ok=not faults,
        words="; ".join(faults) or _unmeasured(case) or _praise(case),
    )


def _unmeasured(case: _Case) -> str:
    if case.new.measured(case.measure) is not None:
        return ""
    return "not measured" if case.counts else "not served on this host"


def _not_measured(case: _Case) -> list[str]:
    faults = []
    if case.floor is not None:
        faults.append(f"not measured, but {shown(case.measure, case.floor)} is asked for")
    elif case.allowed is not None and case.served:
        faults.append("could be measured before, and now not any more")
    return faults


def _faults(case: _Case, new: float) -> list[str]:
    measure, floor, allowed = case.measure, case.floor, case.allowed
    word = "at most" if measure == _LESS_IS_BETTER else "at least"
    faults = []
    if floor is not None and not _reaches(measure, new, floor):
        faults.append(f"{shown(measure, new)}, {word} {shown(measure, floor)} is asked for")
    score = getattr(case.new, measure)
    best = score.high if isinstance(score, ShareScore) else new
    if allowed is not None and not _reaches(measure, best, allowed):
        old = shown(measure, case.old.measured(measure)) if case.old else "-"
        faults.append(f"{old} before, so {word} {shown(measure, allowed)}")
    return faults


def _praise(case: _Case) -> str:
    parts = []
    if case.floor is not None:
        parts.append("reaches the floor")
    if case.allowed is not None:
        parts.append("within tolerance")
    return ", ".join(parts) or "no limit"


# --- side by side ------------------------------------------------------------------------------
@dataclass(frozen=True)
class Change:
    """A question that came out otherwise than before.

    Args:
        id: The question's.
        question: What was asked.
        old: Its outcome before: good, bad, unsteady.
        new: Its outcome now.
        old_answer: What was said before; for a search, the place of the right passage.
        new_answer: What is said now.
        reason: Why an answer of now is bad.
    """

    id: str
    question: str
    old: str
    new: str
    old_answer: str
    new_answer: str
    reason: str


def changes(new: GenerationScores, old: GenerationScores) -> tuple[Change, ...]:
    """Return the questions whose outcome differs between two generations, losses first."""
    before = {each.id: each for each in old.questions}
    found_before = {each.id: each for each in old.searches}
    found = [
        Change(
            q.id, q.question, was.outcome, q.outcome, was.answer.strip(), q.answer.strip(), q.reason
        )
        for q in new.questions
        if (was := before.get(q.id)) is not None and was.outcome != q.outcome
    ]
    found += [
        Change(s.id, s.question, past.outcome, s.outcome, _place(past), _place(s), "")
        for s in new.searches
        if (past := found_before.get(s.id)) is not None and past.outcome != s.outcome
    ]
    order = {"bad": 0, "unsteady": 1, "not judged": 2, "good": 3}
    return tuple(sorted(found, key=lambda each: order[each.new]))


def _place(search: SearchScore) -> str:
    return "no vector" if search.rank is None else f"{search.passage} at place {search.rank}"
