"""What `bastide status` tells a person: health first of all, and how old what runs is."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from bastide.cli import status
from bastide.cli.status import GenerationStatus, HostStatus, SiteStatus
from bastide.schema.site import Group

LONG_AGO = (datetime.now(UTC) - timedelta(days=12, hours=3)).isoformat(timespec="seconds")


def host(name: str, state: str = "active", *, reachable: bool = True) -> HostStatus:
    return HostStatus(
        host=name,
        address="10.0.0.11",
        groups=(Group.LLM,),
        reachable=reachable,
        state="up to date" if reachable else "unreachable",
        reason="" if reachable else "No route to host",
        generation=3 if reachable else None,
        units={"bastide-llm.service": state} if reachable else None,
        generations=(GenerationStatus(3, True, LONG_AGO, "r1"), GenerationStatus(4, False)),
    )


def told(capsys: pytest.CaptureFixture[str], *hosts: HostStatus) -> str:
    status._view(SiteStatus("plant", "starter", False, hosts))
    return capsys.readouterr().out


def test_age_and_proof_of_each_generation_are_told(capsys: pytest.CaptureFixture[str]) -> None:
    said = told(capsys, host("host1"))
    assert f"3: live, good since {LONG_AGO}, 12 d\n" in said
    assert "4: not proved\n" in said
    assert "every host answers, its units run" in said


def test_who_is_not_well_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    said = told(capsys, host("a"), host("b", "failed"), host("c", reachable=False))
    assert "not well: b, c\n" in said


@pytest.mark.parametrize(
    ("ago", "words"),
    [
        (timedelta(seconds=5), ", just now"),
        (timedelta(minutes=7), ", 7 min"),
        (timedelta(hours=30), ", 1 d"),
        (timedelta(hours=23), ", 23 h"),
        (timedelta(hours=-2), ""),  # the host's clock is ahead: nothing is claimed
    ],
)
def test_an_age_is_told_in_its_largest_unit(ago: timedelta, words: str) -> None:
    assert status._age((datetime.now(UTC) - ago).isoformat()) == words


def test_a_time_that_is_none_has_no_age() -> None:
    assert status._age("") == status._age("yesterday") == ""
