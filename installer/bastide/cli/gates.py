"""The gates of an apply: the verification suite, and the golden questions of the release."""

from __future__ import annotations

import dataclasses
import threading
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from bastide import __version__
from bastide.cli.context import SiteContext
from bastide.cli.evaluate import EvaluationResult, golden_questions, write_report
from bastide.errors import BastideError, VerifyError
from bastide.evaluation.gate import in_one_sentence
from bastide.evaluation.suites import LoadedSuite
from bastide.progress import SilentProgress
from bastide.render.report import html
from bastide.run.ask import Line, ask
from bastide.run.evaluate import KeptScores, evaluate_host, gate_host
from bastide.run.facts import facts_of
from bastide.run.gates import GateResult
from bastide.schema.facts import HostFacts
from bastide.schema.release import Gate
from bastide.schema.scores import GenerationScores
from bastide.verify.access import open_access
from bastide.verify.runner import run


@dataclass
class SiteKeeper:
    """Looks at a site's gates with what its bundle carries.

    Args:
        context: The site and the bundle that is applied.
    """

    context: SiteContext
    _old: dict[str, GenerationScores] = field(default_factory=dict)

    def before(self, host: str, cancelled: threading.Event) -> None:
        """Ask ``host``'s present generation the golden questions of the one that comes.

        A host that has switched already, in a run that was cut off, is judged against what was
        kept of the generation before; without that, by the floors alone. So is one whose present
        generation gives no answers: an upgrade must be able to mend it.
        """
        _, loaded = golden_questions(self.context, None)
        kept, line = KeptScores(self.context.folder.evaluations), self._line
        reply = ask(line, "facts", {host: {}}, cancelled=cancelled).get(host)
        facts = facts_of(reply) if reply is not None else None
        if not isinstance(facts, HostFacts) or facts.generation is None:
            return
        opened = facts.transition
        if opened is not None and facts.generation == opened.after:
            content = facts.generations.get(opened.before or 0, "")
            found = kept.find(host, content, loaded.digest)
        else:
            found = _scores_if_it_answers(line, host, loaded, cancelled)
            if found is not None:
                kept.keep(found)
        if found is not None:
            self._old[host] = found

    def evaluate(self, host: str, cancelled: threading.Event) -> GateResult:
        """Ask ``host``'s new generation the golden questions, and compare."""
        started = time.monotonic()
        gate, loaded = golden_questions(self.context, None)
        try:
            old = self._old.get(host)
            gated = gate_host(self._line, host, loaded, gate, old, cancelled)
        except BastideError as error:
            return _result(Gate.EVALUATION, started, str(error), passed=False, host=host)
        KeptScores(self.context.folder.evaluations).keep(gated.scores)
        page = self._folder("evaluation") / "evaluation.html"
        made = f"Made by bastide {__version__} in an apply, on {datetime.now(UTC):%Y-%m-%d %H:%M}."
        write_report(EvaluationResult(gated.verdict, gated.scores, old, gated.looks, page), made)
        words, passed = in_one_sentence(gated.verdict), gated.verdict.passed
        return _result(Gate.EVALUATION, started, words, passed=passed, host=host, report=page)

    def verify(self, pass_: str, cancelled: threading.Event) -> GateResult:
        """Prove the whole site with the verification suite; ``pass_`` lets it write vectors."""
        started, context = time.monotonic(), self.context
        expected = context.expected()
        access = open_access(context.site, context.folder, context.home)
        access = dataclasses.replace(access, pass_=pass_)
        folder = self._folder("gate")
        try:
            quiet = SilentProgress()
            result = run(
                expected,
                access,
                folder=folder,
                page=html,
                progress=quiet,
                marks="not alone",
                cancelled=cancelled,
            )
        except BastideError as error:
            return _result(Gate.VERIFICATION, started, str(error), passed=False)
        report = result.report
        words = f"{report.count('passed')} checks passed"
        if failed := report.failed:
            first = "; ".join(f"{c.host or c.area}: {c.title}: {c.message}" for c in failed[:3])
            words = f"{len(failed)} of {len(report.checks)} checks failed: {first}"
        return _result(Gate.VERIFICATION, started, words, passed=not failed, report=result.html)

    @property
    def _line(self) -> Line:
        return Line(self.context.site, self.context.folder.root)

    def _folder(self, what: str) -> Path:
        return self.context.folder.reports / f"{datetime.now(UTC):%Y%m%dT%H%M%SZ}-{what}"


def _scores_if_it_answers(
    line: Line, host: str, loaded: LoadedSuite, cancelled: threading.Event
) -> GenerationScores | None:
    try:
        return evaluate_host(line, host, loaded, cancelled)
    except VerifyError:
        return None


def _result(
    gate: Gate,
    started: float,
    words: str,
    *,
    passed: bool,
    host: str = "",
    report: Path | None = None,
) -> GateResult:
    return GateResult(gate, passed, words, host, report, round(time.monotonic() - started, 1))
