"""The short form of tests/torture/upgrade_points.py: four faults at chosen moments of a change.

Old and new are one release with other settings, among them one of the vector DB, so that data is
fenced and copied. The points share one site and run in order; each must leave both hosts old or
new, never mixed, with every acknowledged write.
"""

from __future__ import annotations

import random
from collections.abc import Iterator

import pytest
from upgrade_site import Site, set_up, tear_down
from upgrade_torture import Result, Torture

pytestmark = [pytest.mark.e2e, pytest.mark.long]
SEED = 4


@pytest.fixture(scope="module")
def torture(lab_tools: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Torture]:  # noqa: ARG001
    site = Site(tmp_path_factory.mktemp("faults"), "faults", settings=True)
    try:
        set_up(site)
        torture = Torture(site, SEED)
        torture.prepare()
        yield torture
    finally:
        tear_down(site)


@pytest.mark.parametrize(
    ("fault", "outcome"),
    [("kill9", "new"), ("power", "new"), ("service", "old"), ("ssh", "new")],
)
def test_a_disturbed_change_ends_old_or_new_after_one_plain_rerun(
    torture: Torture, fault: str, outcome: str
) -> None:
    operation = "rollback" if torture.is_new else "upgrade"
    result = Result(0, operation, fault, phase="SWITCH", rerun=fault != "service")
    torture.carry_out(result, random.Random(SEED))  # noqa: S311
    assert result.ok, result
    assert result.outcome == outcome, result
    if fault == "service":
        assert result.evidence, "what tells why it failed is kept outside the generation"
