"""Carries out a plan: the order of an apply, and nothing else."""

from __future__ import annotations

from bastide.host.lock import exclusive_lock
from bastide.run.follow import RunObserver, SilentObserver
from bastide.run.opening import open_session
from bastide.run.session import Order
from bastide.run.summary import ApplyResult


def apply(order: Order, observer: RunObserver | None = None) -> ApplyResult:
    """Bring every host of the plan to its wanted generation; return what came of it.

    All hosts or none: if one fails after the first switch, or a gate is not passed, every host
    goes back to the generation before.

    Of a plan without changes, every host is asked to prove that there is nothing to do; Ansible
    starts only if one cannot.

    Args:
        order: Site, what it should be, and the plan that leads there.
        observer: Who watches.

    Raises:
        LockedError: Another run holds the site.
        PreflightError: A host is not fit or out of reach, the plan is stale or was not approved;
            nothing was changed.
        ConfigError: Secrets or templates are wrong; nothing was changed.
    """
    with (
        exclusive_lock(order.folder.lock, f"apply of {order.wanted.release}"),
        open_session(order, observer or SilentObserver()) as session,
    ):
        facts = session.ask_hosts()
        inputs = session.settle_plan(facts)
        ended = session.everything_is_done(inputs)
        if ended is None:
            session.write_folder(inputs)
            with session.depot() as depot:
                ended = session.carry_out(depot)
        return session.conclude(ended)
