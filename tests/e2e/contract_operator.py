"""Somebody who plans, applies, and looks at the whole host before and after."""

from __future__ import annotations

import json

from site_operator import Operator

from bastide.plan.fidelity import unfulfilled, unplanned
from bastide.run.ask import agent_program
from bastide.schema.inventory import Inventory, read_inventory
from bastide.schema.plan import HostPlan, Plan


class Looker(Operator):
    """An operator who looks at whole hosts."""

    def looks(self, host: str = "host1") -> Inventory:
        """Return everything that lies on a host."""
        said = self.on_host("python3 - inventory", host=host, stdin=agent_program())
        return read_inventory(json.loads(said))


class Planner(Looker):
    """An operator of a site with one lab host."""

    def plans(self) -> HostPlan:
        """Make a plan; return the host's part."""
        self.asks("plan")
        return self.planned()

    def planned(self) -> HostPlan:
        """Return the host's part of the newest plan."""
        (host,) = Plan.model_validate_json((self.site / "plan.json").read_bytes()).hosts
        return host


def faithful(operator: Planner) -> HostPlan:
    """Plan and apply; fail with every difference between the plan and what became of the host."""
    before = operator.looks()
    plan = operator.plans()
    operator.applies()
    after = operator.looks()
    assert unplanned(before, after, plan) == ()
    assert unfulfilled(before, after, plan) == ()
    return plan
