"""How old a proof is, on a machine whose clock may be wrong; pure.

Nothing but signatures tells an isolated machine the time. What was believed earlier says that it
is *at least* so late (the floor); a clock that shows less is wrong, and then no age is known. A
clock that shows more cannot be told from a bundle that is really old: that is the operator's to
decide, on the record.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal

from bastide.trust.state import later

TOLERANCE = timedelta(days=1)  # clocks that are set by hand, time zones taken for UTC


@dataclass(frozen=True)
class Freshness:
    """How old a proof is.

    Args:
        age_days: Whole days since it was signed; None if this machine's clock cannot know.
        expires: When the first of its roles runs out.
        expired: The roles that have run out.
        clock: ``behind`` if this machine shows a time before something signed already.
        floor: The latest time that is known to have passed.
    """

    age_days: int | None
    expires: datetime
    expired: tuple[str, ...]
    clock: Literal["plausible", "behind"]
    floor: datetime | None


def freshness(
    expiries: dict[str, datetime],
    signed_at: datetime | None,
    floor: datetime | None,
    now: datetime,
) -> Freshness:
    """Return how old a proof is.

    Args:
        expiries: Role to the end of its metadata's life.
        signed_at: When the publisher says that it signed.
        floor: The latest time known to have passed before this proof.
        now: This machine's clock.
    """
    known = later(floor, signed_at)
    behind = known is not None and now < known - TOLERANCE
    time = later(now, known) or now
    age = None if behind or signed_at is None else (time - signed_at).days
    return Freshness(
        age_days=age,
        expires=min(expiries.values()),
        expired=tuple(sorted(role for role, end in expiries.items() if time >= end)),
        clock="behind" if behind else "plausible",
        floor=known,
    )
