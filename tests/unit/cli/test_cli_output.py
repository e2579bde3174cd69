"""The envelope that every command answers with under --json, and how errors end a command."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner, Result

from bastide.cli.output import envelope, reports
from bastide.errors import BastideError, PreflightError, Problem
from bastide.progress import human_bytes


@dataclass(frozen=True)
class Answer:
    where: Path
    error: BastideError | None = None


def run(answer: Answer | BastideError, *arguments: str) -> Result:
    @click.command("try")
    @reports(lambda result: click.echo(f"at {result.where}"))
    def command() -> Any:
        if isinstance(answer, BastideError):
            raise answer
        return answer

    return CliRunner().invoke(command, arguments)


FAILURE = PreflightError("no", code="BAS-5001", hint="do", problems=(Problem("host1", "is down"),))


def test_a_result_is_shown_to_a_person_or_put_into_the_envelope() -> None:
    assert run(Answer(Path("/x"))).stdout == "at /x\n"
    answer = json.loads(run(Answer(Path("/x")), "--json").stdout)
    assert answer == {
        "schema": "bastide.result/1",
        "command": "try",
        "ok": True,
        "result": {"where": "/x", "error": None},
        "error": None,
    }


def test_a_class_within_a_result_is_no_value_of_the_envelope() -> None:
    @dataclass(frozen=True)
    class Failure:
        what: str
        error: type[BastideError]

    assert envelope("try", Failure("it", PreflightError), None)["result"] == {"what": "it"}


@pytest.mark.parametrize("answer", [FAILURE, Answer(Path("/x"), FAILURE)])
def test_a_failure_has_its_code_hint_and_problems(answer: Answer | BastideError) -> None:
    done = run(answer, "--json")
    assert done.exit_code == 5
    assert json.loads(done.stdout)["error"] == {
        "code": "BAS-5001",
        "exit_code": 5,
        "message": "no",
        "hint": "do",
        "problems": [{"where": "host1", "what": "is down", "hint": "", "code": ""}],
    }


def test_a_person_reads_what_where_and_what_to_do() -> None:
    done = run(FAILURE)
    assert done.exit_code == 5
    assert done.stdout == ""
    for word in ("BAS-5001", "no", "host1: is down", "what to do: do"):
        assert word in done.stderr


@pytest.mark.parametrize(
    ("amount", "text"), [(0, "0 bytes"), (999, "999 bytes"), (98_362_432, "98.4 MB")]
)
def test_bytes_are_decimal(amount: int, text: str) -> None:
    assert human_bytes(amount) == text
