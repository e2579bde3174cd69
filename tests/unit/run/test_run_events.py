"""ansible-runner's raw events become typed ones, and those a state."""

import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from bastide.run.events import (
    Event,
    Finished,
    PhaseStarted,
    Status,
    StepEnded,
    StepStarted,
    agent_answer,
    explain,
    parse_event,
)
from bastide.run.state import Fetched, RunState, advance, end_phase, with_pulled


def raw(kind: str, **data: Any) -> dict[str, Any]:
    return {"event": kind, "event_data": data}


def ended(kind: str, res: dict[str, Any], **more: Any) -> Event | None:
    return parse_event(raw(kind, host="host1", task="pull", res=res, duration=1.5, **more))


def test_a_play_a_task_and_the_final_count() -> None:
    assert parse_event(raw("playbook_on_play_start", name="(1/5) STAGE: x")) == PhaseStarted(
        "(1/5) STAGE: x"
    )
    assert parse_event(raw("playbook_on_task_start", task="pull", role="base")) == StepStarted(
        "pull", "base"
    )
    stats = raw(
        "playbook_on_stats",
        changed={"a": 2},
        failures={},
        dark={"b": 1},
        processed={"b": 1, "a": 1},
    )
    assert parse_event(stats) == Finished({"a": 2}, {}, {"b": 1}, ("a", "b"))


def test_events_that_nobody_needs_are_dropped() -> None:
    for kind in ("verbose", "runner_on_start", "playbook_on_include", "warning"):
        assert parse_event(raw(kind)) is None
    assert parse_event({}) is None


def test_a_good_check_of_a_roles_inputs_is_no_step_but_a_bad_one_is() -> None:
    action = {"task_action": "ansible.builtin.validate_argument_spec"}
    assert parse_event(raw("playbook_on_task_start", task="Validating", **action)) is None
    assert ended("runner_on_ok", {"changed": False}, **action) is None
    failed = ended("runner_on_failed", {"msg": "missing required arguments"}, **action)
    assert isinstance(failed, StepEnded)
    assert failed.message == "missing required arguments"


def test_how_a_step_can_end() -> None:
    assert ended("runner_on_ok", {"changed": False}) == StepEnded(
        "host1", "pull", "", Status.OK, seconds=1.5
    )
    changed = ended("runner_on_ok", {"changed": True})
    assert isinstance(changed, StepEnded)
    assert changed.status is Status.CHANGED
    ignored = ended("runner_on_failed", {"msg": "x"}, ignore_errors=True)
    assert isinstance(ignored, StepEnded)
    assert ignored.status is Status.OK


def test_the_host_agents_own_words_come_first() -> None:
    error = {"error": {"code": "AGENT-7", "message": "no room", "hint": "free some"}}
    result = {"rc": 1, "msg": "non-zero return code", "stdout": "noise\n" + json.dumps(error)}
    assert explain(result) == ("no room", "AGENT-7", "free some")


def test_other_failures_say_what_ansible_and_the_program_said() -> None:
    assert explain({"msg": "non-zero return code", "rc": 2, "stderr": "E: broken"})[0] == (
        "non-zero return code\nE: broken"
    )
    lost = 'Task failed: Data could not be sent to remote host "10.0.0.1". Make sure this host can be reached over ssh: ssh: connect to host 10.0.0.1 port 22: No route to host'  # noqa: E501
    assert explain({"msg": lost})[0] == "ssh: connect to host 10.0.0.1 port 22: No route to host"
    assert explain({})[0] == "it failed and gave no reason"
    assert "hidden" in explain({"censored": "the output has been hidden"})[0]
    looped = {
        "msg": "One or more items failed",
        "results": [{"failed": False}, {"failed": True, "msg": "second"}],
    }
    assert explain(looped)[0] == "second"


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(),
        lambda inner: (
            st.lists(inner)
            | st.dictionaries(
                st.sampled_from(["msg", "stdout", "stderr", "rc", "results", "failed", "error"]),
                inner,
            )
        ),
    )
)
def test_no_result_however_odd_breaks_the_explanation(value: Any) -> None:
    result = value if isinstance(value, dict) else {"msg": value}
    assert all(isinstance(word, str) for word in explain(result))
    agent_answer(result)


def test_the_state_follows_phases_and_hosts() -> None:
    state = RunState.begin({"host1": 1000, "host2": 0})
    events: list[tuple[Event, float]] = [
        (PhaseStarted("(1/2) STAGE: put artifacts on hosts"), 1.0),
        (StepStarted("pull", "base"), 1.0),
        (StepEnded("host1", "pull", "base", Status.CHANGED), 3.0),
        (StepEnded("host2", "pull", "base", Status.OK), 3.0),
        (PhaseStarted("(2/2) SWITCH: make it current"), 4.0),
        (StepEnded("host1", "switch", "base", Status.FAILED, "broken"), 5.0),
        (Finished({"host1": 1}, {"host1": 1}, {}, ("host1", "host2")), 6.0),
    ]
    for event, at in events:
        state = advance(state, event, at)
    assert state.seconds_by_phase() == {"stage": 3.0, "switch": 2.0}
    assert (state.hosts["host1"].changed, state.hosts["host2"].done) == (1, 1)
    assert [f.phase for f in state.failures] == ["(2/2) SWITCH"]
    assert state.failures[0].message == "broken"
    assert state.phase is None
    assert state.changed == 1


def test_the_first_failure_of_a_host_is_the_one_told() -> None:
    state = RunState.begin({"host1": 0})
    for message in ("first", "second"):
        state = advance(state, StepEnded("host1", "s", "", Status.FAILED, message), 1.0)
    state = advance(state, StepEnded("host1", "t", "", Status.OK), 2.0)
    assert state.hosts["host1"].failure is not None
    assert state.hosts["host1"].failure.message == "first"
    assert state.hosts["host1"].status is Status.FAILED


def test_bytes_of_unknown_hosts_are_ignored() -> None:
    state = with_pulled(
        RunState.begin({"host1": 10}), {"host1": Fetched(3, 1), "stranger": Fetched(9)}
    )
    assert state.hosts["host1"].pulled == 4
    assert set(state.hosts) == {"host1"}


def test_a_phase_without_a_number_keeps_its_name() -> None:
    state = end_phase(advance(RunState.begin({}), PhaseStarted("Ask hosts"), 0.0), 2.0)
    assert state.phases[0].label == "Ask hosts"
    assert state.seconds_by_phase() == {"ask hosts": 2.0}


_EVENTS = st.one_of(
    st.builds(PhaseStarted, st.text(max_size=20)),
    st.builds(StepStarted, st.text(max_size=5), st.just("")),
    st.builds(
        StepEnded,
        st.sampled_from("abc"),
        st.text(max_size=5),
        st.just(""),
        st.sampled_from(Status),
        st.text(max_size=5),
    ),
    st.builds(Finished, st.just({}), st.just({}), st.just({}), st.just(())),
)


@given(st.lists(_EVENTS, max_size=40))
def test_any_order_of_events_keeps_the_books(events: list[Event]) -> None:
    state = RunState.begin({"a": 0, "b": 0})
    for at, event in enumerate(events):
        state = advance(state, event, float(at))
    steps = [e for e in events if isinstance(e, StepEnded)]
    assert state.changed == sum(e.status is Status.CHANGED for e in steps)
    bad = {e.host for e in steps if e.status in {Status.FAILED, Status.UNREACHABLE}}
    assert {f.host for f in state.failures} == bad
    assert all(seconds >= 0 for seconds in state.seconds_by_phase().values())
