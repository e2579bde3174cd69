"""The proof that no route leaves a lab, with a control that shows that the probe can succeed."""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass

from bastide.errors import Problem
from bastide.host import process
from bastide.lab import network, spec
from bastide.lab.errors import ROUTE_FOUND, LabError
from bastide.lab.remote import ssh_argv
from bastide.lab.state import LabState

# Addresses of documentation (RFC 5737, RFC 3849): nothing answers there, wherever this runs.
OUTSIDE = ("203.0.113.1", "2001:db8::1")
_PORT = 8740  # the depot's usual one: a host's packet filter lets it knock there
_SECONDS = 3

# Runs on the node itself; prints one JSON object. A route table's line counts as a default route
# if its destination and mask are all zero and it is not the kernel's "unreachable" entry on lo.
PROBE = """
import errno, json, os, socket, sys
def knock(address):
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.settimeout(float(sys.argv[2]))
        try:
            probe.connect((address, int(sys.argv[1])))
        except TimeoutError:
            return "ETIMEDOUT"
        except OSError as error:
            return errno.errorcode.get(error.errno, str(error))
    return "connected"
def lines(path):
    try:
        with open(path) as table:
            return [line.split() for line in table]
    except OSError:
        return []
four = [r[0] for r in lines("/proc/net/route")[1:] if r[1] == r[7] == "0" * 8]
six = [r[9] for r in lines("/proc/net/ipv6_route")
       if r[0] == "0" * 32 and r[1] == "00" and r[9] != "lo"]
filtered = os.path.exists("/etc/systemd/system/bastide-firewall.service")
print(json.dumps({"defaults": four + six, "knocks": {a: knock(a) for a in sys.argv[3:]},
                  "filtered": filtered}))
"""


@dataclass(frozen=True)
class Finding:
    """What the probe saw on one node.

    Args:
        node: ``control`` or a host's name.
        links: Its network links that are up.
        default_routes: The links that a default route leaves by; must be none.
        knocks: Address → ``connected`` or the name of the error.
        filtered: Whether it has Bastide's packet filter, which refuses what is no flow of its site.
    """

    node: str
    links: frozenset[str]
    default_routes: tuple[str, ...]
    knocks: dict[str, str]
    filtered: bool = False


def judge(finding: Finding, expected_links: frozenset[str], inside: str) -> tuple[Problem, ...]:
    """Return what speaks against the air gap of one node; pure.

    Args:
        finding: What the probe saw.
        expected_links: The links that the lab made for it.
        inside: An address of the lab that the node must reach, else the probe proves nothing.
    """
    problems = [
        Problem(finding.node, f"a default route leaves by {link}; expected none")
        for link in finding.default_routes
    ]
    problems += [
        Problem(finding.node, f"it has a link {link} that the lab did not make")
        for link in sorted(finding.links - expected_links)
    ]
    for address in OUTSIDE:
        seen = finding.knocks.get(address, "not tried")
        if seen not in ("ENETUNREACH", "EAFNOSUPPORT"):
            problems.append(
                Problem(finding.node, f"connecting to {address} gave {seen}, not ENETUNREACH")
            )
    control = finding.knocks.get(inside, "not tried")
    # With the depot on another port, the node's own filter says no, which is an answer, too.
    answers = ("connected", "ECONNREFUSED", *(["EHOSTUNREACH"] if finding.filtered else []))
    if control not in answers:
        problems.append(
            Problem(
                finding.node,
                f"the control of the probe failed: {inside} gave {control}, expected an answer",
            )
        )
    return tuple(problems)


def _probe(state: LabState, node: str) -> Finding:
    arguments = [str(_PORT), str(_SECONDS), *OUTSIDE, state.control_address]
    if node == "control":
        namespace = state.control_namespace
        argv = ["ip", "netns", "exec", namespace, sys.executable, "-c", PROBE, *arguments]
    else:
        namespace = state.host(node).namespace
        argv = ssh_argv(state, node, ["python3", "-c", PROBE, *arguments])
    seen = json.loads(process.run(argv, timeout=60).stdout)
    return Finding(
        node,
        network.links(namespace, only_up=True),
        tuple(seen["defaults"]),
        seen["knocks"],
        seen["filtered"],
    )


def prove(state: LabState) -> None:
    """Check on the control node and on every host that no route leaves the lab.

    Raises:
        LabError: A route leads out somewhere, or the probe could not show that it works.
    """
    ports = frozenset(host.name for host in state.hosts)
    control_links = frozenset({"lo", spec.BRIDGE}) | ports
    problems = judge(_probe(state, "control"), control_links, state.control_address)
    for host in state.hosts:
        host_links = frozenset({"lo", spec.UPLINK})
        problems += judge(_probe(state, host.name), host_links, state.control_address)
    if problems:
        raise LabError(
            f"lab {state.name!r} is not proved to be air-gapped: {problems[0].what} "
            f"(on {problems[0].where})",
            code=ROUTE_FOUND,
            hint=f"`bastide lab down --name {state.name}`, then `bastide lab up`; if it comes "
            "back, report it with the findings above",
            problems=problems,
        )
