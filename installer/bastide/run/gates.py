"""What a new generation must pass before it is kept; who looks is handed in."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from bastide.schema.release import Gate


@dataclass(frozen=True)
class GateResult:
    """How a gate was passed, or not.

    Args:
        gate: Which one.
        passed: Whether it was.
        words: What was found, in one sentence.
        host: The host that was looked at; empty for the whole site.
        report: The page with everything that was found; None if there is none.
        seconds: How long it took.
    """

    gate: Gate
    passed: bool
    words: str
    host: str = ""
    report: Path | None = None
    seconds: float = 0.0


class GateKeeper(Protocol):
    """Looks at the site while a run waits. No method changes what a generation is made of.

    Once ``cancelled`` is set, a look ends soon, and what it finds counts for nothing.
    """

    def before(self, host: str, cancelled: threading.Event) -> None:
        """Measure what ``host`` runs now, as what the new generation is compared with."""

    def evaluate(self, host: str, cancelled: threading.Event) -> GateResult:
        """Ask ``host``'s new generation the golden questions, and compare."""

    def verify(self, pass_: str, cancelled: threading.Event) -> GateResult:
        """Prove the whole site with the verification suite; ``pass_`` lets it write vectors."""


class NoKeeper:
    """Nobody looks: every gate beyond health is passed. For plans whose gates are health alone."""

    def before(self, host: str, cancelled: threading.Event) -> None:
        """Look away."""

    def evaluate(self, host: str, cancelled: threading.Event) -> GateResult:  # noqa: ARG002
        """Look away."""
        return GateResult(Gate.EVALUATION, passed=True, words="not looked at", host=host)

    def verify(self, pass_: str, cancelled: threading.Event) -> GateResult:  # noqa: ARG002
        """Look away."""
        return GateResult(Gate.VERIFICATION, passed=True, words="not looked at")
