"""Answers that a client got → what it saw of each service. Pure."""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import pairwise

from bastide.schema.artifact import Component
from bastide.schema.rehearsal import Service

GATEWAY = "health"
# What is asked, and which component of the site answers it.
SERVICES = {
    "chat": Component.LLM,
    "embeddings": Component.EMBEDDINGS,
    "vector search": Component.VECTORDB,
    "vector write": Component.VECTORDB,
    GATEWAY: Component.GATEWAY,
}
RETRYABLE = {429, 503}
NO_ANSWER = 0


@dataclass(frozen=True)
class Sample:
    """One request.

    Args:
        service: What was asked.
        sent: When, in seconds of the machine's monotonic clock.
        took: Until the answer, or until none came, in s.
        status: HTTP status; 0 if there was no answer.
    """

    service: str
    sent: float
    took: float
    status: int

    @property
    def answered(self) -> bool:
        """Whether the service was there: anything but nothing, a 5xx or a 429.

        A gateway that says "some service is down" with 503 is there itself.
        """
        if self.service == GATEWAY and self.status in RETRYABLE:
            return True
        return self.status != NO_ANSWER and self.status < 500 and self.status not in RETRYABLE


def services(
    samples: Iterable[Sample], begin: float, end: float, expected: Mapping[Component, int]
) -> tuple[Service, ...]:
    """Return what a client saw of each service from ``begin`` to ``end``.

    Args:
        samples: All requests, in any order.
        begin: When the step began.
        end: When it ended.
        expected: The plan's seconds of interruption, by component.
    """
    kept: dict[str, list[Sample]] = {name: [] for name in SERVICES}
    for sample in samples:
        if begin <= sample.sent <= end and sample.service in kept:
            kept[sample.service].append(sample)
    return tuple(
        _service(name, sorted(found, key=lambda each: each.sent), begin, end, expected)
        for name, found in kept.items()
        if found
    )


def _service(
    name: str, samples: list[Sample], begin: float, end: float, expected: Mapping[Component, int]
) -> Service:
    component = SERVICES[name]
    good = [each for each in samples if each.answered]
    statuses = Counter(each.status for each in samples)
    refused = sum(statuses[status] for status in RETRYABLE)
    failed = sum(
        count
        for status, count in statuses.items()
        if (status == NO_ANSWER or status >= 500) and status not in RETRYABLE
    )
    rejected = sum(count for status, count in statuses.items() if 400 <= status < 500)
    return Service(
        service=name,
        component=component,
        asked=len(samples),
        failed=failed,
        refused=refused,
        rejected=rejected - statuses[429],
        silence=round(_silence(good, begin, end), 2),
        slowest=round(max((each.took for each in good), default=0.0), 2),
        # Writes are refused while a switch lasts, by design; the plan has no figure for them.
        expected=None if name == "vector write" else expected.get(component),
        answers={str(status): count for status, count in sorted(statuses.items())},
    )


def _silence(good: list[Sample], begin: float, end: float) -> float:
    """Return the longest time between two good answers, beyond the usual one.

    A request that the gateway holds until a server is back has failed nothing, and its client has
    waited all the same: so answers count when they arrive.
    """
    arrivals = sorted(each.sent + each.took for each in good)
    if not arrivals:
        return end - begin
    gaps = [after - before for before, after in pairwise(arrivals)] or [0.0]
    usual = statistics.median(gaps)
    edges = (arrivals[0] - begin, max(end - arrivals[-1], 0.0))
    return max(max(*gaps, *edges) - usual, 0.0)
