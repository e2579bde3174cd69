"""Who else has the floating address: real ARP and VRRP between network namespaces."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import bastide_host
import pytest
from bastide_host.condition_floating import floating_state

pytestmark = [
    pytest.mark.integration,
    pytest.mark.skipif(os.geteuid() != 0, reason="network namespaces need root"),
]
VIP, HERE, THERE = "10.98.0.100", "10.98.0.1", "10.98.0.2"
ASK = (
    "import json, sys; from bastide_host.condition_floating import floating_state; "
    "print(json.dumps(floating_state(json.loads(sys.argv[1]))))"
)
# VRRP as keepalived sends it to all: version 2, number 51, priority 100.
SAY = """
import socket, sys, time
line = socket.socket(socket.AF_INET, socket.SOCK_RAW, 112)
line.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, socket.inet_aton(sys.argv[1]))
print("begun", flush=True)
while True:
    line.sendto(bytes((0x21, 51, 100, 1, 0, 1, 0, 0)) + socket.inet_aton("10.98.0.77"),
                ("224.0.0.18", 0))
    time.sleep(0.3)
"""


AGENT = str(Path(bastide_host.__file__).parents[1])


def run(*argv: str) -> str:
    environment = {**os.environ, "PYTHONPATH": AGENT}
    done = subprocess.run(
        argv, check=False, capture_output=True, text=True, env=environment, timeout=60
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture
def other() -> Iterator[tuple[str, str]]:
    """Yield the names of a gateway's network namespace and of somebody else's, next to it."""
    here, there = f"bsta{os.getpid()}", f"bstb{os.getpid()}"
    try:
        for name in (here, there):
            run("ip", "netns", "add", name)
        link = ("link", "add", "lan0", "type", "veth", "peer", "name", "lan0", "netns", there)
        run("ip", "-n", here, *link)
        for name, address in ((here, HERE), (there, THERE)):
            run("ip", "-n", name, "address", "add", f"{address}/24", "dev", "lan0")
            run("ip", "-n", name, "link", "set", "lan0", "up")
        yield here, there
    finally:
        for name in (here, there):
            subprocess.run(["ip", "netns", "del", name], check=False, capture_output=True)


# In a container, /sys may be that of another network name space: nothing may be read from it.
BARE = 'mount -t tmpfs none /sys; exec "$@"'


def seen(namespace: str, *gateways: str) -> dict[str, Any]:
    asked = json.dumps({"address": VIP, "here": HERE, "gateways": gateways})
    program = ["sh", "-c", BARE, "sh", sys.executable, "-c", ASK, asked]
    found: dict[str, Any] = json.loads(run("ip", "netns", "exec", namespace, *program))
    return found


def mac_of(namespace: str) -> str:
    (link,) = json.loads(run("ip", "-n", namespace, "-json", "link", "show", "lan0"))
    return str(link["address"])


def test_nobody_has_it(other: tuple[str, str]) -> None:
    assert seen(other[0], HERE) == {"claimed_by": [], "vrrp": []}


def test_somebody_has_it_and_a_gateway_may(other: tuple[str, str]) -> None:
    here, there = other
    run("ip", "-n", there, "address", "add", f"{VIP}/32", "dev", "lan0")
    assert seen(here, HERE)["claimed_by"] == [mac_of(there)]
    assert seen(here, HERE, THERE)["claimed_by"] == []


def test_the_host_itself_may_have_it(other: tuple[str, str]) -> None:
    run("ip", "-n", other[0], "address", "add", f"{VIP}/32", "dev", "lan0")
    assert seen(other[0], HERE)["claimed_by"] == []


def test_the_question_leaves_no_trace_at_the_other(other: tuple[str, str]) -> None:
    here, there = other
    run("ip", "-n", there, "address", "add", f"{VIP}/32", "dev", "lan0")
    assert seen(here, HERE)["claimed_by"]
    for each in other:
        assert run("ip", "-n", each, "neighbour", "show") == ""


def test_vrrp_of_others_is_heard(other: tuple[str, str]) -> None:
    here, there = other
    argv = ["ip", "netns", "exec", there, sys.executable, "-c", SAY, THERE]
    with subprocess.Popen(argv, stdout=subprocess.PIPE) as speaker:
        try:
            assert speaker.stdout
            assert speaker.stdout.readline() == b"begun\n"
            assert seen(here, HERE)["vrrp"] == [f"{THERE} number 51"]
            assert seen(here, HERE, THERE)["vrrp"] == []
        finally:
            speaker.kill()


@pytest.mark.parametrize("asked", [None, {"address": "fd00::1", "here": "fd00::2", "gateways": []}])
def test_nothing_is_asked_without_an_address_of_version_4(asked: dict[str, Any] | None) -> None:
    assert floating_state(asked) == {"claimed_by": [], "vrrp": []}


def test_an_interface_that_is_not_there() -> None:
    asked = {"address": VIP, "here": "10.97.0.1", "gateways": []}
    assert floating_state(asked) == {"claimed_by": [], "vrrp": []}
