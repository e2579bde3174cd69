"""The rendered rules in the kernel: what passes, what is refused, and what was there before."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import haproxy_program
import pytest
import rendered

NFT = haproxy_program.nft()
HOST, GATEWAY, CONTROL, STRANGER = "10.77.0.11", "10.77.0.12", "10.77.0.1", "10.77.0.99"

pytestmark = [
    pytest.mark.skipif(not NFT, reason="no nft here; BASTIDE_TEST_NFT names one"),
    pytest.mark.skipif(os.geteuid() != 0, reason="rules are loaded by root only"),
]
TIME = {"direction": "out", "protocol": "udp", "port": 123, "networks": ["10.9.0.1", "fd00:9::1"]}
SIX = {
    "host1": ("fd00:77::11", ["llm", "embeddings", "vectordb"]),
    "host2": ("fd00:77::12", ["llm", "gateway"]),
}
SITES: dict[str, dict[str, Any]] = {
    "plain": {},
    "silent": {"isolation": {"log_per_minute": 0, "dhcp": False}},
    "wide": {
        "isolation": {
            "ssh": ["10.8.0.0/24", "fd00:8::/64"],
            "clients": ["10.7.0.0/16", "10.7.1.0/24", "fd00:7::/48"],
            "flows": {"time": {**TIME, "why": "time (NTP), of the site's own server"}},
        }
    },
}


# A host may have no /etc/protocols (package netbase): rules must not need names out of it.
BARE = '[ ! -e /etc/protocols ] || mount --bind /dev/null /etc/protocols; exec "$@"'


def nft(*arguments: str, space: str = "") -> str:
    bare = ["unshare", "--net", "--mount", "sh", "-c", BARE, "sh"]
    prefix = ["ip", "netns", "exec", space] if space else bare
    done = subprocess.run(
        [*prefix, str(NFT), *arguments], check=False, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def rules(folder: Path, host: str = "host1", **changes: Any) -> Path:
    tree = rendered.trees(rendered.two_hosts(**changes))[host]
    path = folder / f"{host}.nft"
    path.write_bytes(tree.files["etc/nftables.nft"].content)
    return path


@pytest.mark.parametrize("name", SITES)
@pytest.mark.parametrize("host", ["host1", "host2"])
def test_the_kernel_takes_every_rendered_file(tmp_path: Path, name: str, host: str) -> None:
    nft("-f", str(rules(tmp_path, host, **SITES[name])))


def test_a_site_of_ipv6_addresses_has_rules_too(tmp_path: Path) -> None:
    site = rendered.make_site(SIX, network={"control_address": "fd00:77::1"})
    path = tmp_path / "six.nft"
    path.write_bytes(rendered.trees(site)["host2"].files["etc/nftables.nft"].content)
    nft("-f", str(path))


def test_gateways_that_share_an_address_have_rules_too(tmp_path: Path) -> None:
    everything = ["llm", "embeddings", "vectordb", "gateway"]
    site = rendered.make_site(
        {"host1": (HOST, everything), "host2": (GATEWAY, ["gateway"])},
        network={"control_address": CONTROL, "gateway_address": "10.77.0.100"},
    )
    path = tmp_path / "floating.nft"
    path.write_bytes(rendered.trees(site)["host1"].files["etc/nftables.nft"].content)
    assert "agree on the floating address" in path.read_text()
    nft("-f", str(path))


# --- two machines, joined by a cable ---------------------------------------------------------
@pytest.fixture
def spaces() -> Iterator[tuple[str, str]]:
    """Yield the name space of host1, and one with the addresses of everybody else."""
    own, others = (f"bastide-t{os.getpid()}{side}" for side in "ab")
    lines = [
        f"netns add {own}", f"netns add {others}",
        f"-n {own} link add cable type veth peer name cable netns {others}",
        *(f"-n {each} link set {name} up" for each in (own, others) for name in ("lo", "cable")),
        f"-n {own} addr add {HOST}/24 dev cable",
        *(f"-n {others} addr add {each}/24 dev cable" for each in (CONTROL, GATEWAY, STRANGER)),
    ]  # fmt: skip
    try:
        for line in lines:
            subprocess.run(["ip", *line.split()], check=True, capture_output=True)
        yield own, others
    finally:
        for each in (own, others):
            subprocess.run(["ip", "netns", "delete", each], check=False, capture_output=True)


LISTEN = """
import socket, sys
with socket.create_server(("", int(sys.argv[1]))) as server:
    print("ready", flush=True)
    while True:
        peer, _ = server.accept()
        word = peer.recv(100)
        while word:
            peer.sendall(word.upper())
            word = peer.recv(100)
