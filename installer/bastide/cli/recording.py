"""Commands that leave their mark in the ledger."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

from bastide.cli.output import stderr
from bastide.errors import BastideError, TrustError
from bastide.layout import Home
from bastide.ledger.record import append
from bastide.schema.ledger import Outcome

P = ParamSpec("P")
R = TypeVar("R")

_REFUSED = {2, 3, 4, 5, 9}  # exit codes of "nothing was done"


def recorded(
    operation: str, about: Callable[[Any], Mapping[str, str]]
) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Write a command's start and end into the ledger; without a record, nothing is done.

    A command that is killed leaves a start without an end.

    Args:
        operation: The command's name.
        about: Returns what the ledger should say of a result, never a secret.
    """

    def decorate(action: Callable[P, R]) -> Callable[P, R]:
        @functools.wraps(action)
        def body(*args: P.args, **kwargs: P.kwargs) -> R:
            path = Home.default().ledger
            begun = _start(path, operation, kwargs)
            try:
                result = action(*args, **kwargs)
            except BastideError as error:
                _end(path, operation, begun, error)
                raise
            except BaseException as error:
                _end(path, operation, {**begun, "what": type(error).__name__}, BastideError(""))
                raise
            details = {**begun, **about(result)}
            _end(path, operation, details, getattr(result, "error", None))
            return result

        return body

    return decorate


def _start(path: Path, operation: str, given: Mapping[str, Any]) -> dict[str, str]:
    paths = {
        name.removesuffix("_dir"): value if isinstance(value, tuple) else (value,)
        for name, value in given.items()
    }
    details = {
        name: ", ".join(str(path.absolute()) for path in found)
        for name, found in paths.items()
        if found and all(isinstance(path, Path) for path in found)
    }
    append(path, operation, "started", details)
    return details


def _end(
    path: Path, operation: str, details: Mapping[str, str], error: BastideError | None
) -> None:
    """Write the end; the work is done by now, so a ledger that is full must not undo it."""
    try:
        if error is None:
            append(path, operation, "done", details)
        else:
            outcome: Outcome = "refused" if error.exit_code in _REFUSED else "failed"
            append(path, operation, outcome, details, error.code)
    except (BastideError, TrustError) as unwritten:
        stderr().print(f"warning: {unwritten}", markup=False)
