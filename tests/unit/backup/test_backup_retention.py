from __future__ import annotations

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from bastide.backup.retention import Kept, to_remove
from bastide.schema.backup import KeepRules

NOW = datetime(2026, 11, 26, 2, 30, tzinfo=UTC)
RULES = KeepRules(last=2, daily=3, weekly=2, monthly=2)


def daily(days: int) -> list[Kept]:
    return [Kept(f"b{n:04}", NOW - timedelta(days=n)) for n in range(days)]


def test_newest_days_weeks_and_months_stay() -> None:
    gone = set(to_remove(daily(60), RULES))
    stay = [each.id for each in daily(60) if each.id not in gone]
    # 26, 25, 24 November (last and daily); Sunday the 22nd (the week before); 31 October.
    assert stay == ["b0000", "b0001", "b0002", "b0004", "b0026"]


def test_nothing_goes_before_there_is_more_than_enough() -> None:
    assert to_remove(daily(3), RULES) == ()
    assert to_remove([], RULES) == ()


def test_a_damaged_one_is_neither_counted_nor_removed() -> None:
    one = KeepRules(last=1, daily=0, weekly=0, monthly=0)
    newest = Kept("damaged", NOW + timedelta(days=1), good=False)
    assert to_remove([newest, *daily(2)], one) == ("b0001",)


moments = st.datetimes(datetime(2000, 1, 1), datetime(2100, 1, 1)).map(
    lambda when: when.replace(tzinfo=UTC)
)
numbers = st.integers(0, 5)


@given(
    st.lists(st.tuples(moments, st.booleans()), max_size=40),
    st.builds(KeepRules, last=st.integers(1, 5), daily=numbers, weekly=numbers, monthly=numbers),
)
def test_the_newest_good_one_always_stays(
    made: list[tuple[datetime, bool]], rules: KeepRules
) -> None:
    backups = [Kept(f"b{n}", when, good) for n, (when, good) in enumerate(made)]
    gone = set(to_remove(backups, rules))
    good = sorted((b for b in backups if b.good), key=lambda b: (b.created, b.id))
    assert not gone & {b.id for b in good[-rules.last :]}
    assert not gone & {b.id for b in backups if not b.good}
    stay = [b for b in backups if b.id not in gone]
    assert to_remove(stay, rules) == ()  # once is enough
    most = rules.last + rules.daily + rules.weekly + rules.monthly
    assert len([b for b in stay if b.good]) <= most
    assert list(to_remove(backups, rules)) == [b.id for b in good if b.id in gone]  # oldest first
