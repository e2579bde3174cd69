"""Where hosts ask the control node which piece to take next: JSON in, JSON out, from any thread."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any

from pydantic import Field, ValidationError

from bastide.run.swarm import DEPOT, Order, Outcome, Report, Swarm, Verdict
from bastide.schema.base import Name, Value

WAIT_SECONDS = 1.0  # a host that has to wait hears so after this time, and asks again
NOTE_LENGTH = 200
Piece = Field(ge=0)
JOIN, NEXT, NEEDED = "/swarm/join", "/swarm/next", "/swarm/needed"


class _Join(Value):
    """A host takes part."""

    host: Name
    serves: bool
    has: tuple[int, ...]
    lacks: tuple[int, ...]


class _Told(Value):
    """What came of an order."""

    piece: int = Piece
    source: str = Field(max_length=64)
    outcome: Outcome
    why: str = Field(default="", max_length=NOTE_LENGTH)


class _Next(Value):
    """A host's worker asks for an order."""

    host: Name
    worker: int = Field(ge=0, lt=64)
    report: _Told | None = None


class _Needed(Value):
    """A host that has everything asks whether it may end."""

    host: Name


class SwarmDesk:
    """Puts hosts' questions to the swarm, one after the other.

    Args:
        swarm: Who decides.
        addresses: Where each host gives pieces: address and port, by the host's name.
        say: Takes a line for people.
    """

    def __init__(
        self,
        swarm: Swarm,
        addresses: Mapping[str, tuple[str, int]],
        say: Callable[[str], None],
    ) -> None:
        self._swarm = swarm
        self._addresses = addresses
        self._say = say
        self._news = threading.Condition()

    def from_peers(self) -> dict[str, int]:
        """Return the verified bytes that each host has taken from others so far."""
        with self._news:
            return self._swarm.from_peers

    def answer(self, path: str, body: bytes) -> dict[str, Any]:
        """Return the answer to one question.

        Args:
            path: Which question.
            body: What the host says, JSON.

        Raises:
            ValueError: The question makes no sense.
        """
        try:
            with self._news:
                answer = self._answer(path, body)
                notes, self._swarm.notes = self._swarm.notes, []
        except ValidationError as error:
            raise ValueError("not well formed") from error
        for note in notes:  # without the lock: whoever takes the line may ask for bytes
            self._say(json.dumps(note, ensure_ascii=True)[1:-1])
        return answer

    def _answer(self, path: str, body: bytes) -> dict[str, Any]:
        if path == JOIN:
            join = _Join.model_validate_json(body)
            now = time.monotonic()
            self._swarm.join(join.host, join.has, join.lacks, now, serves=join.serves)
            self._news.notify_all()
            return {}
        if path == NEXT:
            return self._next(_Next.model_validate_json(body))
        if path == NEEDED:
            host = _Needed.model_validate_json(body).host
            return {"needed": self._swarm.is_needed(host, time.monotonic())}
        raise ValueError(path)

    def _next(self, asked: _Next) -> dict[str, Any]:
        told = asked.report
        report = Report(told.piece, told.source, told.outcome, told.why) if told else None
        deadline = time.monotonic() + WAIT_SECONDS
        found = self._swarm.next(asked.host, asked.worker, report, time.monotonic())
        if report is not None:
            self._news.notify_all()
        while found is Verdict.WAIT and (left := deadline - time.monotonic()) > 0:
            self._news.wait(left)
            found = self._swarm.next(asked.host, asked.worker, None, time.monotonic())
        if isinstance(found, Order):
            return {
                "piece": found.piece,
                "source": found.source,
                "where": None if found.source == DEPOT else self._addresses[found.source],
                "seconds": found.seconds,
            }
        return {str(found): True}
