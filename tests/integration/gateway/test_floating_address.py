"""The real keepalived in network namespaces: who holds the floating address, and when it moves."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from bastide_host import floating
from bastide_host.host import Paths
from haproxy_program import keepalived

from bastide import resources
from bastide.render.engine import TemplateFolder

KEEPALIVED = keepalived() if os.geteuid() == 0 else None
pytestmark = [
    pytest.mark.integration,
    pytest.mark.skipif(os.geteuid() != 0, reason="network namespaces need root"),
    pytest.mark.skipif(not KEEPALIVED, reason="no keepalived; BASTIDE_TEST_KEEPALIVED names one"),
]
VIP, PORT = "10.99.0.100", 8443
# Answers as a gateway does as far as its neighbour is concerned, at both addresses.
SERVER = """
import http.server, socket, ssl, sys, threading
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(503)
        self.end_headers()
    def log_message(self, *_):
        pass
class Server(http.server.ThreadingHTTPServer):
    def server_bind(self):
        self.socket.setsockopt(socket.SOL_IP, 15, 1)  # IP_FREEBIND, as "transparent" does
        super().server_bind()
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain(sys.argv[1])
for address in sys.argv[2:]:
    server = Server((address, 8443), Handler)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    threading.Thread(target=server.serve_forever).start()
"""


def run(*argv: str) -> str:
    return subprocess.run(argv, check=True, capture_output=True, text=True).stdout


def until(done: Callable[[], bool], seconds: float = 20) -> float:
    started = time.monotonic()
    while not done():
        assert time.monotonic() - started < seconds, "it did not come about"
        time.sleep(0.05)
    return time.monotonic() - started


def descendants(pid: int) -> list[int]:
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [each for child in map(int, children) for each in (child, *descendants(child))]


class Gateway:
    """One gateway's host: a network namespace with a gateway and keepalived in it."""

    def __init__(self, folder: Path, number: int, prefix: str) -> None:
        self.name, self.folder = f"{prefix}{number}", folder
        self.address, self.number = f"10.99.0.{number}", number
        self.run = folder / f"run{number}"
        self.run.mkdir()
        self.server: subprocess.Popen[bytes] | None = None
        self.keeper: subprocess.Popen[bytes] | None = None

    def configure(self, peers: list[str]) -> None:
        template = TemplateFolder(resources.templates())
        backends = [{"name": each, "address": each, "port": PORT} for each in peers]
        context = {
            "host": {"name": self.address, "address": self.address},
            "floating": {"address": VIP, "router": 51},
            "services": {"gateway": {"backends": backends}},
        }
        text = template.render("etc/keepalived.conf.j2", context).decode()
        config = text.replace("/run/bastide-keepalived", str(self.run))
        (self.folder / f"{self.number}.conf").write_text(config)
        program = template.render("lib/floating_address.py.j2", {}).decode()
        program = program.replace("/run/bastide-keepalived", str(self.run))
        (self.folder / f"{self.number}.py").write_text(program)

    def inside(self, *argv: str) -> subprocess.Popen[bytes]:
        log = (self.folder / f"{self.number}.log").open("ab")
        return subprocess.Popen(["ip", "netns", "exec", self.name, *argv], stdout=log, stderr=log)

    def serve(self) -> None:
        argv = [sys.executable, "-c", SERVER, str(self.folder / "pem"), self.address, VIP]
        self.server = self.inside(*argv)

    def keep(self) -> None:
        """Start keepalived with no more rights than its unit gives it."""
        rights = "+net_admin,+net_raw"
        self.keeper = self.inside(
            "setpriv", f"--inh-caps={rights}", f"--ambient-caps={rights}",
            f"--bounding-set=-all,{rights}", "--no-new-privs",
            sys.executable, str(self.folder / f"{self.number}.py"), f"--address={self.address}",
            f"--port={PORT}", f"--floating={VIP}", f"--program={KEEPALIVED}",
            f"--config={self.folder / f'{self.number}.conf'}",
        )  # fmt: skip

    def holds(self) -> bool:
        return f" {VIP}/32 " in run("ip", "-n", self.name, "-o", "-4", "address")

    def log(self) -> str:
        return (self.folder / f"{self.number}.log").read_text()

    def stop(self) -> None:
        for process in (self.keeper, self.server):
            if process is not None and process.poll() is None:
                process.terminate()
        for process in (self.keeper, self.server):
            if process is not None:
                process.wait(20)


