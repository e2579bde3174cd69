"""Waiting for a condition, with a deadline."""

from __future__ import annotations

import time
from collections.abc import Callable

_POLL_SECONDS = 0.05


def until(condition: Callable[[], bool], seconds: float) -> bool:
    """Ask again and again until ``condition`` holds; return False after ``seconds`` without."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() >= deadline:
            return False
        time.sleep(_POLL_SECONDS)
    return True
