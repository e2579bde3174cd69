"""A site's upgrade is rehearsed while the site itself is down.

"Production" is a lab host that is installed for real and then removed: what is left is the site's
folder. The tests of this file share it and run in order.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from site_operator import ON_CONTROL, Operator, brings

from bastide.lab.spec import host_address
from bastide.schema.rehearsal import Rehearsal

pytestmark = [pytest.mark.e2e, pytest.mark.long]

PRODUCTION, LAB = "rehprod", "rehearsed"
OLD, NEW = "starter-2026.11.0", "starter-2026.12.0"
INIT = (
    f"bastide lab exec -- bastide init site --name plant --release {OLD}"
    f" --host alpha={host_address(PRODUCTION, 'host1')}:llm,embeddings,vectordb,gateway"
    " --ssh-key $BASTIDE_HOME/lab/$BASTIDE_LAB/id_ed25519"
    " --known-hosts $BASTIDE_HOME/lab/$BASTIDE_LAB/known_hosts"
)
WISH = (
    f"sed -i -e 's/^release: .*/release: {NEW}/'"
    " -e 's/^  llm: smollm2-.*/  llm: smollm2-135m-instruct-q4_1-t2/' site/site.yaml"
)
SETUP = (
    *brings(OLD, NEW),
    "bastide lab up --hosts 1",
    INIT,
    f"{ON_CONTROL} bastide apply --site site --yes",
    WISH,
    f"{ON_CONTROL} bastide plan --site site",
    "bastide lab down",
)


class Rehearser(Operator):
    """Somebody who rehearses before upgrading."""

    def rehearses(self, *, expect: int = 0) -> dict[str, Any]:
        """Rehearse; return the envelope."""
        line = f"bastide rehearse --site site --name {LAB} --json"
        answer: dict[str, Any] = json.loads(self.types(line, expect=expect).stdout)
        return answer


@pytest.fixture(scope="module")
def operator(lab_tools: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rehearser]:  # noqa: ARG001
    operator = Rehearser(tmp_path_factory.mktemp("rehearse"), PRODUCTION)
    with operator.with_lab(*SETUP):
        yield operator


def files(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and "reports" not in path.parts
    }


def test_an_upgrade_is_rehearsed_without_production(operator: Rehearser) -> None:
    before = files(operator.site)
    result = operator.rehearses()["result"]
    report = Rehearsal.model_validate(result["report"])
    assert files(operator.site) == before  # nothing but the report
    assert report.good
    steps = {step.name: step for step in report.steps}
    assert list(steps) == ["install", "load", "upgrade", "rollback", "upgrade_again", "settled"]
    assert (report.coming_from, report.release) == (OLD, NEW)
    assert [(pair.host, pair.lab_host) for pair in report.hosts] == [("alpha", "host1")]
    assert report.plan
    assert report.plan_notes == ()  # the lab's plan is the same work as production's
    assert steps["upgrade"].changed
    assert {gate.gate for gate in steps["upgrade"].gates} >= {"verification"}
    assert steps["upgrade"].pulled
    assert steps["rollback"].pulled == 0
    assert "as it was" in steps["rollback"].words
    assert steps["settled"].changed == 0
    seen = {each.service: each for each in steps["upgrade"].services}
    assert seen["chat"].asked > 10
    assert seen["chat"].silence > 0
    assert any(use.peak > use.before for use in steps["upgrade"].disk if use.path == "/opt")
    assert Path(result["html"]).read_text().startswith("<!doctype html>")
    assert (Path(result["html"]).parent / steps["upgrade"].log).read_text()


def test_nothing_of_it_is_left(operator: Rehearser) -> None:
    home = operator.folder / "home"
    assert not (home / "lab" / LAB).exists()
    assert not (home / "rehearsals" / LAB).exists()
    ledger = [json.loads(line) for line in (home / "ledger.jsonl").read_text().splitlines()]
    assert [each["operation"] for each in ledger[-2:]] == ["rehearse", "rehearse"]


def test_a_plan_for_another_goal_is_refused(operator: Rehearser) -> None:
    config = operator.site / "site.yaml"
    kept = config.read_text()
    config.write_text(kept.replace("queue_seconds: 30", "queue_seconds: 31"))
    try:
        assert operator.rehearses(expect=2)["error"]["code"] == "BAS-2089"
    finally:
        config.write_text(kept)
