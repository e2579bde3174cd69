"""Hosts that give each other pieces behind the site's own packet filters, in network namespaces."""

from __future__ import annotations

import ctypes
import os
import secrets
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import haproxy_program
import pytest
import rendered
from swarm_hosts import Run, answer_of

from bastide.schema.site import Site

NFT = haproxy_program.nft()
CONTROL = "10.77.0.1"
HOSTS = {
    "host1": ("10.77.0.11", ["llm", "embeddings", "vectordb"]),
    "host2": ("10.77.0.12", ["llm", "gateway"]),
    "host3": ("10.77.0.13", ["llm"]),
}
MIB = 1 << 20
NEWNET = 0x40000000  # CLONE_NEWNET

pytestmark = [
    pytest.mark.integration,
    pytest.mark.skipif(not NFT, reason="no nft here; BASTIDE_TEST_NFT names one"),
    pytest.mark.skipif(os.geteuid() != 0, reason="rules are loaded by root only"),
]


def run_program(*argv: str) -> str:
    return subprocess.run(argv, check=True, capture_output=True, text=True).stdout


@pytest.fixture
def machines() -> Iterator[dict[str, str]]:
    """Yield a namespace for each machine of the site, all on one bridge."""
    mark = secrets.token_hex(3)
    spaces = {name: f"swarm-{mark}-{name}" for name in ("switch", "control", *HOSTS)}
    addresses = {"control": CONTROL, **{name: address for name, (address, _) in HOSTS.items()}}
    try:
        for space in spaces.values():
            run_program("ip", "netns", "add", space)
            run_program("ip", "-n", space, "link", "set", "lo", "up")
        run_program("ip", "-n", spaces["switch"], "link", "add", "bridge", "type", "bridge")
        run_program("ip", "-n", spaces["switch"], "link", "set", "bridge", "up")
        for name, address in addresses.items():
            cable = ["type", "veth", "peer", "name", name, "netns", spaces["switch"]]
            run_program("ip", "-n", spaces[name], "link", "add", "eth0", *cable)
            run_program("ip", "-n", spaces["switch"], "link", "set", name, "master", "bridge", "up")
            run_program("ip", "-n", spaces[name], "address", "add", f"{address}/24", "dev", "eth0")
            run_program("ip", "-n", spaces[name], "link", "set", "eth0", "up")
        yield spaces
    finally:
        for space in spaces.values():
            subprocess.run(["ip", "netns", "del", space], check=False)


@contextmanager
def inside(space: str) -> Iterator[None]:
    """Put this thread into a namespace while the block lasts; sockets stay where they were made."""
    libc = ctypes.CDLL(None, use_errno=True)
    back = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
    there = os.open(f"/run/netns/{space}", os.O_RDONLY)
    try:
        assert not libc.setns(there, NEWNET)
        yield
    finally:
        assert not libc.setns(back, NEWNET)
        os.close(back)
        os.close(there)


def load_rules(folder: Path, machines: dict[str, str], site: Site) -> None:
    for host, tree in rendered.trees(site).items():
        path = folder / f"{host}.nft"
        path.write_bytes(tree.files["etc/nftables.nft"].content)
        run_program("ip", "netns", "exec", machines[host], str(NFT), "-f", str(path))


def refused(machines: dict[str, str]) -> int:
    """Return how many packets the filters of all hosts have refused."""
    total = 0
    for host in HOSTS:
        show = ("list", "counters", "table", "inet", "bastide")
        said = run_program("ip", "netns", "exec", machines[host], str(NFT), *show).split()
        total += sum(int(said[at + 1]) for at, word in enumerate(said) if word == "packets")
    return total


def stage_all(run: Run, machines: dict[str, str]) -> tuple[int, int]:
    """Let every host stage at once; return the bytes from the control node and from peers."""
    with inside(machines["control"]), run.depot() as depot:
        running = [run.start(host, depot.port, space=machines[host]) for host in HOSTS]
        answers = [answer_of(process) for process in running]
        sent, from_peers = depot.traffic.by_address(), depot.from_peers()
    assert all(answer["changed"] for answer in answers), answers
    assert all(run.is_whole(host) for host in HOSTS)
    return sum(sent.values()), sum(from_peers.values())


def site_of(**changes: Any) -> Site:
    return rendered.make_site(HOSTS, **changes)


def test_through_the_sites_own_filters_hosts_give_each_other_pieces(
    tmp_path: Path, machines: dict[str, str]
) -> None:
    run = Run.for_site(tmp_path, site_of(), (40 * MIB, 3 * MIB))
    load_rules(tmp_path, machines, run.site)
    sent, from_peers = stage_all(run, machines)
    assert sent < 1.5 * 43 * MIB
    assert sent + from_peers == 3 * 43 * MIB
    assert refused(machines) == 0
    assert run.notes == []


def test_filters_of_before_that_know_no_such_flow_cost_nothing_but_what_it_was_before(
    tmp_path: Path, machines: dict[str, str]
) -> None:
    run = Run.for_site(tmp_path, site_of(), (40 * MIB, 3 * MIB))
    load_rules(tmp_path, machines, site_of(upgrades={"fan_out": "depot"}))
    sent, from_peers = stage_all(run, machines)
    assert (sent, from_peers) == (3 * 43 * MIB, 0)
    assert refused(machines) > 0
    assert any("no pieces" in note for note in run.notes)
