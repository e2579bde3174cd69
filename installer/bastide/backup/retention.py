"""Which backups stay. Pure."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from datetime import datetime

from bastide.schema.backup import KeepRules


@dataclass(frozen=True)
class Kept:
    """One backup before the decision.

    Args:
        id: Its name.
        created: When it was made.
        good: Whether it can be believed: only good ones are counted, and only good ones are
            removed. A damaged one is for people.
    """

    id: str
    created: datetime
    good: bool = True


def to_remove(backups: Sequence[Kept], rules: KeepRules) -> tuple[str, ...]:
    """Return the names of the backups that may go, oldest first; never the newest good one.

    Args:
        backups: All that there are, in any order.
        rules: Which stay.
    """
    newest_first = sorted(
        (each for each in backups if each.good), key=lambda each: (each.created, each.id)
    )[::-1]
    kept = {each.id for each in newest_first[: max(rules.last, 1)]}
    kept |= _spread(newest_first, rules.daily, lambda when: when.date())
    kept |= _spread(newest_first, rules.weekly, lambda when: when.isocalendar()[:2])
    kept |= _spread(newest_first, rules.monthly, lambda when: (when.year, when.month))
    return tuple(each.id for each in reversed(newest_first) if each.id not in kept)


def _spread(
    newest_first: Sequence[Kept], many: int, period: Callable[[datetime], Hashable]
) -> set[str]:
    """Return the newest backup of each of the newest ``many`` periods that have one."""
    found: dict[Hashable, str] = {}
    for each in newest_first:
        found.setdefault(period(each.created), each.id)
    return set(list(found.values())[:many])
