"""Which host takes which piece from whom: the control node decides, piece by piece. Pure.

Every piece should leave the control node once. So a host is given a piece from the depot only if no
peer that it can reach has it or is about to have it; what peers have comes from them, the rarest
first. Whatever a host says about its peers, and whatever peers do, costs time at most: the depot is
always there, and digests are the host's own business.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

UPLOADS = 3  # pieces that one host is asked for at the same time
# Pieces that leave the control node at the same time for hosts that can pass them on. The fewer,
# the sooner each is whole, and only then can it be passed on; too few would not fill the link.
LANES = 4
ALONE = 2  # the same for one host that can pass nothing on
FIRST_SECONDS = 60.0  # how long a piece may take as long as nobody knows how fast the network is
GRACE_SECONDS = 5.0
SLOW = 4.0  # times as long as usual, after which a transfer is not waited for
LIGHTEST = 1 << 20  # bytes
SILENT_SECONDS = 60.0  # a host that was not heard of for so long, at most, is not waited for
STRAGGLER_SECONDS = 15.0  # how long a host that is ready waits for those that have not begun
DEPOT = ""  # as a source


@dataclass(frozen=True)
class Order:
    """What a host's worker shall fetch.

    Args:
        piece: The piece's number.
        source: The host to ask; ``DEPOT`` for the control node.
        seconds: How long a peer may take before it is given up.
    """

    piece: int
    source: str = DEPOT
    seconds: float = 0.0


class Verdict(StrEnum):
    """Why there is nothing to fetch."""

    WAIT = "wait"  # peers are about to have it, or are busy
    FULL = "full"  # the host has everything


class Outcome(StrEnum):
    """What came of an order."""

    GOT = "got"
    WRONG = "wrong"  # the source gave other bytes
    FAILED = "failed"  # it gave none, or too slowly


@dataclass(frozen=True)
class Report:
    """What a worker says about its last order.

    Args:
        piece: The piece's number.
        source: Who was asked.
        outcome: What came of it.
        why: In words, if it did not come.
    """

    piece: int
    source: str
    outcome: Outcome
    why: str = ""


@dataclass
class _Member:
    """A host that takes part: what it has, lacks and thinks of others."""

    has: set[int]
    lacks: set[int]
    serves: bool
    seen: float
    shunned: set[str] = field(default_factory=set)
    full_since: float | None = None


@dataclass(frozen=True)
class _Hand:
    """An order under way."""

    order: Order
    since: float


class Swarm:
    """What is known of a run's hosts; every method takes the present time, in seconds.

    Args:
        sizes: Every piece's size in bytes, by its number.
        expected: The hosts that will take part.
    """

    def __init__(self, sizes: Sequence[int], expected: Iterable[str]) -> None:
        self._sizes = sizes
        self._expected = frozenset(expected)
        self._members: dict[str, _Member] = {}
        self._hands: dict[tuple[str, int], _Hand] = {}
        self._liars: set[str] = set()
        self._told: set[tuple[str, Outcome]] = set()
        self._moved = 0  # bytes of all transfers that ended well, and how long those took
        self._took = 0.0
        self._from_peers: Counter[str] = Counter()
        self.notes: list[str] = []  # for people; whoever reads them takes them out

    @property
    def from_peers(self) -> dict[str, int]:
        """Verified bytes that each host has taken from peers."""
        return dict(self._from_peers)

    def join(
        self, host: str, has: Collection[int], lacks: Collection[int], now: float, *, serves: bool
    ) -> None:
        """Let a host take part, or begin anew.

        Args:
            host: Its name.
            has: Pieces that it can give.
            lacks: Pieces that it wants.
            now: The present time.
            serves: Whether others can ask it.

        Raises:
            ValueError: It is no host of this run, or names a piece that is not there.
        """
        named = {*has, *lacks}
        if host not in self._expected or (named and not self._known(min(named), max(named))):
            raise ValueError(host)
        self._hands = {key: hand for key, hand in self._hands.items() if key[0] != host}
        self._members[host] = _Member(set(has), set(lacks) - set(has), serves, now)

    def next(self, host: str, worker: int, report: Report | None, now: float) -> Order | Verdict:
        """Return what a host's worker does next.

        Args:
            host: Its name.
            worker: The worker's number.
            report: What came of its last order.
            now: The present time.

        Raises:
            ValueError: The host has not joined, or reports on a piece that is not there.
        """
        me = self._members.get(host)
        if me is None or (report is not None and not self._known(report.piece)):
            raise ValueError(host)
        me.seen = now
        hand = self._hands.pop((host, worker), None)
        if report is not None:
            self._take(host, report, hand, now)
        if not me.lacks:
            me.full_since = now if me.full_since is None else me.full_since
            return Verdict.FULL
        order = self._choose(host, me, now)
        if order is None:
            return Verdict.WAIT
        self._hands[host, worker] = _Hand(order, now)
        return order

    def is_needed(self, host: str, now: float) -> bool:
        """Return whether others still count on a host that has everything itself."""
        me = self._members.get(host)
        if me is None or not me.serves or host in self._liars:
            return False
        me.seen = now
        ready = now - (me.full_since if me.full_since is not None else now)
        if self._expected - set(self._members) and ready < STRAGGLER_SECONDS:
            return True
        others = (each for name, each in self._members.items() if name != host)
        return any(
            each.lacks & me.has and not self._is_silent(each, now) and host not in each.shunned
            for each in others
        )

    # --- inside ------------------------------------------------------------------------------
    def _is_silent(self, member: _Member, now: float) -> bool:
        longest = 2 * max(self._limit(piece) for piece in member.lacks)
        return now - member.seen > min(longest, SILENT_SECONDS)

    def _known(self, *pieces: int) -> bool:
        return all(0 <= piece < len(self._sizes) for piece in pieces)

    def _take(self, host: str, report: Report, hand: _Hand | None, now: float) -> None:
        me, source = self._members[host], report.source
        if report.outcome is Outcome.GOT:
            new = report.piece in me.lacks
            me.lacks.discard(report.piece)
            me.has.add(report.piece)
            if new and source != DEPOT:
                self._from_peers[host] += self._sizes[report.piece]
            if hand is not None and hand.order.piece == report.piece:
                self._moved += self._weight(report.piece)
                self._took += now - hand.since
            return
        if source not in self._members:  # the depot, which stays whatever is said of it
            return
        me.shunned.add(source)
        if report.outcome is Outcome.WRONG:
            self._liars.add(source)
        if (source, report.outcome) not in self._told:
            self._told.add((source, report.outcome))
            self.notes.append(_note(host, report))

    def _choose(self, host: str, me: _Member, now: float) -> Order | None:
        """Return the best order for ``host``; None if it is better to wait."""
        hands = [(key[0], hand) for key, hand in self._hands.items()]
        own = [hand for who, hand in hands if who == host]
        friends = self._friends(host, me, own, now)
        coming = {
            hand.order.piece
            for who, hand in hands
            if who in friends and not self._is_late(hand, now)
        }
        open_ = me.lacks - {hand.order.piece for hand in own}
        holders = {
            piece: [n for n, each in friends.items() if piece in each.has] for piece in open_
        }
        new = [piece for piece, who in holders.items() if not who and piece not in coming]
        if new and self._has_lane(own, friends, now):
            return Order(self._most_wanted(new))
        busy = Counter(h.order.source for _, h in hands if not self._is_late(h, now))
        offers = (
            (len(who), min((busy[name], name) for name in who), piece)
            for piece, who in holders.items()
            if who and min(busy[name] for name in who) < UPLOADS
        )
        if best := min(offers, default=None):
            return Order(best[2], best[1][1], 2 * self._limit(best[2]))
        return None if open_ else self._again(me, own, now)

    def _has_lane(self, own: Iterable[_Hand], friends: Mapping[str, _Member], now: float) -> bool:
        """Return whether a host may take a piece from the depot just now."""
        count = sum(hand.order.source == DEPOT for hand in own)
        if not any(each.lacks for each in friends.values()):
            return count < ALONE
        busy = [h for h in self._hands.values() if h.order.source == DEPOT]
        return not count and sum(not self._is_late(h, now) for h in busy) < LANES

    def _friends(
        self, host: str, me: _Member, own: Iterable[_Hand], now: float
    ) -> dict[str, _Member]:
        """Return whom ``host`` can ask: not those that keep it waiting too long just now."""
        slow = {hand.order.source for hand in own if self._is_late(hand, now)}
        out = {host, *me.shunned, *self._liars, *slow}
        return {n: each for n, each in self._members.items() if each.serves and n not in out}

    def _again(self, me: _Member, own: Iterable[_Hand], now: float) -> Order | None:
        """Return, at a host's end, an order for a piece that a peer is slow with."""
        lacking = [hand for hand in own if hand.order.piece in me.lacks]
        count = Counter(hand.order.piece for hand in lacking)
        for hand in lacking:
            late = hand.order.source != DEPOT and self._is_late(hand, now)
            if late and count[hand.order.piece] == 1:
                return Order(hand.order.piece)
        return None

    def _most_wanted(self, pieces: Iterable[int]) -> int:
        """Return the piece that most hosts lack, so that it spreads early."""
        wanted: dict[int, int] = defaultdict(int)
        candidates = set(pieces)
        for each in self._members.values():
            for piece in candidates & each.lacks:
                wanted[piece] += 1
        return min(candidates, key=lambda piece: (-wanted[piece], piece))

    def _is_late(self, hand: _Hand, now: float) -> bool:
        return now - hand.since > self._limit(hand.order.piece)

    def _limit(self, piece: int) -> float:
        """Return after how many seconds a transfer of ``piece`` is late."""
        if not self._moved:
            return FIRST_SECONDS
        return GRACE_SECONDS + SLOW * self._took / self._moved * self._weight(piece)

    def _weight(self, piece: int) -> int:
        """Return the bytes by which a transfer's time is judged: no file's last byte is typical."""
        return max(self._sizes[piece], LIGHTEST)


def _note(host: str, report: Report) -> str:
    if report.outcome is Outcome.WRONG:
        return (
            f"{report.source}  gave {host} a piece with wrong bytes: nobody asks it any more; "
            "look at its memory and disk"
        )
    return f"{report.source}  gives {host} no pieces ({report.why}): they come from elsewhere"
