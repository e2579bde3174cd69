"""How long work reports that it advances: a protocol, so that no library code prints."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol


class Task(Protocol):
    """One piece of work under way, measured in bytes or in steps."""

    def advance(self, amount: int) -> None:
        """Report ``amount`` more bytes (or steps) as done."""

    def describe(self, text: str) -> None:
        """Say what is being worked on now, such as a file's name."""


class Progress(Protocol):
    """Where work reports to; the command line draws it, tests ignore it."""

    @contextmanager
    def task(self, label: str, *, total: int | None = None, unit: str = "bytes") -> Iterator[Task]:
        """Open a piece of work of ``total`` ``unit`` (``bytes`` or ``steps``; None: unknown)."""
        ...

    def note(self, text: str) -> None:
        """Say one line that should stay visible."""


class _SilentTask:
    def advance(self, amount: int) -> None:
        pass

    def describe(self, text: str) -> None:
        pass


class SilentProgress:
    """Reports nowhere."""

    @contextmanager
    def task(self, label: str, *, total: int | None = None, unit: str = "bytes") -> Iterator[Task]:  # noqa: ARG002
        """Open a task that nobody watches."""
        yield _SilentTask()

    def note(self, text: str) -> None:
        """Drop the line."""


def human_bytes(amount: float) -> str:
    """Return ``amount`` bytes in decimal units, as disks are sold: ``98.4 MB``."""
    for unit in ("bytes", "kB", "MB", "GB"):
        if abs(amount) < 1000:
            return f"{amount:.0f} {unit}" if unit == "bytes" else f"{amount:.1f} {unit}"
        amount /= 1000
    return f"{amount:.1f} TB"
