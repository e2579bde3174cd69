"""Debian's Alertmanager logs in where site.yaml says: real TLS, real passwords, on loopback."""

from __future__ import annotations

import base64
import json
import os
import socket
import ssl
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Iterator
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from queue import Queue
from typing import Any

import plan_factories as make
import pytest
from monitored_site import make_site, render

from bastide.schema.monitoring import DeadMansSwitch, Receiver
from bastide.schema.site import SERVING, Group, SiteHost
from bastide.site import pki

pytestmark = pytest.mark.integration
TOKEN, PASSWORD, PULSE, MAILED = "to-ken", "pass word", "pul-se", "mail pass"
PATIENCE = 40.0


class Identity:
    """A CA, and a server's certificate for 127.0.0.1 from it."""

    def __init__(self, folder: Path) -> None:
        host = SiteHost.model_validate({"address": "127.0.0.1", "groups": SERVING})
        site = make.make_site().replace(hosts={"host1": host})
        authority = pki.make_authority("receivers", datetime.now(UTC))
        leaf = pki.issue_gateway(authority, site, datetime.now(UTC))
        self.anchors = authority.certificate_pem
        self.file = folder / "server.pem"
        self.file.write_text(leaf.certificate_pem + leaf.key_pem)

    @property
    def context(self) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.file)
        return context


@pytest.fixture(scope="module")
def identity(tmp_path_factory: pytest.TempPathFactory) -> Identity:
    return Identity(tmp_path_factory.mktemp("identity"))


class Hook(BaseHTTPRequestHandler):
    """Takes what alerts are posted to, with how the poster logged in."""

    told: Queue[tuple[str, str, list[str]]]

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        names = [alert["labels"]["alertname"] for alert in body["alerts"]]
        self.told.put((self.path, self.headers.get("Authorization", ""), names))
        self.send_response(200)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def hook(identity: Identity) -> Iterator[tuple[int, Queue[tuple[str, str, list[str]]]]]:
    told: Queue[tuple[str, str, list[str]]] = Queue()
    handler = type("Told", (Hook,), {"told": told})
    server = HTTPServer(("127.0.0.1", 0), handler)
    server.socket = identity.context.wrap_socket(server.socket, server_side=True)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server.server_address[1], told
    server.shutdown()
    server.server_close()


def speak(stream: Any, identity: Identity, told: Queue[str]) -> None:
    """Be a mail server that wants STARTTLS, and a login only after it."""
    reader = stream.makefile("rb")
    secure = False
    stream.sendall(b"220 mail\r\n")
    while line := reader.readline().decode().strip():
        told.put(line if secure else f"clear: {line}")
        verb = line.split()[0].upper()
        if verb == "EHLO":
            stream.sendall(b"250-mail\r\n250 AUTH PLAIN\r\n" if secure
                           else b"250-mail\r\n250 STARTTLS\r\n")  # fmt: skip
        elif verb == "STARTTLS":
            stream.sendall(b"220 go on\r\n")
            stream = identity.context.wrap_socket(stream, server_side=True)
            reader, secure = stream.makefile("rb"), True
        elif verb == "AUTH":
            stream.sendall(b"235 welcome\r\n")
        elif verb == "DATA":
            stream.sendall(b"354 go on\r\n")
            while (part := reader.readline().strip()) != b".":
                told.put(part.decode())
            stream.sendall(b"250 taken\r\n")
        else:
            stream.sendall(b"221 bye\r\n" if verb == "QUIT" else b"250 well\r\n")


@pytest.fixture
def mail(identity: Identity) -> Iterator[tuple[int, Queue[str]]]:
    told: Queue[str] = Queue()
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        while True:
            try:
                stream, _ = listener.accept()
                speak(stream, identity, told)
            except OSError:
                return

    threading.Thread(target=serve, daemon=True).start()
    yield listener.getsockname()[1], told
    listener.close()


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        return int(taken.getsockname()[1])


def split_secrets(folder: Path, secrets: dict[str, str], names: list[str]) -> Path:
    """Run what the unit runs before Alertmanager; return the folder with a file a secret."""
    run, given = folder / "run", folder / "given"
    run.mkdir()
    given.mkdir()
    (given / "alert-secrets.json").write_text(json.dumps({"salt": "s", "secrets": secrets}))
    env = {"CREDENTIALS_DIRECTORY": str(given), "RUNTIME_DIRECTORY": str(run)}
    script = str(folder / "etc/alertmanager-secrets.py")
    subprocess.run([sys.executable, "-I", "-B", script, *names], env=env, check=True)
    return run


def _with_templates(programs: Path) -> list[str]:
    """Return what to start Alertmanager with: Debian's looks for its templates below /usr/share."""
    if Path("/usr/share/prometheus/alertmanager/default.tmpl").exists():
        return []
    if os.geteuid() != 0:
        pytest.skip("Alertmanager is not installed, and only root can show it its templates")
    share = programs.parent / "share"
    return ["unshare", "--mount", "sh", "-c", f'mount --bind {share} /usr/share && exec "$@"', "sh"]


