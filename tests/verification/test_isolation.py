"""What is a flow of the site passes, and nothing else. (Nothing is sent to prove it.)"""

from __future__ import annotations

import json

import pytest

from bastide.verify.suite import Machine, Saw

pytestmark = pytest.mark.area("Isolation")

AGENT = "/usr/bin/python3 /opt/bastide/bin/bastide_host.py firewall"
UNIT = "bastide-firewall.service"


def _needs_filter(machine: Machine) -> None:
    if UNIT not in {unit.name for unit in machine.expected.units}:
        pytest.skip("no packet filter: an earlier release, or isolation.firewall is off")


def test_the_kernel_has_the_generations_rules(machine: Machine, saw: Saw) -> None:
    """The packet filter has exactly the rules of the live generation"""
    _needs_filter(machine)
    found = json.loads(machine.host.check_output(AGENT))
    for rule in found["firewall"]["rules"]:
        saw(rule)
    for counter, packets in sorted(found["refused"].items()):
        saw(f"{counter}: {packets} packets so far")
    state = found["firewall"]["state"]
    assert state == "live", f"expected the generation's rules, found them {state}"


def test_all_else_is_refused(machine: Machine) -> None:
    """What no rule names is refused: to the host, from it, and through it"""
    _needs_filter(machine)
    listed = json.loads(machine.host.check_output("/usr/sbin/nft -j list table inet bastide"))
    chains = [each["chain"] for each in listed["nftables"] if "chain" in each]
    policies = {each["hook"]: each.get("policy") for each in chains if "hook" in each}
    wanted = dict.fromkeys(("input", "output", "forward"), "drop")
    assert policies == wanted, f"expected {wanted}, found {policies}"
