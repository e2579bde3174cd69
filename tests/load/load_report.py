"""What a load has seen: one line a request, and what they add up to. Pure."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum
from itertools import pairwise


class Outcome(StrEnum):
    """How a request ended."""

    GOOD = "good"  # a complete answer of the right content
    FAILED = "failed"  # anything else
    REFUSED = "refused"  # a write that was refused with 503 and Retry-After until the load ended


@dataclass(frozen=True)
class Line:
    """One finished request; a line of the log.

    Args:
        time: When it ended, Unix time.
        kind: ``chat``, ``query``, ``embedding`` or ``write``.
        outcome: How it ended.
        status: The HTTP status of the last answer; 0 if there was none.
        latency: Seconds from sending to the end of the answer, retries included.
        first_byte: Seconds to the first byte of the answer's body; None if there was none.
        tokens: Pieces of text that a stream brought.
        retries: How often it was refused with Retry-After and sent again.
        error: Why it failed.
    """

    time: float
    kind: str
    outcome: Outcome
    status: int
    latency: float
    first_byte: float | None = None
    tokens: int = 0
    retries: int = 0
    error: str = ""

    def to_json(self) -> str:
        """Return it as one line of JSON."""
        return json.dumps(asdict(self))


@dataclass(frozen=True)
class KindSummary:
    """What the requests of one kind add up to.

    Args:
        requests: Finished requests.
        good: Those with a complete good answer.
        failed: Those without.
        refused: Writes that were refused, properly, to the end.
        retries: How often writes were refused and sent again.
        p50: Median latency of good answers, seconds.
        p99: 99th percentile of their latency.
        longest: The longest that a client waited for a good answer.
        longest_gap: The longest time without a good answer to anybody: the interruption.
        errors: How often each error was seen.
    """

    requests: int
    good: int
    failed: int
    refused: int
    retries: int
    p50: float | None
    p99: float | None
    longest: float | None
    longest_gap: float
    errors: dict[str, int]


def percentile(values: Sequence[float], share: float) -> float | None:
    """Return the smallest value that is not less than ``share`` of them; None of nothing."""
    ordered = sorted(values)
    if not ordered:
        return None
    return ordered[max(math.ceil(share * len(ordered)) - 1, 0)]


def longest_gap(ends: Iterable[float], began: float, ended: float) -> float:
    """Return the longest time between good answers, from the load's beginning to its end."""
    moments = [began, *sorted(ends), max(ended, began)]
    return max(after - before for before, after in pairwise(moments))


def summarise(lines: Sequence[Line], began: float, ended: float) -> dict[str, KindSummary]:
    """Return what requests add up to, by kind.

    Args:
        lines: Finished requests, in any order.
        began: When the load began, Unix time.
        ended: When it began no more requests.
    """
    return {
        kind: _of_kind([line for line in lines if line.kind == kind], began, ended)
        for kind in sorted({line.kind for line in lines})
    }


def failures(summary: dict[str, KindSummary]) -> int:
    """Return how many requests failed in all."""
    return sum(each.failed for each in summary.values())


def _of_kind(lines: Sequence[Line], began: float, ended: float) -> KindSummary:
    good = [line for line in lines if line.outcome is Outcome.GOOD]
    failed = [line for line in lines if line.outcome is Outcome.FAILED]
    errors: dict[str, int] = {}
    for line in failed:
        errors[line.error] = errors.get(line.error, 0) + 1
    waits = [line.latency for line in good]
    return KindSummary(
        requests=len(lines),
        good=len(good),
        failed=len(failed),
        refused=len(lines) - len(good) - len(failed),
        retries=sum(line.retries for line in lines),
        p50=percentile(waits, 0.5),
        p99=percentile(waits, 0.99),
        longest=max(waits, default=None),
        longest_gap=round(longest_gap((line.time for line in good), began, ended), 3),
        errors=errors,
    )


@dataclass
class Stream:
    """Judges a streamed chat answer, line by line.

    It is complete only if it says why it finished and then ``[DONE]``.
    """

    tokens: int = 0
    finish_reason: str = ""
    done: bool = False
    fault: str = ""

    def take(self, line: str) -> None:
        """Take one line of the event stream."""
        if not line.startswith("data:"):
            return
        data = line.removeprefix("data:").strip()
        if data == "[DONE]":
            self.done = True
            return
        try:
            event = json.loads(data)
            if "error" in event:
                self.fault = f"an error in the stream: {event['error']}"
                return
            for choice in event["choices"]:
                self.tokens += bool((choice.get("delta") or {}).get("content"))
                self.finish_reason = choice.get("finish_reason") or self.finish_reason
        except (ValueError, KeyError, TypeError, AttributeError):
            self.fault = "an event that is not one of a chat"

    def verdict(self) -> str:
        """Return what is wrong with the answer; nothing if it is complete."""
        if self.fault:
            return self.fault
        if not self.finish_reason:
            return "the stream ended without a finish_reason"
        return "" if self.done else "the stream ended without [DONE]"
