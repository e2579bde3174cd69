"""Ctrl-C while a gate looks: the run ends soon, the switch stays open, the next apply goes on.

The tests of this file share one site and run in order.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from site_operator import ON_CONTROL, Operator, brings

pytestmark = [pytest.mark.e2e, pytest.mark.long]

LAB = "interruptedgate"
OLD, NEW = "starter-2026.11.0", "starter-2026.12.0"
OLD_MODEL, NEW_MODEL = "smollm2-135m-instruct-q4_1", "smollm2-135m-instruct-q4_1-t2"
SECONDS = 900.0  # until a phase comes, on a busy machine
# The agent's starter, as `ps` shows it on a host while questions are asked.
ASKING = "pgrep --full --count 'program.*evaluate' || true"


@pytest.fixture(scope="module")
def operator(lab_tools: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Operator]:  # noqa: ARG001
    operator = Operator(tmp_path_factory.mktemp("interruptedgate"), LAB)
    setup = (
        *brings(OLD, NEW),
        "bastide lab up --hosts 1",
        f"bastide init site --lab --release {OLD}",
    )
    with operator.with_lab(*setup):
        operator.plans_and_applies()
        operator.describes(f"release: {OLD}", f"release: {NEW}")
        operator.describes(f"llm: {OLD_MODEL}", f"llm: {NEW_MODEL}")
        yield operator


def wait_until(holds: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + SECONDS
    while not holds():
        assert time.monotonic() < deadline, f"never: {what}"
        time.sleep(0.5)


def interrupted_at(operator: Operator, words: str) -> tuple[int, dict[str, Any]]:
    """Apply as at a terminal, press Ctrl-C once the timeline has ``words``; return how it ended."""
    timeline = operator.folder / "timeline"
    with timeline.open("wb") as lines:
        apply = subprocess.Popen(
            ["bash", "-c", f"exec {ON_CONTROL} bastide apply --site site --replan --yes --json"],
            cwd=operator.folder,
            env=operator.env,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=lines,
            start_new_session=True,
        )
    try:
        wait_until(lambda: words in timeline.read_text() or apply.poll() is not None, words)
        assert apply.poll() is None, timeline.read_text()
        os.killpg(apply.pid, signal.SIGINT)  # as a terminal does: to everybody in the group
        said, _ = apply.communicate(timeout=120)
    finally:
        apply.kill()
    return apply.returncode, json.loads(said)["error"]


def generation(operator: Operator) -> str:
    return operator.on_host("readlink /opt/bastide/current").strip()


def test_before_the_switch_nothing_live_has_changed(operator: Operator) -> None:
    before = generation(operator)
    status, error = interrupted_at(operator, "asking the present generation")
    assert (status, error["code"]) == (6, "BAS-6003")
    assert "every host runs the generation that it ran" in error["message"]
    assert generation(operator) == before
    wait_until(lambda: operator.on_host(ASKING).strip() == "0", "nobody asks on the host")


def test_in_a_gate_the_switch_stays_open(operator: Operator) -> None:
    before = generation(operator)
    status, error = interrupted_at(operator, "(5/6) GATES")
    assert (status, error["code"]) == (6, "BAS-6003")
    assert "a switch that has begun is open" in error["message"]
    assert generation(operator) != before
    (host,) = operator.asks("status")["result"]["hosts"]
    assert host["state"] == "under way"
    wait_until(lambda: operator.on_host(ASKING).strip() == "0", "nobody asks on the host")


def test_the_next_apply_goes_on_and_passes_the_gates(operator: Operator) -> None:
    operator.asks("apply --replan --yes")
    (host,) = operator.asks("status")["result"]["hosts"]
    assert host["state"] == "up to date"
    assert host["release"] == NEW
