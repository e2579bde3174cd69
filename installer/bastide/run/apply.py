"""Carries out a plan: the order of an apply, and nothing else."""

from __future__ import annotations

from bastide.host.lock import exclusive_lock
from bastide.run.follow import RunObserver, SilentObserver
from bastide.run.session import Order, open_session
from bastide.run.summary import ApplyResult


def apply(order: Order, observer: RunObserver | None = None) -> ApplyResult:
    """Bring every host of the plan to its wanted generation; return what came of it.

    A plan without changes is carried out as well: that proves that nothing has to change.

    Args:
        order: Plan, site and what it should be.
        observer: Who watches.

    Raises:
        LockedError: Another run holds the site.
        PreflightError: A host is out of reach or the plan is stale; nothing was changed.
        ConfigError: Secrets or templates are wrong; nothing was changed.
    """
    with (
        exclusive_lock(order.folder.lock, f"apply of {order.plan.release}"),
        open_session(order, observer or SilentObserver()) as session,
    ):
        facts = session.ask_hosts()
        inputs = session.require_current(facts)
        session.write_folder(inputs)
        with session.depot() as depot:
            outcome = session.carry_out(depot)
        return session.conclude(outcome)
