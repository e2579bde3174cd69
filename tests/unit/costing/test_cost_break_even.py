"""Where servers of one's own begin to pay: a staircase against a slope."""

from __future__ import annotations

from decimal import Decimal

from hypothesis import given
from hypothesis import strategies as st

from bastide.costing.break_even import Slope, Staircase, break_even

TOKENS = Decimal(1000)


def stairs(each: int = 100, capacity: int = 10, minimum: int = 1, rest: int = 0) -> Staircase:
    return Staircase("own", minimum, Decimal(capacity), Decimal(each), Decimal(rest))


def slope(variable: int, fixed: int = 0) -> Slope:
    return Slope("service", Decimal(fixed), Decimal(variable))


def test_one_server_pays_from_where_the_service_costs_as_much() -> None:
    found = break_even(stairs(), slope(20), TOKENS)
    assert (found.first, found.servers, found.tokens) == (Decimal(5), 1, Decimal(5000))


def test_a_second_server_can_make_it_dear_again_for_a_while() -> None:
    found = break_even(stairs(), slope(11), TOKENS)
    assert found.first == Decimal(100) / 11
    # At 10 times a second server is bought (200); it pays from 18.2 on, the third from 27.3 on …
    assert found.lasting is not None
    assert found.lasting == Decimal(1000) / 11 / Decimal(1)  # … the tenth, bought at 90, from 90.9


def test_a_service_that_is_cheaper_than_a_full_server_always_wins() -> None:
    found = break_even(stairs(), slope(9), TOKENS)
    assert (found.first, found.lasting) == (None, None)


def test_two_servers_at_least() -> None:
    found = break_even(stairs(minimum=2), slope(20), TOKENS)
    assert (found.first, found.servers) == (Decimal(10), 2)


def test_own_servers_pay_at_once_if_the_service_has_a_high_base_fee() -> None:
    found = break_even(stairs(), slope(20, fixed=500), TOKENS)
    assert found.first == 0


COSTS = st.integers(1, 500)


@given(each=COSTS, capacity=st.integers(1, 50), minimum=st.integers(1, 4), variable=COSTS)
def test_first_and_lasting_keep_their_word(
    each: int, capacity: int, minimum: int, variable: int
) -> None:
    own, service = stairs(each, capacity, minimum), slope(variable)
    found = break_even(own, service, TOKENS)
    grid = [Decimal(capacity) * step / 7 for step in range(1, 7 * 40)]
    for times in grid:
        cheaper = own.at(times) <= service.at(times)
        if found.first is None or times < found.first:
            assert not cheaper
        if found.lasting is not None and times > found.lasting:
            assert cheaper
