"""Which plan a run carries out: the one that was approved, if it still holds. Pure."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from bastide.errors import PreflightError
from bastide.plan.planner import is_stale
from bastide.schema.plan import Plan

STALE = "BAS-5065"
NOT_APPROVED = "BAS-5066"

Approve = Callable[[Plan], bool]


@dataclass(frozen=True)
class Settled:
    """The plan that will be carried out.

    Args:
        plan: What is to be done, as of now.
        approved: Digest of the plan that the operator has seen.
        note: What the operator should know about the difference; empty if there is none.
    """

    plan: Plan
    approved: str
    note: str = ""


def settle(approved: Plan | None, fresh: Plan, begun: str, approve: Approve) -> Settled:
    """Return the plan to carry out.

    A plan that was begun before may be carried out again as long as it leads to the same
    generations: that is how a run that failed or was killed is finished by a plain second call.

    Args:
        approved: The plan that the operator has seen; None asks ``approve`` about the fresh one.
        fresh: A plan made just now.
        begun: Digest of the plan that the site's newest run began; empty if there is none.
        approve: Shows a plan and returns whether to go on.

    Raises:
        PreflightError: The plan is stale, or was not approved; nothing was changed.
    """
    if approved is None:
        if not approve(fresh):
            raise PreflightError(
                "the plan was not approved; nothing was changed", code=NOT_APPROVED
            )
        return Settled(fresh, fresh.digest())
    reasons = is_stale(approved, fresh)
    if not reasons:
        return Settled(approved, approved.digest())
    if approved.digest() == begun and same_target(approved, fresh):
        rest = f"{fresh.changes} changes are left" if fresh.changes else "nothing is left to do"
        note = f"this plan was begun before; it leads where it did, and {rest}"
        return Settled(fresh, approved.digest(), note)
    raise PreflightError(
        "the plan is stale, nothing was changed: " + "; ".join(reasons),
        code=STALE,
        hint="run `bastide plan` and look at the new plan, then `bastide apply`",
    )


def same_target(one: Plan, other: Plan) -> bool:
    """Return whether two plans lead every host to the same content."""

    def target(plan: Plan) -> object:
        hosts = {h.host: (h.address, h.groups, h.generation_digest) for h in plan.hosts}
        return plan.site, plan.site_digest, plan.release, plan.bundle, hosts

    return target(one) == target(other)
