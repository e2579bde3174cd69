"""What is a flow of the site passes, and nothing else. (Nothing is sent to prove it.)"""

from __future__ import annotations

import json

import pytest

from bastide.verify.suite import Machine, Saw

pytestmark = pytest.mark.area("Isolation")

AGENT = "/usr/bin/python3 /opt/bastide/bin/bastide_host.py firewall"
UNIT = "bastide-firewall.service"
REDIRECTS = (
    "/proc/sys/net/ipv4/conf/*/accept_redirects",
    "/proc/sys/net/ipv4/conf/*/send_redirects",
    "/proc/sys/net/ipv6/conf/*/accept_redirects",
)


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


def test_nobody_can_lead_packets_astray(machine: Machine, saw: Saw) -> None:
    """No network interface takes or sends ICMP redirects"""
    _needs_filter(machine)
    if not machine.host.file("/opt/bastide/current/etc/firewall-redirects.conf").exists:
        pytest.skip("an earlier release, which left redirects as they were")
    if machine.host.run("test -w /proc/sys/net/ipv4/conf/all/accept_redirects").rc != 0:
        pytest.skip("a container whose network settings are another machine's business")
    listed = machine.host.run(f"grep -sH . {' '.join(REDIRECTS)}").stdout  # maybe without IPv6
    values = dict(line.rsplit(":", 1) for line in listed.splitlines())
    saw(f"{len(values)} settings of interfaces")
    astray = sorted(name for name, value in values.items() if value != "0")
    assert values
    assert not astray, f"expected 0, found otherwise: {', '.join(astray)}"
