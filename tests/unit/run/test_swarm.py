"""Who takes which piece from whom: played through with hosts that die, lie, dawdle and refuse."""

from __future__ import annotations

import heapq
import random
from collections import Counter
from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bastide.run.swarm import ALONE, DEPOT, Order, Outcome, Report, Swarm, Verdict

WORKERS = 3
MIB = 1 << 20


@dataclass
class Host:
    """A host in the play.

    Args:
        lacks: What it begins without.
        seconds: How long it takes for a piece.
        kind: How it behaves towards those who ask it.
        begins: When it joins.
        dies: When it is gone.
    """

    lacks: set[int]
    seconds: float = 1.0
    kind: str = "good"  # good, liar, deaf (does not answer), slow, apart (serves nobody)
    begins: float = 0.0
    dies: float = float("inf")
    has: set[int] = field(default_factory=set)


@dataclass
class Play:
    """What came of it: who had everything when, and how often the depot gave each piece."""

    full: dict[str, float]
    given: Counter[int]
    from_peers: int
    notes: list[str]
    wrong: Counter[tuple[str, str]]


@dataclass(frozen=True, order=True)
class Turn:
    """When which worker asks, and what it reports."""

    when: float
    host: str
    worker: int
    report: Report | None = field(default=None, compare=False)


def play(hosts: dict[str, Host], sizes: list[int], until: float = 1e6) -> Play:
    """Let time pass until every host that lives has everything."""
    swarm = Swarm(sizes, hosts)
    found = Play({}, Counter(), 0, [], Counter())
    queue: list[Turn] = []
    for name, host in hosts.items():
        for worker in range(WORKERS):
            heapq.heappush(queue, Turn(host.begins, name, worker))
    joined: set[str] = set()
    while queue:
        turn = heapq.heappop(queue)
        now, name, worker, report = turn.when, turn.host, turn.worker, turn.report
        assert now < until, "it never ends"
        host = hosts[name]
        if now >= host.dies:
            continue
        if name not in joined:
            joined.add(name)
            swarm.join(name, host.has, host.lacks, now, serves=host.kind != "apart")
        if report is not None and report.outcome is Outcome.GOT:
            host.lacks.discard(report.piece)
            host.has.add(report.piece)
        answer = swarm.next(name, worker, report, now)
        if answer is Verdict.FULL:
            assert not host.lacks
            found.full.setdefault(name, now)
            continue
        if answer is Verdict.WAIT:
            heapq.heappush(queue, Turn(now + 0.5, name, worker))
            continue
        assert isinstance(answer, Order)
        assert answer.piece in host.lacks, "it has that already"
        if answer.source == DEPOT:
            found.given[answer.piece] += 1
        after, told = carry_out(hosts, name, answer, now)
        found.wrong[answer.source, name] += told.outcome is Outcome.WRONG
        heapq.heappush(queue, Turn(now + after, name, worker, told))
    found.from_peers, found.notes = sum(swarm.from_peers.values()), swarm.notes
    return found


def carry_out(hosts: dict[str, Host], name: str, order: Order, now: float) -> tuple[float, Report]:
    """Return how long a transfer takes, and what is reported of it."""
    host = hosts[name]
    good = Report(order.piece, order.source, Outcome.GOT)
    if order.source == DEPOT:
        return host.seconds, good
    peer = hosts[order.source]
    bad = Report(order.piece, order.source, Outcome.FAILED, "refused")
    if peer.kind == "deaf" or now + host.seconds >= peer.dies:
        return min(3.0, order.seconds), bad
    if peer.kind == "slow":
        return order.seconds, bad
    if peer.kind == "liar":
        return host.seconds, Report(order.piece, order.source, Outcome.WRONG, "wrong bytes")
    assert order.piece in peer.has, "a peer is asked for what it does not have"
    return host.seconds, good


def everyone(count: int, pieces: int, **kinds: str) -> dict[str, Host]:
    return {
        f"host{i}": Host(set(range(pieces)), kind=kinds.get(f"host{i}", "good"))
        for i in range(count)
    }


@pytest.mark.parametrize("count", [2, 3, 8, 20])
def test_if_all_is_well_each_piece_leaves_the_control_node_once(count: int) -> None:
    found = play(everyone(count, 100), [4 * MIB] * 100)
    assert found.given == Counter(dict.fromkeys(range(100), 1))
    assert found.from_peers == (count - 1) * 100 * 4 * MIB
    assert len(found.full) == count
    assert not found.notes


def test_a_host_alone_takes_two_pieces_at_a_time_from_the_depot() -> None:
    found = play(everyone(1, 30), [MIB] * 30)
    assert found.given.total() == 30
    assert found.full["host0"] <= 30 / ALONE + 1


def test_what_one_host_alone_lacks_comes_after_what_others_wait_for() -> None:
    hosts = {"a": Host({0, 1, 2, 3}), "b": Host({2, 3})}
    swarm = Swarm([MIB] * 4, hosts)
    for name, host in hosts.items():
        swarm.join(name, (), host.lacks, 0.0, serves=True)
    assert swarm.next("a", 0, None, 0.0) == Order(2)
    assert swarm.next("b", 0, None, 0.0) == Order(3)


def test_a_liar_is_asked_once_by_each_host_at_most_and_then_by_nobody() -> None:
    found = play(everyone(4, 40, host1="liar"), [MIB] * 40)
    assert len(found.full) == 4
    assert found.wrong.total()
    assert max(found.wrong.values()) <= WORKERS  # those that were under way when it came out
    assert len([note for note in found.notes if "host1" in note and "wrong bytes" in note]) == 1