@pytest.fixture
def pair(tmp_path: Path) -> Iterator[tuple[Gateway, Gateway]]:
    """Two gateways on one network, both up, one of them with the address."""
    prefix = f"bst{os.getpid()}-"
    names = [f"{prefix}net", f"{prefix}1", f"{prefix}2"]
    gateways = tuple(Gateway(tmp_path, number, prefix) for number in (1, 2))
    run(
        "openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256",
        "-nodes", "-keyout", str(tmp_path / "pem"), "-out", str(tmp_path / "cert"),
        "-days", "2", "-subj", "/CN=gateway",
    )  # fmt: skip
    with (tmp_path / "pem").open("a") as pem:
        pem.write((tmp_path / "cert").read_text())
    try:
        for name in names:
            run("ip", "netns", "add", name)
        run("ip", "-n", names[0], "link", "add", "br0", "up", "type", "bridge")
        for each in gateways:
            link = ("link", "add", f"v{each.number}", "up", "master", "br0", "type", "veth")
            run("ip", "-n", names[0], *link, "peer", "name", "lan0", "netns", each.name)
            run("ip", "-n", each.name, "address", "add", f"{each.address}/24", "dev", "lan0")
            for device in ("lo", "lan0"):
                run("ip", "-n", each.name, "link", "set", device, "up")
            each.configure([other.address for other in gateways])
            each.serve()
            each.keep()
        until(lambda: sum(each.holds() for each in gateways) == 1)
        first, second = sorted(gateways, key=lambda each: not each.holds())
        # Not before the other is ready to take it.
        until(lambda: "Entering BACKUP STATE" in second.log())
        yield first, second
    finally:
        for each in gateways:
            each.stop()
        for name in names:
            subprocess.run(["ip", "netns", "del", name], check=False)


def test_a_dead_gateway_loses_the_address_and_does_not_take_it_back(
    pair: tuple[Gateway, Gateway],
) -> None:
    first, second = pair
    assert first.server
    first.server.kill()
    first.server.wait()
    took = until(lambda: second.holds() and not first.holds())
    assert took < 10
    first.serve()
    until(lambda: "Entering BACKUP STATE" in first.log().partition("FAULT STATE")[2])
    for _ in range(30):  # three times as long as a take-over lasts
        time.sleep(0.1)
        assert second.holds()
        assert not first.holds()


def test_an_address_that_was_sent_away_moves_before_anything_stops(
    pair: tuple[Gateway, Gateway],
) -> None:
    first, second = pair
    (first.run / "away").touch()
    until(lambda: second.holds() and not first.holds())
    (first.run / "away").unlink()
    until(lambda: "Entering BACKUP STATE" in first.log().partition("FAULT STATE")[2])
    assert second.holds()


def test_a_forgotten_order_to_go_away_ends_by_itself(pair: tuple[Gateway, Gateway]) -> None:
    first, second = pair
    long_ago = time.time() - 901
    (first.run / "away").touch()
    os.utime(first.run / "away", (long_ago, long_ago))
    assert second.keeper
    second.keeper.terminate()
    second.keeper.wait(20)
    until(first.holds)
    time.sleep(2)
    assert first.holds()


def test_a_new_configuration_moves_nothing(pair: tuple[Gateway, Gateway]) -> None:
    first, second = pair
    assert first.keeper
    first.configure([first.address, second.address, "10.99.0.3"])
    first.keeper.send_signal(signal.SIGHUP)
    until(lambda: "Reloading" in first.log())
    seen: list[bool] = []
    for _ in range(30):
        time.sleep(0.1)
        seen.append(first.holds() and not second.holds())
    assert all(seen)


def test_what_a_kill_leaves_is_taken_off(pair: tuple[Gateway, Gateway]) -> None:
    first, second = pair
    assert first.keeper
    family = [first.keeper.pid, *descendants(first.keeper.pid)]
    for pid in family:
        os.kill(pid, signal.SIGSTOP)  # so that none can clean up after another
    for pid in family:
        os.kill(pid, signal.SIGKILL)
    first.keeper.wait()
    until(second.holds)
    assert first.holds()  # now both have it: what the unit's ExecStopPost is for
    program = [sys.executable, str(first.folder / f"{first.number}.py"), "--drop"]
    rest = [f"--address={first.address}", f"--port={PORT}", f"--floating={VIP}", "--config=x"]
    assert first.inside(*program, *rest).wait(20) == 0
    assert not first.holds()


def test_without_a_floating_address_nothing_is_moved(tmp_path: Path) -> None:
    with floating.elsewhere(Paths(tmp_path)) as moved:
        assert moved is False


@pytest.mark.parametrize("alive", [True, False])
def test_requests_are_cut_only_if_another_gateway_can_take_the_address(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, alive: bool
) -> None:
    paths, cut = Paths(tmp_path), list[str]()
    etc = paths.current / "etc"
    etc.mkdir(parents=True)
    paths.at("/run/bastide-keepalived").mkdir(parents=True)
    with socket.socket() as other:
        other.bind(("127.0.0.2", 0))
        if alive:
            other.listen()
        port = other.getsockname()[1]
        services = {floating.UNIT: f"https://127.0.0.1:{port}/healthz"}
        (etc / "host.json").write_text(json.dumps({"services": services}))
        (etc / "keepalived.conf").write_text("unicast_peer {\n        127.0.0.2\n    }\n")
        monkeypatch.setattr(floating, "unit_states", lambda _paths: {floating.UNIT: "active"})
        monkeypatch.setattr(floating, "cut", lambda _paths, address: cut.append(address))
        monkeypatch.setattr(floating, "_MOVE_SECONDS", 0.1)
        with floating.elsewhere(paths) as moved:
            assert moved is False  # the address stays here: it is loopback's
    assert cut == (["127.0.0.1"] if alive else [])


def test_only_an_address_of_this_host_is_here() -> None:
    assert floating.is_here("127.0.0.1")
    assert not floating.is_here("203.0.113.7")
