"""A site's upgrade is rehearsed while the site itself is down.

"Production" is a lab host that is installed for real and then removed: what is left is the site's
folder. The tests of this file share it and run in order.
"""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from bastide.lab.spec import host_address
from bastide.schema.rehearsal import Rehearsal

pytestmark = [pytest.mark.e2e, pytest.mark.long]

PRODUCTION, LAB = "rehprod", "rehearsed"
BUILD = "bastide bundle build --target debian12-x86_64"
INIT = (
    f"bastide lab exec -- bastide init site --name plant --release starter-2026.11.0"
    f" --host alpha={host_address(PRODUCTION, 'host1')}:llm,embeddings,vectordb,gateway"
    " --ssh-key $BASTIDE_HOME/lab/$BASTIDE_LAB/id_ed25519"
    " --known-hosts $BASTIDE_HOME/lab/$BASTIDE_LAB/known_hosts"
)
WISH = (
    "sed -i -e 's/^release: .*/release: starter-2026.12.0/'"
    " -e 's/^  llm: smollm2-.*/  llm: smollm2-135m-instruct-q4_1-t2/' site/site.yaml"
)
SETUP = (
    "bastide trust init --development",
    f"{BUILD} --release starter-2026.11.0 --out old",
    'bastide trust pin old --fingerprint "$(bastide trust fingerprint --plain)"',
    "bastide import old",
    f"{BUILD} --release starter-2026.12.0 --out new",
    "bastide import new",
    "bastide lab up --hosts 1",
    INIT,
    "bastide lab exec -- bastide apply --site site --yes",
    WISH,
    "bastide lab exec -- bastide plan --site site",
    "bastide lab down",
)


class Operator:
    """Somebody who rehearses before upgrading."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.site = folder / "site"
        home = str(folder / "home")
        self.env = {**os.environ, "BASTIDE_HOME": home, "BASTIDE_LAB": PRODUCTION}

    def types(self, line: str, *, expect: int = 0) -> str:
        """Run a shell line; return what it printed."""
        done = subprocess.run(
            ["bash", "-c", line],
            check=False,
            cwd=self.folder,
            env=self.env,
            capture_output=True,
            text=True,
            timeout=3000,
        )
        assert done.returncode == expect, f"$ {line}\n{done.stdout}\n{done.stderr}"
        return done.stdout

    def rehearses(self, *, expect: int = 0) -> dict[str, Any]:
        """Rehearse; return the envelope."""
        line = f"bastide rehearse --site site --name {LAB} --json"
        answer: dict[str, Any] = json.loads(self.types(line, expect=expect))
        return answer


@pytest.fixture(scope="module")
def operator(lab_tools: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Operator]:  # noqa: ARG001
    operator = Operator(tmp_path_factory.mktemp("rehearse"))
    operator.types("bastide lab down --abandoned")
    for line in SETUP:
        operator.types(line)
    yield operator
    operator.types("bastide lab down")


def files(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and "reports" not in path.parts
    }


def test_an_upgrade_is_rehearsed_without_production(operator: Operator) -> None:
    before = files(operator.site)
    result = operator.rehearses()["result"]
    report = Rehearsal.model_validate(result["report"])
    assert files(operator.site) == before  # nothing but the report
    assert report.good
    steps = {step.name: step for step in report.steps}
    assert list(steps) == ["install", "load", "upgrade", "rollback", "upgrade_again", "settled"]
    assert (report.coming_from, report.release) == ("starter-2026.11.0", "starter-2026.12.0")
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


def test_nothing_of_it_is_left(operator: Operator) -> None:
    home = operator.folder / "home"
    assert not (home / "lab" / LAB).exists()
    assert not (home / "rehearsals" / LAB).exists()
    ledger = [json.loads(line) for line in (home / "ledger.jsonl").read_text().splitlines()]
    assert [each["operation"] for each in ledger[-2:]] == ["rehearse", "rehearse"]


def test_a_plan_for_another_goal_is_refused(operator: Operator) -> None:
    config = operator.site / "site.yaml"
    kept = config.read_text()
    config.write_text(kept.replace("queue_seconds: 30", "queue_seconds: 31"))
    try:
        assert operator.rehearses(expect=2)["error"]["code"] == "BAS-2089"
    finally:
        config.write_text(kept)
