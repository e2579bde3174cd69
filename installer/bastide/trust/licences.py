"""The licence gate: a policy and recorded acceptances decide about every artifact; pure.

Of licences that all bind, the strictest decides; of licences to choose from, the mildest does.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from bastide import resources
from bastide.errors import ConfigError, Problem, TrustError
from bastide.schema.artifact import ArtifactKind, Manifest
from bastide.schema.loading import parse_yaml
from bastide.schema.policy import Decision, LicencePolicy, LicenceRule
from bastide.trust.acceptance import Acceptance
from bastide.trust.spdx import AllOf, AnyOf, Expression, OneLicence, understand
from bastide.trust.text import printable

DENIED = "BAS-4052"
NOT_ACCEPTED = "BAS-4053"
NO_POLICY = "BAS-4054"
TERMS = "terms-"  # a catalogue artifact of this name and a model's is a copy of the model's terms
_RANK = {Decision.ALLOW: 0, Decision.ASK: 1, Decision.DENY: 2}


@dataclass(frozen=True)
class Subject:
    """What is judged: an artifact, or a model before there is one.

    Args:
        name: Its name and file, for messages.
        use: Its kind.
        licence: Its licence as declared.
        declared: The place where that was declared.
        terms_sha256: Digest of the terms, if the bundle carries a copy of them.
    """

    name: str
    use: ArtifactKind
    licence: str
    declared: str = ""
    terms_sha256: str | None = None


def subjects_of(manifest: Manifest) -> tuple[Subject, ...]:
    """Return what the gate has to judge of a bundle: all of its artifacts."""
    terms = {a.name: a.sha256 for a in manifest.artifacts if a.name.startswith(TERMS)}
    return tuple(
        Subject(
            f"{a.kind} {a.name} ({a.filename})",
            a.kind,
            a.licence,
            a.licence_from,
            terms.get(f"{TERMS}{a.name}"),
        )
        for a in manifest.artifacts
        if a.name not in terms  # a copy of the terms may go wherever the terms allow the model
    )


@dataclass(frozen=True)
class Reason:
    """Why a licence is not simply allowed, or by whose acceptance it is."""

    licence: str
    decision: Decision
    because: str
    acceptance: Acceptance | None = None


@dataclass(frozen=True)
class Verdict:
    """What the gate says to one artifact.

    Args:
        decision: Allow, ask or deny, acceptances taken into account.
        reasons: The licences that decided it; for an allowed one only accepted ones.
    """

    decision: Decision
    reasons: tuple[Reason, ...] = ()


@dataclass(frozen=True)
class LicenceGate:
    """A policy together with what was accepted on record.

    Args:
        policy: The organisation's on the builder, the site's on import.
        acceptances: Recorded agreements, which turn "ask" into "allow".
    """

    policy: LicencePolicy
    acceptances: tuple[Acceptance, ...] = ()

    def judge(self, subject: Subject) -> Verdict:
        """Return what the policy and the acceptances say to ``subject``."""
        return self._judge(understand(subject.licence), subject)

    def findings(self, subjects: Iterable[Subject]) -> list[Problem]:
        """Return one finding for each of ``subjects`` that is not allowed."""
        found = []
        for subject in subjects:
            verdict = self.judge(subject)
            if verdict.decision is not Decision.ALLOW:
                found.append(self._finding(subject, verdict))
        return found

    def require(self, subjects: Iterable[Subject]) -> None:
        """Return if all of ``subjects`` are allowed.

        Raises:
            TrustError: Some are denied, or need an acceptance first; all of them are named.
        """
        problems = self.findings(subjects)
        if not problems:
            return
        denied = any(problem.code == DENIED for problem in problems)
        what = "does not allow" if denied else "asks for a recorded acceptance of"
        raise TrustError(
            f"the licence policy {self.policy.name!r} {what} the licences of "
            f"{len(problems)} artifact{'s' if len(problems) > 1 else ''}",
            code=DENIED if denied else NOT_ACCEPTED,
            hint="take these artifacts out of the release, or have the policy changed"
            if denied
            else "have the terms read and accepted, then run the same command again",
            problems=tuple(problems),
        )

    def _judge(self, expression: Expression, subject: Subject) -> Verdict:
        match expression:
            case OneLicence():
                return self._judge_one(expression, subject)
            case AllOf(parts=parts):
                verdicts = [self._judge(part, subject) for part in parts]
                worst = max((v.decision for v in verdicts), key=_RANK.__getitem__)
            case AnyOf(options=options):
                verdicts = [self._judge(option, subject) for option in options]
                worst = min((v.decision for v in verdicts), key=_RANK.__getitem__)
                verdicts = [v for v in verdicts if v.decision is worst][:1]
        reasons = (reason for verdict in verdicts for reason in verdict.reasons)
        return Verdict(worst, tuple(dict.fromkeys(reasons)))

    def _judge_one(self, licence: OneLicence, subject: Subject) -> Verdict:
        rule = self._rule(licence, subject.use)
        decision = rule.decision if rule else self.policy.otherwise
        because = rule.because if rule else "no rule of the policy is about it"
        if decision is Decision.ALLOW:
            return Verdict(decision)
        if decision is Decision.ASK:
            for name in dict.fromkeys((licence.key, licence.base, subject.licence)):
                for acceptance in self.acceptances:
                    if acceptance.covers(name, subject.terms_sha256):
                        reason = Reason(licence.key, decision, because, acceptance)
                        return Verdict(Decision.ALLOW, (reason,))
        return Verdict(decision, (Reason(licence.key, decision, because),))

    def _rule(self, licence: OneLicence, use: ArtifactKind) -> LicenceRule | None:
        names = {licence.key.lower(), licence.base.lower(), licence.family.value, "any"}
        for rule in self.policy.rules:
            fits = not rule.uses or use in rule.uses
            if fits and any(name.lower() in names for name in rule.licences):
                return rule
        return None

    def _finding(self, subject: Subject, verdict: Verdict) -> Problem:
        declared = f", declared in {subject.declared}" if subject.declared else ""
        reasons = "; ".join(f"{r.licence}: {r.because}" for r in verdict.reasons)
        what = printable(f"its licence is {subject.licence!r}{declared}. {reasons}")
        if verdict.decision is Decision.DENY:
            return Problem(subject.name, what, "take it out of the release", DENIED)
        names = " and ".join(repr(r.licence) for r in verdict.reasons if r.decision is Decision.ASK)
        hint = f"have somebody read and accept the terms of {printable(names)}, on record"
        if subject.use is ArtifactKind.MODEL:
            model = printable(subject.name.split()[1] if " " in subject.name else subject.name)
            hint += f": bastide models accept {model} --by WHO --reason WHY"
        return Problem(subject.name, what, hint, NOT_ACCEPTED)


def load_policy(path: Path | None = None) -> LicencePolicy:
    """Return the policy in the file at ``path``, else the one that ships with Bastide.

    Raises:
        TrustError: It cannot be read or has mistakes; nothing is allowed by guess.
    """
    source = path or resources.catalogue() / "policies" / "licences.yaml"
    try:
        return parse_yaml(source.read_bytes(), LicencePolicy, where=str(source))
    except (OSError, ConfigError) as error:
        problems: Sequence[Problem] = error.problems if isinstance(error, ConfigError) else ()
        reason = error.strerror if isinstance(error, OSError) else "it has mistakes"
        raise TrustError(
            f"the licence policy {source} cannot be used: {reason}",
            code=NO_POLICY,
            hint="mend the file; `bastide schema policy` prints its format",
            problems=tuple(problems),
        ) from error
