"""Somebody who plans, applies, and looks at the whole host before and after."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

from bastide.plan.fidelity import unfulfilled, unplanned
from bastide.run.ask import agent_program
from bastide.schema.inventory import Inventory, read_inventory
from bastide.schema.plan import HostPlan, Plan


class Operator:
    """An operator of a site with one lab host.

    Args:
        folder: Where bundles, home and site are kept.
        lab: The lab's name.
    """

    def __init__(self, folder: Path, lab: str) -> None:
        self.folder = folder
        self.site = folder / "site"
        self.env = {**os.environ, "BASTIDE_HOME": str(folder / "home"), "BASTIDE_LAB": lab}

    def types(self, line: str, *, expect: int = 0, stdin: str = "") -> str:
        """Run a shell line; return what it printed."""
        done = subprocess.run(
            ["bash", "-c", line],
            check=False,
            cwd=self.folder,
            env=self.env,
            input=stdin,
            capture_output=True,
            text=True,
            timeout=3000,
        )
        assert done.returncode == expect, f"$ {line}\n{done.stdout}\n{done.stderr}"
        return done.stdout

    def looks(self) -> Inventory:
        """Return the host, whole."""
        line = "bastide lab exec --host host1 -- python3 - inventory"
        return read_inventory(json.loads(self.types(line, stdin=agent_program())))

    def plans(self) -> HostPlan:
        """Make a plan; return the host's part."""
        self.types("bastide lab exec -- bastide plan --site site")
        return self.planned()

    def planned(self) -> HostPlan:
        """Return the host's part of the newest plan."""
        (host,) = Plan.model_validate_json((self.site / "plan.json").read_bytes()).hosts
        return host

    def applies(self, *, expect: int = 0) -> dict[str, Any]:
        """Carry the plan file out; return the envelope."""
        line = "bastide lab exec -- bastide apply --site site --yes --json"
        answer: dict[str, Any] = json.loads(self.types(line, expect=expect))
        return answer

    def describes(self, was: str, becomes: str) -> None:
        """Change site.yaml."""
        config = self.site / "site.yaml"
        before = config.read_text()
        assert was in before
        config.write_text(before.replace(was, becomes, 1))

    def on_host(self, command: str) -> str:
        """Run a shell command on the host."""
        return self.types(f"bastide lab exec --host host1 -- {command}")


def faithful(operator: Operator) -> HostPlan:
    """Plan and apply; fail with every difference between the plan and what became of the host."""
    before = operator.looks()
    plan = operator.plans()
    operator.applies()
    after = operator.looks()
    assert unplanned(before, after, plan) == ()
    assert unfulfilled(before, after, plan) == ()
    return plan
