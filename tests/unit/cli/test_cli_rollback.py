"""What an operator is told of a rollback that did not end well."""

from __future__ import annotations

from pathlib import Path

import pytest

from bastide.cli.rollback import RollbackResult
from bastide.errors import RollbackError
from bastide.run.changeover import Ending
from bastide.run.summary import ApplyResult, RunFailure


def rolled_back(ending: Ending, hint: str = "see the host", *, undone: bool = False) -> str:
    """Return the hint, or nothing if the rollback did what it was asked for."""
    failure = RunFailure(code="BAS-6001", message="host1 failed", hint=hint)
    folder = Path("/runs/9")
    apply = ApplyResult(
        run="9", release="starter", generations={}, hosts=(), seconds={}, elapsed=1.0,
        directory=folder, log=folder / "run.log", failure=failure, ending=ending,
    )  # fmt: skip
    error = RollbackResult("7", apply, undone=undone).error
    assert error is None or isinstance(error, RollbackError)
    return "" if error is None else error.hint


@pytest.mark.parametrize("ending", [Ending.UNDONE, Ending.UNTOUCHED])
def test_nobody_is_alarmed_about_hosts_that_are_as_they_were(ending: Ending) -> None:
    hint = rolled_back(ending, "then run `bastide apply` again")
    assert hint.startswith("every host runs what it ran before the rollback;")
    assert "`bastide rollback --to 7` tries again" in hint
    assert "apply" not in hint, "that would go where the operator wanted to come from"


@pytest.mark.parametrize("ending", [Ending.STUCK, Ending.OPEN])
def test_what_is_left_open_is_said_once(ending: Ending) -> None:
    hint = rolled_back(ending, "a person is needed now: see host1")
    assert hint == "a person is needed now: see host1; `bastide rollback --to 7` goes on"


def test_a_switch_that_was_to_be_undone_and_is_undone_is_no_failure() -> None:
    assert rolled_back(Ending.UNDONE, undone=True) == ""
