"""What a site asks of a model, and how long an answer takes with so many users at once.

Decode with several users: a step reads the weights once and every user's cache, and works for all
of them, so it takes the longer of (weights + users x cache) ÷ bandwidth and users ÷ the rate at
which the machine works through tokens (its prefill rate). A mixture of experts reads, with
several users, the experts that any of them uses: 1 - (1 - used ÷ experts)^users of all.
"""

from __future__ import annotations

from dataclasses import dataclass

from bastide.schema.model_card import Task
from bastide.sizing.memory import CacheType, Setting
from bastide.sizing.speed import Machine, predict
from bastide.sizing.subject import Subject


@dataclass(frozen=True)
class Load:
    """What users ask for.

    Args:
        task: What the model is for.
        users: Requests that are answered at once.
        context: Tokens that one request may have.
        prompt: Tokens of a usual prompt, or of a text to embed.
        answer: Tokens of a usual answer.
        latency: Seconds in which a usual answer must be whole; None if it does not matter.
    """

    task: Task
    users: int
    context: int
    prompt: int
    answer: int
    latency: float | None = None

    @property
    def setting(self) -> Setting:
        """How the engine would be set up for it."""
        return Setting(context=self.context, parallel=self.users)


@dataclass(frozen=True)
class Pace:
    """How fast it goes when all users ask at once.

    Args:
        tokens_per_second: Tokens that each user sees a second; None for a model that writes none.
        seconds: Until a usual answer is whole; None if it cannot be said.
    """

    tokens_per_second: float | None
    seconds: float | None


def pace(subject: Subject, machine: Machine, load: Load) -> Pace:
    """Return how fast ``subject`` answers ``load`` on ``machine``."""
    late = predict(subject, machine, past=load.prompt, prompt=load.prompt, cache_type=CacheType.F16)
    if late.decode is None:
        texts = late.prefill and load.users * load.prompt / late.prefill
        return Pace(None, texts)
    empty = predict(subject, machine, past=0, prompt=load.prompt, cache_type=CacheType.F16)
    assert empty.decode is not None  # noqa: S101 - one model, asked twice
    weights = 1 / empty.decode * _experts_read(subject, load.users)
    cache = max(1 / late.decode - 1 / empty.decode, 0.0)
    step = weights + load.users * cache
    reading = 0.0
    if late.prefill:
        step = max(step, load.users / late.prefill)
        reading = load.users * load.prompt / late.prefill
    return Pace(1 / step, reading + load.answer * step)


def _experts_read(subject: Subject, users: int) -> float:
    """Return how many times the weights that one user reads are read with ``users`` of them."""
    shape = subject.architecture
    if not shape.experts or not shape.experts_used:
        return 1.0
    share = shape.experts_used / shape.experts
    return float((1 - (1 - share) ** users) / share)