"""
CONNECT = """
import socket, sys
source, target, port = sys.argv[1:]
try:
    with socket.create_connection((target, int(port)), 2, (source, 0)) as peer:
        peer.sendall(b"abc")
        print(peer.recv(100).decode())
except OSError as error:
    print(type(error).__name__, error.errno)
"""
TALK = """
import socket, sys
with socket.create_connection((sys.argv[1], int(sys.argv[2])), 5, (sys.argv[3], 0)) as peer:
    for line in sys.stdin:
        peer.sendall(line.encode())
        print(peer.recv(100).decode(), end="", flush=True)
"""


def inside(space: str, script: str, *arguments: str) -> subprocess.Popen[str]:
    argv = ["ip", "netns", "exec", space, sys.executable, "-c", script, *arguments]
    return subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def listener(space: str, port: int) -> subprocess.Popen[str]:
    server = inside(space, LISTEN, str(port))
    assert server.stdout
    assert server.stdout.readline() == "ready\n"
    return server


def connects(space: str, source: str, target: str, port: int) -> str:
    return inside(space, CONNECT, source, target, str(port)).communicate(timeout=20)[0].strip()


def refused(space: str, which: str) -> int:
    listed = nft("list", "counter", "inet", "bastide", which, space=space)
    return int(listed.rsplit("packets ", 1)[1].split()[0])


def test_only_flows_pass_and_the_rest_is_counted(tmp_path: Path, spaces: tuple[str, str]) -> None:
    own, others = spaces
    servers = [
        listener(own, 8081),
        listener(own, 5000),
        listener(others, 8740),
        listener(others, 80),
    ]
    try:
        before = connects(own, HOST, STRANGER, 80)
        assert before == "ABC", "without rules everything passes"
        nft("-f", str(rules(tmp_path)), space=own)
        assert connects(others, GATEWAY, HOST, 8081) == "ABC"
        assert connects(own, HOST, CONTROL, 8740) == "ABC"
        assert connects(own, HOST, HOST, 5000) == "ABC", "a host talks to itself"
        assert connects(others, STRANGER, HOST, 8081) == "TimeoutError None"
        assert connects(others, GATEWAY, HOST, 5000).startswith("ConnectionRefusedError")
        assert refused(own, "refused_in") >= 2
        said = connects(own, HOST, STRANGER, 80)
        assert "Error" in said
        assert "Timeout" not in said, "a program that tries is told at once"
        assert refused(own, "refused_out") >= 1
    finally:
        for server in servers:
            server.kill()
            server.communicate()


def test_a_conversation_that_was_there_before_goes_on(
    tmp_path: Path, spaces: tuple[str, str]
) -> None:
    own, others = spaces
    server = listener(own, 8081)
    talk = inside(others, TALK, HOST, "8081", GATEWAY)
    assert talk.stdin
    assert talk.stdout
    try:
        for word in ("before", "loaded", "once more"):
            talk.stdin.write(f"{word}\n")
            talk.stdin.flush()
            assert talk.stdout.readline() == f"{word.upper()}\n"
            nft("-f", str(rules(tmp_path)), space=own)
    finally:
        for each in (talk, server):
            each.kill()
            each.communicate()


def test_other_tables_are_left_alone_and_loading_again_replaces_all(
    tmp_path: Path, spaces: tuple[str, str]
) -> None:
    own, _ = spaces
    mine = tmp_path / "mine.nft"
    mine.write_text("table ip mine {\n chain c {\n type filter hook input priority 5;\n }\n}\n")
    nft("-f", str(mine), space=own)
    nft("-f", str(rules(tmp_path)), space=own)
    first = nft("--stateless", "list", "ruleset", space=own)
    nft("-f", str(rules(tmp_path)), space=own)
    assert nft("--stateless", "list", "ruleset", space=own) == first
    assert "table ip mine" in first
    nft("delete", "table", "inet", "bastide", space=own)
    assert "table ip mine" in nft("list", "ruleset", space=own)
