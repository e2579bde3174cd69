"""A run's end is told honestly: success needs Ansible's own final count."""

from pathlib import Path

import pytest

from bastide.run.advice import advise
from bastide.run.changeover import Ended, Ending
from bastide.run.events import Finished, PhaseStarted, Status, StepEnded
from bastide.run.runner import Outcome
from bastide.run.state import Failure, RunState, advance
from bastide.run.summary import HostOutcome, failure_of, host_results

LOG = Path("/site/runs/1/run.log")


def outcome(*, failed: int = 0, dark: int = 0, rc: int = 0, cancelled: bool = False) -> Outcome:
    finished = Finished({}, {"host1": failed}, {"host1": dark}, ("host1", "host2"))
    return Outcome(finished, rc, cancelled, "last words")


def state(*events: StepEnded) -> RunState:
    value = advance(RunState.begin({"host1": 0, "host2": 0}), PhaseStarted("(2/5) STAGE: x"), 0.0)
    for event in events:
        value = advance(value, event, 1.0)
    return value


def test_a_good_run_has_no_error() -> None:
    good = state(StepEnded("host1", "pull", "", Status.CHANGED))
    assert failure_of(good, Ended(outcome(), Ending.KEPT), LOG) is None
    assert [r.outcome for r in host_results(good, outcome())] == [
        HostOutcome.CHANGED,
        HostOutcome.OK,
    ]


def test_without_the_final_count_nothing_is_called_good() -> None:
    ended = Outcome(None, 0, cancelled=False, last_words="OSError: disk full")
    error = failure_of(state(), Ended(ended, Ending.OPEN), LOG)
    assert error is not None
    assert error.code == "BAS-6004"
    assert "disk full" in error.message
    assert {r.outcome for r in host_results(state(), ended)} == {HostOutcome.UNFINISHED}


@pytest.mark.parametrize(
    "bad", [outcome(failed=1), outcome(dark=1), outcome(rc=2), outcome(cancelled=True)]
)
def test_any_bad_sign_is_a_failure(bad: Outcome) -> None:
    assert not bad.succeeded
    assert failure_of(state(), Ended(bad, Ending.OPEN), LOG) is not None


def test_a_failure_names_host_step_words_and_what_to_do() -> None:
    broken = state(
        StepEnded(
            "host1", "pull artifacts", "base", Status.FAILED, "OSError: No space left on device"
        )
    )
    error = failure_of(broken, Ended(outcome(failed=1, rc=2), Ending.OPEN), LOG)
    assert error is not None
    assert error.code == "BAS-6001"
    problem = error.problems[0]
    assert problem.where == "host1"
    assert "(2/5) STAGE pull artifacts" in problem.what
    assert "free some room" in problem.hint
    assert str(LOG) in error.hint
    first, second = host_results(broken, outcome(failed=1, rc=2))
    assert (first.host, first.outcome, first.step) == (
        "host1",
        HostOutcome.FAILED,
        "pull artifacts",
    )
    assert second.outcome is HostOutcome.UNFINISHED


def test_hosts_that_failed_for_one_cause_stand_together() -> None:
    both = state(*(StepEnded(h, "pull", "", Status.FAILED, "same") for h in ("host1", "host2")))
    error = failure_of(both, Ended(outcome(failed=1, rc=2), Ending.OPEN), LOG)
    assert error is not None
    assert [p.where for p in error.problems] == ["host1, host2"]


def test_lost_hosts_have_their_own_code() -> None:
    lost = state(StepEnded("host2", "pull", "", Status.UNREACHABLE, "No route to host"))
    error = failure_of(lost, Ended(outcome(dark=1, rc=4), Ending.OPEN), LOG)
    assert error is not None
    assert error.code == "BAS-6002"


def test_a_stopped_run_says_where() -> None:
    error = failure_of(state(), Ended(outcome(cancelled=True, rc=254), Ending.OPEN), LOG)
    assert error is not None
    assert error.code == "BAS-6003"
    assert "(2/5) STAGE" in error.message


def failure(message: str, *, kind: Status = Status.FAILED, hint: str = "") -> Failure:
    return Failure("host1", "STAGE", "pull", kind, message, hint=hint)


def test_the_agents_hint_wins() -> None:
    assert advise(failure("no space left on device", hint="own words")) == "own words"


@pytest.mark.parametrize(
    ("message", "word"),
    [
        ("root@10.0.0.1: Permission denied (publickey).", "authorized_keys"),
        ("Host key verification failed.", "known_hosts"),
        ("connect to host 10.0.0.1 port 22: No route to host", "address"),
        (
            "certificate verify failed: certificate is not yet valid",
            "clocks",
        ),
        ("E: Could not get lock /var/lib/dpkg/lock", "dpkg --configure"),
        ("Main process exited, code=killed, status=4/ILL", "CPU"),
        ("something never seen before", "run `bastide apply` again"),
    ],
)
def test_known_failures_have_advice(message: str, word: str) -> None:
    assert word in advise(failure(message))
