"""Evaluates the generation that a host runs, and keeps what came out: the old side of a gate."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from bastide.errors import VerifyError
from bastide.evaluation.gate import decide, measures_of
from bastide.evaluation.golden import job_of, merged, scores_of
from bastide.evaluation.suites import LoadedSuite
from bastide.host.files import write_atomic
from bastide.run.ask import Line, Reply, ask
from bastide.schema.release import EvaluationGate
from bastide.schema.scores import GateVerdict, GenerationScores

NO_ANSWERS = "BAS-7032"

SECONDS = 600.0  # for all questions to one host
GRACE = 60.0  # for logging in, and for the way of the vectors back
PARALLEL = 4  # questions at once: half as long as one by one on 2 cores, and no faster with 8


def evaluate_host(
    line: Line, host: str, loaded: LoadedSuite, cancelled: threading.Event | None = None
) -> GenerationScores:
    """Return how the generation that ``host`` runs now answers a suite; changes nothing there.

    Args:
        line: How hosts are reached.
        host: The host's name; its own model servers are asked, past the gateway.
        loaded: The suite.
        cancelled: Once it is set, the asking ends.

    Raises:
        VerifyError: The host gave no answers: it cannot be reached, runs no generation, or
            switched generations meanwhile; or somebody asked for the end.
    """
    given = {host: job_of(loaded, parallel=PARALLEL, seconds=SECONDS)}
    seconds = SECONDS + GRACE
    replies = ask(line, "evaluate", given, cancelled=cancelled, seconds=seconds)
    raw = _raw(host, replies.get(host, Reply({}, 1, "the asking was stopped")))
    return scores_of(loaded, raw)


@dataclass(frozen=True)
class Gated:
    """A generation before the evaluation gate.

    Args:
        scores: How it did.
        verdict: Whether it passes.
        looks: How often it was evaluated for that.
    """

    scores: GenerationScores
    verdict: GateVerdict
    looks: int


def gate_host(
    line: Line,
    host: str,
    loaded: LoadedSuite,
    gate: EvaluationGate,
    old: GenerationScores | None,
    cancelled: threading.Event | None = None,
) -> Gated:
    """Return whether what ``host`` runs now passes the gate; before a no, it is asked once more.

    A no undoes an upgrade, so it must not come from a neighbour's load or from an answer on the
    edge: rounds of both looks count together, and the better speed. What the host does not serve is
    not asked of it.

    Raises:
        VerifyError: The host gave no answers, or ``old`` is of other questions.
    """
    judged = measures_of(line.site.hosts[host].groups)
    scores = evaluate_host(line, host, loaded, cancelled)
    verdict = decide(gate, scores, old, judged)
    if verdict.passed:
        return Gated(scores, verdict, 1)
    scores = merged(scores, evaluate_host(line, host, loaded, cancelled))
    return Gated(scores, decide(gate, scores, old, judged), 2)


def _raw(host: str, reply: Reply) -> dict[str, Any]:
    if reply.answer.get("format") == "bastide.answers/1":
        return dict(reply.answer)
    error = reply.answer.get("error")
    if isinstance(error, dict):
        raise VerifyError(
            f"{host}: {error.get('message', '')}",
            code=str(error.get("code") or NO_ANSWERS),
            hint=str(error.get("hint", "")),
        )
    words = reply.words.strip().splitlines()
    raise VerifyError(
        f"{host} could not be evaluated: {words[-1] if words else 'it gave no answer'}",
        code=NO_ANSWERS,
        hint="`bastide status` shows whether the host can be reached and its services run",
    )


# --- kept scores -------------------------------------------------------------------------------
@dataclass(frozen=True)
class KeptScores:
    """Scores by host, content of the generation and suite, one JSON file each.

    Args:
        folder: Where they are (``SiteFolder.evaluations``).
    """

    folder: Path

    def path(self, host: str, content: str, suite_digest: str) -> Path:
        """Return the file of one evaluation."""
        return self.folder / f"{host}-{content[:16]}-{suite_digest[:16]}.json"

    def find(self, host: str, content: str, suite_digest: str) -> GenerationScores | None:
        """Return what was kept; None if nothing was, or if it is not of this version."""
        try:
            text = self.path(host, content, suite_digest).read_bytes()
            found = GenerationScores.model_validate_json(text)
        except (OSError, ValidationError):
            return None
        asked = (host, content, suite_digest)
        return found if (found.host, found.content, found.suite_digest) == asked else None

    def keep(self, scores: GenerationScores) -> None:
        """Write scores in the place of earlier ones of the same generation and suite."""
        self.folder.mkdir(parents=True, exist_ok=True)
        path = self.path(scores.host, scores.content, scores.suite_digest)
        write_atomic(path, scores.model_dump_json(indent=2).encode())
