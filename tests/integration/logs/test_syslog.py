"""Lines of the journal reach a syslog server as RFC 5424: real sockets and TLS, a fake journal."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import plan_factories as make
import pytest

from bastide import resources
from bastide.render.trees import HostTree, render_trees
from bastide.schema.loading import load_yaml
from bastide.schema.logs import Logs, Syslog
from bastide.schema.release import Release
from bastide.schema.site import SERVING, SiteHost
from bastide.site import pki

pytestmark = pytest.mark.integration
PATIENCE = 30.0
PATTERN = re.compile(
    r"<(?P<priority>\d{1,3})>1 (?P<at>\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z) (?P<host>\S+) "
    r"(?P<name>\S+) (?P<pid>\S+) (?P<kind>\S+) (?P<data>\[origin [^\]]+\]) (?P<text>.*)",
    re.DOTALL,
)
# It reads lines as journalctl gives them, after a cursor if one is given, and goes on.
JOURNALCTL = """#!/usr/bin/env python3
import json, os, pathlib, sys, time
cursor = next((a.split("=", 1)[1] for a in sys.argv if a.startswith("--after-cursor=")), "")
pathlib.Path(os.environ["JOURNAL"] + ".argv").open("a").write(json.dumps(sys.argv) + "\\n")
seen = not cursor
with open(os.environ["JOURNAL"]) as stream:
    while True:
        line = stream.readline()
        if not line:
            time.sleep(0.02)
        elif seen:
            sys.stdout.write(line)
            sys.stdout.flush()
        else:
            seen = json.loads(line)["__CURSOR"] == cursor
