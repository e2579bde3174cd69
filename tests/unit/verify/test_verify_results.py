"""The plugin's lines → a report."""

from __future__ import annotations

import json

import pytest
import verify_factories as make

from bastide.errors import VerifyError
from bastide.schema.verification import VerificationReport
from bastide.verify.results import event, read


def report(*events: dict[str, object]) -> VerificationReport:
    lines = make.lines(*events)
    return read(lines, make.make_expectations(), started="2026-11-01T00:00:00+00:00", seconds=3.0)


def test_checks_details_figures_and_the_first_answer_are_read() -> None:
    figure = {"name": "rate", "label": "Rate", "value": 55.0, "unit": "tokens/s"}
    question = {"question": "q", "expected_passage": "HB-1", "rank": None}
    found = report(
        make.check(1, properties=[["detail", "seen"], ["figure", json.dumps(figure)]]),
        make.check(
            2,
            properties=[
                ["first_answer", json.dumps(make.FIRST_ANSWER)],
                ["question", json.dumps(question)],
            ],
        ),
        make.check(3, "skipped"),
    )
    assert found.good
    assert found.checks[0].details == ("seen",)
    assert found.figures[0].value == 55.0
    assert found.first_answer is not None
    assert found.first_answer.answer == "12 metres"
    assert found.questions[0].answer is None
    assert (found.count("passed"), found.count("skipped")) == (2, 1)


def test_a_failed_check_makes_the_site_not_proved() -> None:
    found = report(make.check(1), make.check(2, "failed"))
    assert not found.good
    assert [each.title for each in found.failed] == ["Check 2 holds"]


def test_a_failed_clean_up_counts_against_a_passed_check() -> None:
    found = report(make.check(1), make.check(1, "failed"))
    assert len(found.checks) == 1
    assert not found.good


def test_nothing_checked_proves_nothing() -> None:
    assert not report().good
    assert not report(make.check(1, "skipped")).good


@pytest.mark.parametrize(
    "line", ["{", '{"event": "check"}', "[]", '{"event": "check", "properties": [["figure", "x"]]}']
)
def test_foreign_lines_are_an_error_with_a_code(line: str) -> None:
    with pytest.raises(VerifyError) as failure:
        read([line], make.make_expectations(), started="now", seconds=1)
    assert failure.value.code == "BAS-7003"


def test_half_a_line_is_no_event() -> None:
    assert event('{"event": "che') == {}
    assert event("[1]") == {}