@pytest.mark.parametrize("kind", ["deaf", "slow", "apart"])
def test_a_peer_that_does_not_give_costs_time_only(kind: str) -> None:
    found = play(everyone(4, 40, host1=kind), [MIB] * 40)
    assert len(found.full) == 4
    assert found.given.total() < 40 * 2.2, "only what it alone has leaves the control node again"


def test_hosts_that_cannot_reach_each_other_take_all_from_the_depot_without_waiting() -> None:
    kinds = {f"host{i}": "deaf" for i in range(4)}
    found = play(everyone(4, 40, **kinds), [MIB] * 40)
    assert found.given.total() == 4 * 40
    assert max(found.full.values()) < 40 / ALONE + 4 * 3


def test_a_host_that_dies_in_the_middle_holds_nobody_up_for_long() -> None:
    hosts = everyone(4, 40)
    hosts["host2"].dies = 5.0
    found = play(hosts, [MIB] * 40)
    assert set(found.full) == {"host0", "host1", "host3"}
    assert max(found.full.values()) < 60
    assert found.given.total() < 60


def test_a_host_with_everything_stays_until_the_others_have_it_and_no_longer() -> None:
    swarm = Swarm([MIB] * 2, ["a", "b", "late"])
    swarm.join("a", {0, 1}, (), 0.0, serves=True)
    assert swarm.next("a", 0, None, 0.0) is Verdict.FULL
    swarm.join("b", {0}, {1}, 0.0, serves=True)
    assert swarm.is_needed("a", 20.0)
    assert swarm.next("b", 0, None, 20.0) == Order(1, "a", 120.0)
    assert swarm.next("b", 0, Report(1, "a", Outcome.GOT), 21.0) is Verdict.FULL
    assert not swarm.is_needed("a", 21.0)
    assert swarm.is_needed("b", 22.0), "one has not begun"
    assert not swarm.is_needed("b", 40.0)


def test_a_silent_host_is_not_waited_for() -> None:
    swarm = Swarm([MIB], ["a", "b"])
    swarm.join("a", {0}, (), 0.0, serves=True)
    swarm.join("b", (), {0}, 0.0, serves=True)
    assert swarm.is_needed("a", 59.0)
    assert not swarm.is_needed("a", 61.0)


def test_a_question_is_answered_again_if_its_answer_was_lost() -> None:
    swarm = Swarm([MIB] * 3, ["a"])
    swarm.join("a", (), {0, 1, 2}, 0.0, serves=True)
    report = Report(0, DEPOT, Outcome.GOT)
    assert swarm.next("a", 0, None, 0.0) == Order(0)
    assert swarm.next("a", 0, report, 1.0) == Order(1)
    assert swarm.next("a", 0, report, 1.0) == Order(1)


def test_strangers_and_odd_pieces_are_refused() -> None:
    swarm = Swarm([MIB], ["a"])
    with pytest.raises(ValueError, match="stranger"):
        swarm.join("stranger", (), {0}, 0.0, serves=True)
    with pytest.raises(ValueError, match="a"):
        swarm.join("a", (), {1}, 0.0, serves=True)
    with pytest.raises(ValueError, match="a"):
        swarm.next("a", 0, None, 0.0)
    swarm.join("a", (), {0}, 0.0, serves=True)
    with pytest.raises(ValueError, match="a"):
        swarm.next("a", 0, Report(9, DEPOT, Outcome.GOT), 0.0)


KINDS = st.sampled_from(["good", "good", "good", "liar", "deaf", "slow", "apart"])


@given(st.data())
def test_every_play_ends_and_everyone_who_lives_has_everything(data: st.DataObject) -> None:
    pieces = data.draw(st.integers(1, 25))
    sizes = data.draw(st.lists(st.integers(1, 16 * MIB), min_size=pieces, max_size=pieces))
    hosts = {
        f"host{i}": Host(
            lacks=set(data.draw(st.sets(st.integers(0, pieces - 1)))),
            seconds=data.draw(st.sampled_from([0.01, 0.5, 1.0, 9.0])),
            kind=data.draw(KINDS),
            begins=data.draw(st.sampled_from([0.0, 0.0, 1.0, 30.0])),
            dies=data.draw(st.sampled_from([float("inf"), float("inf"), 2.0, 40.0])),
        )
        for i in range(data.draw(st.integers(1, 6)))
    }
    for host in hosts.values():
        host.has = set(range(pieces)) - host.lacks if data.draw(st.booleans()) else set()
    wanted = sum(len(host.lacks) for host in hosts.values())
    alive = {name for name, host in hosts.items() if host.dies > 1e5}
    found = play(hosts, sizes)
    assert alive <= set(found.full)
    assert found.given.total() <= 2 * wanted, "never more than twice what went out without peers"


@given(st.integers(2, 12), st.integers(1, 60), st.randoms(use_true_random=False))
def test_the_depot_gives_each_piece_once_whatever_the_hosts_speeds_and_starts(
    count: int, pieces: int, chance: random.Random
) -> None:
    hosts = everyone(count, pieces)
    for host in hosts.values():
        host.seconds = chance.uniform(0.5, 2.0)
        host.begins = chance.uniform(0.0, 5.0)
    found = play(hosts, [MIB] * pieces)
    assert set(found.full) == set(hosts)
    assert found.given.total() <= pieces + 1
