"""Ctrl-C and SIGTERM as a flag, so that a run ends in order instead of in the middle of a line."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
import types
from collections.abc import Iterator

STOPPING = b"\nstopping in order; once more ends at once\n"


@contextlib.contextmanager
def cancellable() -> Iterator[threading.Event]:
    """Return an event that SIGINT or SIGTERM sets while the block lasts.

    A second signal raises ``KeyboardInterrupt``: whoever waits gives up at once. A third one ends
    the process, whatever it does; what it has started dies with it.

    Outside the main thread, where Python takes no signals, the event is simply never set.
    """
    asked = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield asked
        return

    def note(signum: int, frame: types.FrameType | None) -> None:  # noqa: ARG001
        if asked.is_set():
            for number in before:
                signal.signal(number, signal.SIG_DFL)
            raise KeyboardInterrupt
        asked.set()
        with contextlib.suppress(OSError):
            os.write(sys.stderr.fileno(), STOPPING)

    before = {number: signal.signal(number, note) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield asked
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextlib.contextmanager
def interruptible() -> Iterator[None]:
    """Let Ctrl-C raise ``KeyboardInterrupt`` again while the block lasts: somebody is asked."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
