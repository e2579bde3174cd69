"""Clients of a site that keep asking, and what they saw: statuses, gaps between good answers."""

from __future__ import annotations

import http.client
import itertools
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from upgrade_data import Gateway, NetworkThread

PAUSE = 0.3  # seconds between two questions of a client
GIVE_UP = 15.0  # seconds after which a client gives an answer up
SETTLED = 4  # good answers in a row after which a kind of question is taken for well


@dataclass(frozen=True)
class Answer:
    """One question and what came of it.

    Args:
        asked: When, in seconds of the monotonic clock.
        ended: When the answer was whole, or given up.
        status: HTTP status; 0 if there was no answer.
        problem: What stood in its place.
    """

    asked: float
    ended: float
    status: int
    problem: str = ""

    @property
    def good(self) -> bool:
        """Whether it is what was asked for."""
        return self.status == http.client.OK


@dataclass(frozen=True)
class Seen:
    """What the clients of one kind saw over a time.

    Args:
        asked: Questions.
        bad: Status, or the problem's name, and how often.
        gap: Longest time without a good answer, in seconds.
    """

    asked: int
    bad: dict[str, int]
    gap: float


def seen(answers: Sequence[Answer], start: float, end: float) -> Seen:
    """Sum up the answers to questions that were asked between ``start`` and ``end``; pure."""
    within = [each for each in answers if start <= each.asked <= end]
    bad = Counter(str(each.status or each.problem) for each in within if not each.good)
    times = [start, *sorted(each.ended for each in within if each.good), end]
    gap = max(after - before for before, after in itertools.pairwise(times))
    return Seen(len(within), dict(bad), round(gap, 1))


@dataclass
class Prober:
    """Asks every kind of question again and again, each in a thread of its own.

    Args:
        gateway: Whom to ask.
        namespace: Name of the network namespace to ask from.
        chat_model: Name of the chat model.
        embedding_model: Name of the embedding model.
        collection: A collection of the vector DB, and a vector that fits it.
    """

    gateway: Gateway
    namespace: str
    chat_model: str
    embedding_model: str
    collection: tuple[str, list[float]]
    answers: dict[str, list[Answer]] = field(default_factory=dict)
    _stop: threading.Event = field(default_factory=threading.Event)

    def start(self) -> None:
        """Begin to ask."""
        for kind, question in self._questions().items():
            self.answers[kind] = []
            thread = NetworkThread(self.namespace)
            threading.Thread(target=self._keep, args=(kind, thread, question), daemon=True).start()

    def stop(self) -> None:
        """End after the questions under way."""
        self._stop.set()

    def well_since(self, moment: float) -> bool:
        """Return whether every kind has had good answers only, and enough, since ``moment``."""
        fresh = [
            [a for a in each if a.asked >= moment][-SETTLED:] for each in self.answers.values()
        ]
        return all(len(each) == SETTLED and all(a.good for a in each) for each in fresh)

    def _questions(self) -> dict[str, tuple[str, dict[str, object]]]:
        name, vector = self.collection
        words = [{"role": "user", "content": "Say yes."}]
        return {
            "chat": (
                "/v1/chat/completions",
                {"model": self.chat_model, "messages": words, "max_tokens": 4, "temperature": 0},
            ),
            "embeddings": (
                "/v1/embeddings",
                {"model": self.embedding_model, "input": "pump P-301A"},
            ),
            "search": (
                f"/vectordb/collections/{name}/points/query",
                {"query": vector, "limit": 3},
            ),
        }

    def _keep(
        self, kind: str, thread: NetworkThread, question: tuple[str, dict[str, object]]
    ) -> None:
        path, body = question
        while not self._stop.wait(PAUSE):
            asked = time.monotonic()
            status, problem = _ask(thread, lambda: self.gateway.ask("POST", path, body, GIVE_UP))
            self.answers[kind].append(Answer(asked, time.monotonic(), status, problem))


def _ask(thread: NetworkThread, question: Callable[[], tuple[int, object, str]]) -> tuple[int, str]:
    try:
        return thread.do(question)[0], ""
    except TimeoutError:
        return 0, f"no answer in {GIVE_UP:.0f} s"
    except (OSError, http.client.HTTPException) as error:
        return 0, type(error).__name__