"""


def render(syslog: Syslog, groups: Any = None) -> HostTree:
    site = make.make_site(groups or {"host1": SERVING}).replace(logs=Logs(syslog=syslog))
    release = load_yaml(resources.catalogue() / "releases/starter-2026.12.0.yaml", Release)
    return render_trees(site, release, make.make_manifest(), make.make_cards())["host1"]


class Journal:
    """A journal that lines are put into."""

    def __init__(self, file: Path) -> None:
        self.file = file
        self._count = 0
        file.touch()

    def add(self, text: object, **fields: object) -> None:
        self._count += 1
        entry = {
            "__CURSOR": f"c{self._count}",
            "__REALTIME_TIMESTAMP": str(1_790_000_000_000_000 + self._count),
            "_SYSTEMD_UNIT": "bastide-llm.service",
            "_PID": "77",
            "PRIORITY": "6",
            "MESSAGE": text,
            **fields,
        }
        with self.file.open("a") as stream:
            stream.write(json.dumps(entry) + "\n")


class Server:
    """A syslog server on loopback: takes octet counts over TCP or TLS, or datagrams."""

    def __init__(self, protocol: str, context: ssl.SSLContext | None = None, port: int = 0) -> None:
        self.lines: list[str] = []
        self._context = context
        self._new = threading.Condition()
        self._open: list[socket.socket] = []
        kind = socket.SOCK_DGRAM if protocol == "udp" else socket.SOCK_STREAM
        self._socket = socket.socket(socket.AF_INET, kind)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._socket.bind(("127.0.0.1", port))
        self.port = self._socket.getsockname()[1]
        work = self._datagrams if protocol == "udp" else self._accept
        if protocol != "udp":
            self._socket.listen()
        threading.Thread(target=work, daemon=True).start()

    def _take(self, line: bytes) -> None:
        with self._new:
            self.lines.append(line.decode())
            self._new.notify_all()

    def _datagrams(self) -> None:
        try:
            while True:
                self._take(self._socket.recv(65_536))
        except OSError:
            return

    def _accept(self) -> None:
        try:
            while True:
                stream, _ = self._socket.accept()
                threading.Thread(target=self._serve, args=[stream], daemon=True).start()
        except OSError:
            return

    def _serve(self, stream: socket.socket) -> None:
        try:
            if self._context:
                stream = self._context.wrap_socket(stream, server_side=True)
            self._open.append(stream)
            with stream.makefile("rb") as reader:
                while digits := self._digits(reader):
                    self._take(reader.read(digits))
        except OSError:
            return

    @staticmethod
    def _digits(reader: Any) -> int:
        found = b""
        while (one := reader.read(1)) not in {b" ", b""}:
            found += one
        return int(found or 0)

    def wait(self, done: Callable[[list[str]], bool]) -> list[str]:
        with self._new:
            assert self._new.wait_for(lambda: done(self.lines), PATIENCE), self.lines
            return list(self.lines)

    def close(self) -> None:
        for stream in (self._socket, *self._open):
            with contextlib.suppress(OSError):  # it never had somebody at the other end
                stream.shutdown(socket.SHUT_RDWR)
            stream.close()


class Forwarder:
    """The program of the unit, with a journal of the test's."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.journal = Journal(folder / "journal")
        self.state = folder / "state"
        self.state.mkdir()
        tools = folder / "tools"
        tools.mkdir()
        (tools / "journalctl").write_text(JOURNALCTL)
        (tools / "journalctl").chmod(0o755)
        self._process: subprocess.Popen[bytes] | None = None

    def start(self, syslog: Syslog) -> None:
        tree = render(syslog)
        settings = json.loads(tree.files["etc/syslog.json"].content)
        settings["state"] = str(self.state)
        if syslog.ca:
            (self.folder / "ca.pem").write_bytes(tree.files["etc/syslog-ca.pem"].content)
            settings["ca"] = str(self.folder / "ca.pem")
        (self.folder / "syslog.json").write_text(json.dumps(settings))
        (self.folder / "syslog.py").write_bytes(tree.files["etc/syslog.py"].content)
        env = {**os.environ, "PATH": f"{self.folder}/tools:{os.environ['PATH']}"}
        env["JOURNAL"] = str(self.journal.file)
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [
                    sys.executable,
                    "-I",
                    "-B",
                    self.folder / "syslog.py",
                    self.folder / "syslog.json",
                ],
                env=env,
                stderr=log,
                start_new_session=True,
            )

    def stop(self, how: int = signal.SIGTERM) -> None:
        if self._process and self._process.poll() is None:
            # The journal's reader goes with it, as a unit's processes do.
            os.killpg(self._process.pid, how)
            self._process.wait(10)

    def noted(self, done: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        deadline = time.monotonic() + PATIENCE
        found: dict[str, Any] = {}
        while time.monotonic() < deadline:
            if (self.state / "state.json").exists():
                found = json.loads((self.state / "state.json").read_bytes())
                if done(found):
                    return found
            time.sleep(0.05)
        raise AssertionError(found)

    @property
    def log(self) -> str:
        return (self.folder / "log").read_text()


@pytest.fixture
def forwarder(tmp_path: Path) -> Iterator[Forwarder]:
    forwarder = Forwarder(tmp_path)
    yield forwarder
    forwarder.stop(signal.SIGKILL)


@pytest.fixture(scope="module")
def identity(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, ssl.SSLContext]:
    """Return a CA, and a server's TLS with a certificate for 127.0.0.1 from it."""
    host = SiteHost.model_validate({"address": "127.0.0.1", "groups": SERVING})
    site = make.make_site().replace(hosts={"host1": host})
    authority = pki.make_authority("siem", datetime.now(UTC))
    leaf = pki.issue_gateway(authority, site, datetime.now(UTC))
    file = tmp_path_factory.mktemp("identity") / "server.pem"
    file.write_text(leaf.certificate_pem + leaf.key_pem)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(file)
    return authority.certificate_pem, context


def parts_of(line: str) -> dict[str, str]:
    found = PATTERN.fullmatch(line)
    assert found, line
    return found.groupdict()


@pytest.mark.parametrize("protocol", ["tcp", "tls", "udp"])
def test_lines_come_as_rfc_5424(
    forwarder: Forwarder, identity: tuple[str, ssl.SSLContext], protocol: Any
) -> None:
    server = Server(protocol, identity[1] if protocol == "tls" else None)
    journal = forwarder.journal
    journal.add("model is loaded\nin two lines", PRIORITY="4")
    journal.add("bastide-llm.service: Main process exited", _SYSTEMD_UNIT="init.scope", _PID="1",
                UNIT="bastide-llm.service", SYSLOG_FACILITY="3")  # fmt: skip
    journal.add(
        '{"format":"bastide.access/1","status":200}', _SYSTEMD_UNIT="bastide-gateway.service"
    )
    journal.add("bastide refused IN=host0", _TRANSPORT="kernel", _SYSTEMD_UNIT="", _PID="")
    journal.add("something else of the kernel", _TRANSPORT="kernel")
    journal.add([255, 97], PRIORITY="none")
    journal.add(None)
    ca = identity[0] if protocol == "tls" else None
    forwarder.start(Syslog(address="127.0.0.1", port=server.port, protocol=protocol, ca=ca))
    lines = server.wait(lambda found: len(found) >= 6)
    found = [parts_of(line) for line in lines]
    assert [(each["name"], each["kind"], each["priority"]) for each in found] == [
        ("bastide-llm", "log", "28"),
        ("bastide-llm", "log", "30"),
        ("bastide-gateway", "audit", "30"),
        ("kernel", "log", "30"),
        ("bastide-llm", "log", "30"),
        ("bastide-llm", "log", "30"),
    ]
    assert found[0]["text"] == "model is loaded\nin two lines"
    assert found[0]["host"] == "host1"
    assert found[0]["data"] == '[origin ip="10.0.0.11" software="bastide"]'
    assert found[0]["at"] == "2026-09-21T14:13:20.000001Z"
    assert found[4]["text"] == "\N{REPLACEMENT CHARACTER}a"
    forwarder.noted(lambda state: state["connected"] and state["sent"] == 6)
    server.close()


def test_nothing_is_lost_over_breaks_and_kills(forwarder: Forwarder) -> None:
    server = Server("tcp")
    syslog = Syslog(address="127.0.0.1", port=server.port, protocol="tcp")
    journal = forwarder.journal
    wanted: list[str] = []

    def say(count: int) -> None:
        for _ in range(count):
            wanted.append(f"line {len(wanted)}")
            journal.add(wanted[-1])

    say(500)
    forwarder.start(syslog)
    first = server.wait(lambda found: len(found) >= 500)
    forwarder.noted(lambda state: state["sent"] == 500)
    server.close()  # it goes away
    forwarder.noted(lambda state: not state["connected"])
    say(300)
    server = Server("tcp", port=server.port)
    second = server.wait(lambda found: any("line 799" in line for line in found))
    forwarder.stop(signal.SIGKILL)  # and so does the sender
    say(200)
    forwarder.start(syslog)
    third = server.wait(lambda found: any("line 999" in line for line in found))
    texts = [parts_of(line)["text"] for line in (*first, *third)]
    assert set(texts) == set(wanted)
    assert len(second) <= len(third)
    # What was not noted yet comes twice after a kill, and no more.
    assert len(texts) <= len(wanted) + 300
    in_order = list(dict.fromkeys(texts))
    assert in_order == wanted
    server.close()


def test_a_server_of_another_ca_gets_nothing(
    forwarder: Forwarder, identity: tuple[str, ssl.SSLContext]
) -> None:
    server = Server("tls", identity[1])
    other = pki.make_authority("other", datetime.now(UTC)).certificate_pem
    forwarder.journal.add("a line")
    forwarder.start(Syslog(address="127.0.0.1", port=server.port, ca=other))
    deadline = time.monotonic() + PATIENCE
    while "certificate verify failed" not in forwarder.log and time.monotonic() < deadline:
        time.sleep(0.05)
    assert "logs wait in the journal" in forwarder.log
    assert "certificate verify failed" in forwarder.log
    assert not server.lines
    server.close()


def test_a_long_line_is_cut_and_says_so(forwarder: Forwarder) -> None:
    server = Server("udp")
    forwarder.journal.add("ä" * 9000)
    forwarder.start(Syslog(address="127.0.0.1", port=server.port, protocol="udp"))
    [line] = server.wait(lambda found: len(found) >= 1)
    assert len(line.encode()) <= 8192
    assert line.endswith("ä …cut")
    server.close()


def test_it_asks_for_our_units_and_what_systemd_says_of_them(forwarder: Forwarder) -> None:
    server = Server("tcp")
    forwarder.start(Syslog(address="127.0.0.1", port=server.port, protocol="tcp"))
    forwarder.journal.add("a line")
    server.wait(lambda found: len(found) >= 1)
    asked = json.loads(Path(f"{forwarder.journal.file}.argv").read_text().splitlines()[0])
    assert "--namespace=+bastide" in asked
    assert "_SYSTEMD_UNIT=bastide-gateway.service" in asked
    assert asked[asked.index("UNIT=bastide-gateway.service") - 1].startswith(("UNIT=", "+"))
    assert asked[-3:] == ["_PID=1", "+", "_TRANSPORT=kernel"]
    server.close()
