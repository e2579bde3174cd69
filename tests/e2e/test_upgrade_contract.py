"""An upgrade between releases, its rollback and a refused one change what their plans say.

The tests of this file share one site and run in order. Disk is sampled while the upgrade runs.
"""

from __future__ import annotations

import contextlib
import json
import threading
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

import pytest
from contract_operator import Planner, faithful
from site_operator import ON_CONTROL, brings

from bastide import layout
from bastide.plan.fidelity import Unplanned, unfulfilled, unplanned
from bastide.schema.plan import HostPlan, Plan

pytestmark = [pytest.mark.e2e, pytest.mark.long]

LAB = "upgradecontract"
OLD, NEW, GEMMA = "starter-2026.11.0", "starter-2026.12.0", "starter_gemma-2026.12.0"
FOLDERS = "/opt/bastide /var/lib/bastide /etc/bastide"
DEFAULT_MODEL, NEW_MODEL = "smollm2-135m-instruct-q4_1", "smollm2-135m-instruct-q4_1-t2"
GEMMA_MODEL = "gemma-3-270m-q4_k_m"
SETUP = (
    f"bastide models accept {GEMMA_MODEL} --by e2e --reason test",
    *brings(OLD, NEW, GEMMA),
    "bastide lab up --hosts 1",
    f"bastide init site --lab --release {OLD}",
)


@pytest.fixture(scope="module")
def operator(lab_tools: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Planner]:  # noqa: ARG001
    operator = Planner(tmp_path_factory.mktemp("upgradecontract"), LAB)
    with operator.with_lab(*SETUP):
        yield operator


def used(operator: Planner) -> int:
    """Return the bytes that Bastide's folders take on the host, each file counted once."""
    said = operator.on_host(f"du --summarize --total --block-size=1 {FOLDERS} 2>/dev/null || true")
    return int(said.splitlines()[-1].split()[0])


@contextlib.contextmanager
def peak(operator: Planner) -> Iterator[list[int]]:
    """Yield the samples of what is used, taken twice a second until the block ends."""
    samples, ended = [used(operator)], threading.Event()

    def sample() -> None:
        while not ended.wait(0.5):
            samples.append(used(operator))

    thread = threading.Thread(target=sample)
    thread.start()
    try:
        yield samples
    finally:
        ended.set()
        thread.join()
    samples.append(used(operator))


def is_evidence(stray: Unplanned) -> bool:
    """Return whether it is what a run that is taken back leaves for people; no plan foresees it."""
    return PurePosixPath(stray.what).is_relative_to(layout.HOST_EVIDENCE)


def last_plan(operator: Planner) -> HostPlan:
    """Return the host's part of the plan that the newest run carried out."""
    newest: Path = max((operator.site / "runs").glob("*/plan.json"))
    (host,) = Plan.model_validate_json(newest.read_bytes()).hosts
    return host


def test_a_site_of_the_old_release(operator: Planner) -> None:
    faithful(operator)


def test_an_upgrade_changes_what_its_plan_says(operator: Planner) -> None:
    operator.describes(f"release: {OLD}", f"release: {NEW}")
    operator.describes(f"llm: {DEFAULT_MODEL}", f"llm: {NEW_MODEL}")
    before = operator.looks()
    plan = operator.plans()
    with peak(operator) as samples:
        operator.applies()
    after = operator.looks()
    assert unplanned(before, after, plan) == ()
    assert unfulfilled(before, after, plan) == ()
    kept, most = samples[-1] - samples[0], max(samples) - samples[0]
    print(json.dumps({"pulled": plan.bytes_to_pull, "kept": kept, "peak": most}))
    assert most <= sum(plan.disk_needed.values()), "the plan promised more room than that"
    assert most <= 1.05 * kept


def test_a_rollback_changes_what_its_plan_says(operator: Planner) -> None:
    before = operator.looks()
    operator.asks("rollback --yes")
    after, plan = operator.looks(), last_plan(operator)
    assert unplanned(before, after, plan) == ()
    assert unfulfilled(before, after, plan) == ()
    assert plan.bytes_to_pull == 0


def test_another_model_is_kept_or_taken_back_as_its_answers_deserve(operator: Planner) -> None:
    operator.plans()
    operator.applies()  # Gemma's release is reached from the new one only
    operator.describes(f"release: {NEW}", f"release: {GEMMA}")
    operator.describes(f"llm: {NEW_MODEL}", f"llm: {GEMMA_MODEL}")
    before, plan = operator.looks(), operator.plans()
    applied = operator.types(f"{ON_CONTROL} bastide apply --site site --yes --json", expect=None)
    assert applied.returncode in {0, 7}, applied
    answer = json.loads(applied.stdout)
    print(json.dumps(answer["error"] or answer["result"], indent=1))
    strays = [each for each in unplanned(before, operator.looks(), plan) if not is_evidence(each)]
    assert strays == []
    live = operator.on_host("cat /opt/bastide/current/etc/llm.json")
    assert ("smollm2" if answer["error"] else "gemma") in live
    assert (NEW if answer["error"] else GEMMA) in json.dumps(operator.asks("status"))
