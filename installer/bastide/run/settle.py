"""Which plan a run carries out: what is left, as of now, of the one that was approved. Pure."""

from __future__ import annotations

from collections.abc import Callable

from bastide.errors import PreflightError
from bastide.plan.staleness import is_stale
from bastide.schema.plan import Plan

STALE = "BAS-5065"
NOT_APPROVED = "BAS-5066"

Approve = Callable[[Plan], bool]


def settle(approved: Plan | None, fresh: Plan, approve: Approve) -> Plan:
    """Return the plan to carry out: always the fresh one, if it is what was approved.

    Hosts may be on their way to what the approved plan wants, because a run was cut off or has
    done all of it already: the fresh plan is then what is left.

    Args:
        approved: The plan that the operator has seen; None asks ``approve`` about the fresh one.
        fresh: A plan made just now.
        approve: Shows a plan and returns whether to go on.

    Raises:
        PreflightError: The plan is stale, or was not approved; nothing was changed.
    """
    if approved is None:
        if not approve(fresh):
            raise PreflightError(
                "the plan was not approved; nothing was changed", code=NOT_APPROVED
            )
        return fresh
    reasons = is_stale(approved, fresh)
    if reasons:
        raise PreflightError(
            "the plan is stale, nothing was changed: " + "; ".join(reasons),
            code=STALE,
            hint="run `bastide plan` and look at the new plan, then `bastide apply`",
        )
    return fresh


def what_is_left(approved: Plan | None, fresh: Plan) -> str:
    """Return a sentence on how much of the approved plan is left; empty if all of it is."""
    if approved is None or approved.changes == fresh.changes:
        return ""
    if not fresh.changes:
        return "all of this plan is done already; its steps are checked once more"
    return f"{fresh.changes} of this plan's {approved.changes} changes are left to do"