@pytest.fixture
def alertmanager(tmp_path: Path, programs: Path) -> Iterator[Any]:
    """Start Alertmanager with a site's configuration; return where it listens."""
    processes = []

    def start(etc: Path, run: Path) -> str:
        text = (etc / "alertmanager.yml").read_text()
        text = text.replace("/run/bastide-alertmanager/", f"{run}/")
        text = text.replace("/opt/bastide/current/etc/", f"{etc}/").replace("30s", "1s")
        (etc / "alertmanager.yml").write_text(text)
        address = f"127.0.0.1:{free_port()}"
        with (tmp_path / "log").open("wb") as log:
            processes.append(subprocess.Popen(
                [*_with_templates(programs), programs / "prometheus-alertmanager",
                 f"--config.file={etc / 'alertmanager.yml'}",
                 f"--storage.path={tmp_path / 'am'}", f"--web.listen-address={address}",
                 "--cluster.listen-address="], stdout=log, stderr=log))  # fmt: skip
        return address

    yield start
    for process in processes:
        process.terminate()
        process.wait(10)


def raise_alerts(address: str, *names: str) -> None:
    alerts = [
        {"labels": {"alertname": name, "severity": "page"}, "annotations": {"summary": "s"}}
        for name in names
    ]
    request = urllib.request.Request(
        f"http://{address}/api/v2/alerts", json.dumps(alerts).encode(),
        {"Content-Type": "application/json"},
    )  # fmt: skip
    for _ in range(100):
        try:
            urllib.request.urlopen(request, timeout=5).close()  # noqa: S310 - of this test
        except OSError:
            threading.Event().wait(0.1)  # it has just been started
        else:
            return
    raise AssertionError("Alertmanager does not answer")


def test_receivers_are_logged_in_to(
    tmp_path: Path,
    identity: Identity,
    hook: tuple[int, Queue[tuple[str, str, list[str]]]],
    mail: tuple[int, Queue[str]],
    alertmanager: Any,
) -> None:
    url = f"https://127.0.0.1:{hook[0]}"
    site = make_site(
        receivers={
            "oncall": Receiver(webhook=f"{url}/bearer", bearer=True),
            "day": Receiver(webhook=f"{url}/basic", user="bob"),
            "night": Receiver(
                mail_to="a@plant.internal",
                mail_from="b@plant.internal",
                mail_server=f"127.0.0.1:{mail[0]}",
                user="bastide",
            ),
        },
        dead_mans_switch=DeadMansSwitch(webhook=f"{url}/alive", bearer=True),
        receivers_ca=identity.anchors,
    )
    assert site.hosts_in(Group.MONITORING)
    etc = render(site, tmp_path)
    secrets = {"oncall": TOKEN, "day": PASSWORD, "dead-mans-switch": PULSE, "night": MAILED}
    run = split_secrets(tmp_path, secrets, list(site.monitoring.logins))
    assert {f.name: f.stat().st_mode & 0o777 for f in run.iterdir()} == dict.fromkeys(
        secrets, 0o400
    )
    raise_alerts(alertmanager(etc, run), "Watchdog", "ServiceDown")
    basic = base64.b64encode(f"bob:{PASSWORD}".encode()).decode()
    wanted = {
        ("/bearer", f"Bearer {TOKEN}", "ServiceDown"),
        ("/basic", f"Basic {basic}", "ServiceDown"),
        ("/alive", f"Bearer {PULSE}", "Watchdog"),
    }
    found: set[tuple[str, str, str]] = set()
    while found != wanted:
        path, login, names = hook[1].get(timeout=PATIENCE)
        found |= {(path, login, name) for name in names}
        assert found <= wanted
    lines: list[str] = []
    while not any("ServiceDown" in line for line in lines):
        lines.append(mail[1].get(timeout=PATIENCE))
    login = base64.b64encode(f"\0bastide\0{MAILED}".encode()).decode()
    assert f"AUTH PLAIN {login}" in lines
    assert "clear: STARTTLS" in lines
    assert not [line for line in lines if line.startswith("clear: AUTH")]
    log = (tmp_path / "log").read_text()
    assert not [each for each in secrets.values() if each in log + os.linesep]
    config = (etc / "alertmanager.yml").read_text()
    assert not [each for each in secrets.values() if each in config]


def test_a_server_with_another_ca_is_told_nothing(
    tmp_path: Path, hook: tuple[int, Queue[tuple[str, str, list[str]]]], alertmanager: Any
) -> None:
    other = pki.make_authority("other", datetime.now(UTC)).certificate_pem
    receiver = Receiver(webhook=f"https://127.0.0.1:{hook[0]}/x", bearer=True)
    etc = render(make_site(receivers={"oncall": receiver}, receivers_ca=other), tmp_path)
    run = split_secrets(tmp_path, {"oncall": TOKEN}, ["oncall"])
    raise_alerts(alertmanager(etc, run), "ServiceDown")
    log = tmp_path / "log"
    for _ in range(400):
        if "certificate signed by unknown authority" in log.read_text():
            break
        threading.Event().wait(0.1)
    assert "certificate signed by unknown authority" in log.read_text()
    assert hook[1].empty()
    assert TOKEN not in log.read_text()


def test_a_secret_that_is_missing_does_not_silence_the_others(tmp_path: Path) -> None:
    receivers = {
        name: Receiver(webhook=f"https://10.0.0.9/{name}", bearer=True) for name in ("a", "b")
    }
    render(make_site(receivers=receivers), tmp_path)
    run = split_secrets(tmp_path, {"a": TOKEN}, ["a", "b"])
    assert {f.name: f.read_text() for f in run.iterdir()} == {"a": TOKEN, "b": ""}
