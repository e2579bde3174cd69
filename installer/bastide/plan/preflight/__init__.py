"""Are control node and hosts fit for what the site wants of them? Pure, small checks on values.

``registry`` lists the checks, ``evaluate`` makes them all; what they look at was gathered before.
"""

from bastide.plan.preflight.check import (
    CONTROL,
    Check,
    Finding,
    Outcome,
    PreflightInputs,
    Severity,
)
from bastide.plan.preflight.evaluate import (
    UNFIT,
    check,
    counts,
    evaluate,
    refusal,
    require_fit,
)
from bastide.plan.preflight.junit import junit
from bastide.plan.preflight.needs_met import (
    CLOCK,
    CONTEXT,
    DISK,
    DISK_RESERVE,
    MEMORY,
    OTHER_SYSTEM,
    PORT_TAKEN,
    TOO_OLD,
    megabytes,
)
from bastide.plan.preflight.reach import NO_AGENT, REFUSED, UNREACHABLE
from bastide.plan.preflight.registry import CHECKS, error_rows, table

__all__ = [
    "CHECKS",
    "CLOCK",
    "CONTEXT",
    "CONTROL",
    "DISK",
    "DISK_RESERVE",
    "MEMORY",
    "NO_AGENT",
    "OTHER_SYSTEM",
    "PORT_TAKEN",
    "REFUSED",
    "TOO_OLD",
    "UNFIT",
    "UNREACHABLE",
    "Check",
    "Finding",
    "Outcome",
    "PreflightInputs",
    "Severity",
    "check",
    "counts",
    "error_rows",
    "evaluate",
    "junit",
    "megabytes",
    "refusal",
    "require_fit",
    "table",
]
