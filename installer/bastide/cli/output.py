"""How every command speaks: one JSON envelope, one place for errors, one progress display.

Results go to standard output, progress and errors to standard error.
"""

from __future__ import annotations

import dataclasses
import functools
import json
import os
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any, NoReturn, ParamSpec

import click
from pydantic import BaseModel
from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    MofNCompleteColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)
from rich.progress import Progress as RichProgress

from bastide.errors import BastideError
from bastide.progress import Progress, Task, human_bytes

ENVELOPE = "bastide.result/1"
LINE_SECONDS = 5.0  # a plain log gets at most one line a task in this time

P = ParamSpec("P")


def stdout() -> Console:
    """Return the console for results; it honours NO_COLOR and never wraps a path off a terminal."""
    return Console(soft_wrap=not sys.stdout.isatty(), highlight=False)


def stderr() -> Console:
    """Return the console for progress and errors."""
    return Console(stderr=True, soft_wrap=not sys.stderr.isatty(), highlight=False)


def plain(value: Any) -> Any:  # noqa: ANN401 - JSON values are of any type
    """Return a result as the plain values that JSON knows."""
    if isinstance(value, BaseModel):
        return value.model_dump(mode="json")
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = {f.name: getattr(value, f.name) for f in dataclasses.fields(value)}
        # A result's own error stands in the envelope already, with its code and hint;
        # nor is the class of one a value.
        return {k: plain(v) for k, v in fields.items() if not isinstance(v, BaseException | type)}
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [plain(item) for item in value]
    if isinstance(value, Path | Decimal | date):  # a decimal stays exact only as text
        return str(value)
    return value


def envelope(
    command: str,
    result: Any,  # noqa: ANN401 - each command has its own frozen result
    error: BastideError | None,
) -> dict[str, Any]:
    """Return the versioned JSON answer that every command gives under ``--json``."""
    failure = error and {
        "code": error.code,
        "exit_code": error.exit_code,
        "message": str(error),
        "hint": error.hint,
        "problems": [dataclasses.asdict(problem) for problem in error.problems],
    }
    return {
        "schema": ENVELOPE,
        "command": command,
        "ok": error is None,
        "result": plain(result),
        "error": failure,
    }


def _print_error(error: BastideError) -> None:
    console = stderr()
    console.print(f"[bold red]{error.code}[/] ", end="")
    console.print(str(error), markup=False)
    for problem in error.problems:
        code = f"{problem.code} " if problem.code else ""
        console.print(f"  {code}{problem.where}: {problem.what}", markup=False)
        if problem.hint:
            console.print(f"    → {problem.hint}", markup=False)
    if error.hint:
        console.print(f"  what to do: {error.hint}", markup=False)


def fail(error: BastideError) -> NoReturn:
    """Print an error and exit with its code, for the few commands that have no result."""
    _print_error(error)
    sys.exit(error.exit_code)


def reports(
    view: Callable[[Any], None],
) -> Callable[[Callable[P, Any]], Callable[..., None]]:
    """Make a function that returns a frozen result into the body of a command.

    Adds ``--json``; prints the result through ``view`` or as an envelope; turns a
    ``BastideError`` into its message and exit code. ``BASTIDE_DEBUG=1`` shows tracebacks.
    A result with a true ``error`` attribute (a ``BastideError``) is shown and then fails.

    Args:
        view: Prints the result for a person.
    """

    def decorate(action: Callable[P, Any]) -> Callable[..., None]:
        @click.option("--json", "as_json", is_flag=True, help="Print one JSON envelope instead.")
        @functools.wraps(action)
        def body(*args: Any, as_json: bool, **kwargs: Any) -> None:  # noqa: ANN401 - click calls it
            command = click.get_current_context().command_path
            result: Any = None
            failure: BastideError | None = None
            try:
                result = action(*args, **kwargs)
                failure = getattr(result, "error", None)
            except BastideError as error:
                failure = error
                if os.environ.get("BASTIDE_DEBUG"):
                    traceback.print_exc()
            if as_json:
                click.echo(json.dumps(envelope(command, result, failure), indent=2))
            elif result is not None:
                view(result)
            if failure is not None:
                if not as_json:
                    _print_error(failure)
                sys.exit(failure.exit_code)

        return body

    return decorate


class _BarTask:
    def __init__(self, bars: RichProgress, identifier: Any) -> None:  # noqa: ANN401 - rich's TaskID
        self._bars = bars
        self._identifier = identifier

    def advance(self, amount: int) -> None:
        self._bars.advance(self._identifier, amount)

    def describe(self, text: str) -> None:
        self._bars.update(self._identifier, detail=text)


class TerminalProgress:
    """Bars with bytes, rate and time left."""

    def __init__(self) -> None:
        self._console = stderr()

    @contextmanager
    def task(self, label: str, *, total: int | None = None, unit: str = "bytes") -> Iterator[Task]:
        """Draw a bar until the block ends."""
        measures = (
            (DownloadColumn(), TransferSpeedColumn())
            if unit == "bytes"
            else (MofNCompleteColumn(),)
        )
        with RichProgress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=24),
            *measures,
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.fields[detail]}", style="dim"),
            console=self._console,
        ) as bars:
            yield _BarTask(bars, bars.add_task(label, total=total, detail=""))

    def note(self, text: str) -> None:
        """Print a line that stays."""
        self._console.print(text, markup=False)


class _LineTask:
    def __init__(
        self, say: Callable[[str], None], label: str, total: int | None, unit: str
    ) -> None:
        self._say = say
        self._label = label
        self._total = total
        self._unit = unit
        self._done = 0
        self._detail = ""
        self._started = self._spoken = time.monotonic()

    def advance(self, amount: int) -> None:
        self._done += amount
        if time.monotonic() - self._spoken >= LINE_SECONDS:
            self._spoken = time.monotonic()
            self._say(self.line())

    def describe(self, text: str) -> None:
        self._detail = text

    def line(self) -> str:
        """Return amount, rate and time left in one line."""
        elapsed = max(time.monotonic() - self._started, 1e-3)
        rate = self._done / elapsed
        show = human_bytes if self._unit == "bytes" else (lambda amount: f"{amount:.0f}")
        text = f"{self._label}: {show(self._done)}"
        if self._total:
            text += f" of {show(self._total)}"
        if self._unit == "bytes":
            text += f", {human_bytes(rate)}/s"
        if self._total and 0 < self._done < self._total:
            text += f", {(self._total - self._done) / rate:.0f} s left"
        return f"{text}, {elapsed:.0f} s so far" + (f" ({self._detail})" if self._detail else "")


class LineProgress:
    """Plain lines for a log: one when a task ends, and one now and then while it lasts."""

    def _say(self, text: str) -> None:
        click.echo(text, err=True)

    @contextmanager
    def task(self, label: str, *, total: int | None = None, unit: str = "bytes") -> Iterator[Task]:
        """Print lines until the block ends."""
        task = _LineTask(self._say, label, total, unit)
        yield task
        task.describe("")
        self._say(f"{task.line()}; done")

    def note(self, text: str) -> None:
        """Print the line."""
        self._say(text)


def progress() -> Progress:
    """Return bars on a terminal, plain lines elsewhere."""
    return TerminalProgress() if sys.stderr.isatty() else LineProgress()
