"""Preflight writes nothing, and refuses faults before a change: the short form.

``tests/torture/preflight_faults.py`` has the long one, whose table is in docs/reliability.md.
"""

from __future__ import annotations

import time
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from pathlib import Path

import pytest
from preflight_faults import MOVING, RELEASE, Bench, judge
from preflight_kinds import FAULTS, Fault
from site_operator import Operator, brings

pytestmark = [pytest.mark.e2e, pytest.mark.long]

LAB = "preflightfaults"
SHORT = (
    "python3 missing",
    "/opt mounted read-only",
    "package half configured",
    "unit of somebody else with our name",
    "packets from the host to the depot are lost",
    "artifact in the store cut off",
)
SECONDS = 15.0  # for one host; what the issue asks for


@pytest.fixture(scope="module")
def bench(
    lab_tools: None,  # noqa: ARG001
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Bench]:
    """Yield a lab with two bare hosts and an imported bundle; nothing is installed on them."""
    operator = Operator(tmp_path_factory.mktemp("preflight"), LAB)
    setup = (*brings(RELEASE), "bastide lab up --hosts 2")
    with operator.with_lab(*setup), pytest.MonkeyPatch.context() as environment:
        for name in ("BASTIDE_LAB", "BASTIDE_HOME"):
            environment.setenv(name, operator.env[name])
        bench = Bench(operator.folder)
        bench.prepare(install=False)
        yield bench


def test_it_writes_nothing_and_is_quick(bench: Bench, tmp_path: Path) -> None:
    before = bench.listing("host2", MOVING)
    started = time.monotonic()
    code, answer = bench.asks(f"preflight --junit {tmp_path}/p.xml", bench.folder / "fresh")
    seconds = time.monotonic() - started
    assert code == 0, answer["error"]
    assert bench.listing("host2", MOVING) == before
    assert answer["result"]["counts"]["checks"] >= 80
    assert answer["result"]["counts"]["skipped"] == 0
    assert seconds < SECONDS  # an order of magnitude above what it takes
    suites = ET.parse(tmp_path / "p.xml").getroot()  # noqa: S314 - our own file
    assert {suite.get("name") for suite in suites} == {"control node", "site.yaml", "host2"}


KINDS = {fault.kind: fault for fault in FAULTS}


@pytest.mark.parametrize("fault", [KINDS[kind] for kind in SHORT], ids=lambda f: f.kind)
def test_a_fault_is_refused_before_the_first_change(bench: Bench, fault: Fault) -> None:
    verdict = judge(bench, fault)
    assert verdict.good, verdict
