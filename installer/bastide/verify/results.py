"""The plugin's JSON lines → a verification report; pure."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from pydantic import ValidationError

from bastide.errors import VerifyError
from bastide.schema.expectations import Expectations
from bastide.schema.verification import (
    Check,
    Figure,
    FirstAnswer,
    QuestionResult,
    VerificationReport,
)

UNREADABLE = "BAS-7003"

# Names of what checks hand to `record_property`.
DETAIL, FIGURE, FIRST_ANSWER, QUESTION = "detail", "figure", "first_answer", "question"


def read(
    lines: Iterable[str], expected: Expectations, *, started: str, seconds: float
) -> VerificationReport:
    """Return the report that the plugin's ``lines`` make.

    Args:
        lines: Lines of the file of results.
        expected: What was checked.
        started: When the run began, RFC 3339.
        seconds: How long it took.

    Raises:
        VerifyError: A line is not what the plugin writes.
    """
    try:
        events = [json.loads(line) for line in lines if line.strip()]
        found = [event for event in events if event.get("event") == "check"]
        said = [pair for event in found for pair in event["properties"]]
        first = [json.loads(value) for name, value in said if name == FIRST_ANSWER]
        return VerificationReport(
            site=expected.site,
            release=expected.release,
            bundle=expected.bundle,
            gateway=expected.gateway.url,
            models=(expected.chat_model, expected.embedding_model),
            started=started,
            seconds=seconds,
            hosts={name: (host.address, host.groups) for name, host in expected.hosts.items()},
            checks=_merged(_check(event) for event in found),
            figures=tuple(Figure(**json.loads(v)) for name, v in said if name == FIGURE),
            first_answer=FirstAnswer(**first[-1]) if first else None,
            questions=tuple(
                QuestionResult(**json.loads(v)) for name, v in said if name == QUESTION
            ),
        )
    except (ValueError, KeyError, TypeError, AttributeError, ValidationError) as error:
        raise VerifyError(
            f"the verification suite's results cannot be read: {error}",
            code=UNREADABLE,
            hint="the suite and this version of Bastide do not belong together: reinstall Bastide",
        ) from error


def event(line: str) -> dict[str, Any]:
    """Return one of the plugin's lines; an empty event if it is none."""
    try:
        found = json.loads(line)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def _check(event: dict[str, Any]) -> Check:
    return Check(
        id=event["id"],
        area=event["area"],
        title=event["title"],
        host=event["host"],
        outcome=event["outcome"],
        seconds=event["seconds"],
        details=tuple(value for name, value in event["properties"] if name == DETAIL),
        message=event["message"],
    )


def _merged(checks: Iterable[Check]) -> tuple[Check, ...]:
    """Return one entry a check: one that passed and then failed in its clean-up has failed."""
    last: dict[str, Check] = {}
    for check in checks:
        last[check.id] = check
    return tuple(last.values())
