"""The real HAProxy with the release's configuration and certificates, before a real uvicorn."""

from __future__ import annotations

import contextlib
import functools
import http.client
import json
import os
import signal
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import plan_factories as make
import pytest
from bastide_host import client, gateway, rotation
from bastide_host.host import Paths
from gateway_stand import KEY, Stand, digest_of, free_port, short_folder
from haproxy_program import haproxy

from bastide import resources
from bastide.host.network import source_address
from bastide.render.context import _service
from bastide.render.engine import TemplateFolder
from bastide.schema.site import Group, Site
from bastide.site import delivery, pki, renewal
from bastide.site.keyring import Asked
from bastide.site.material import Secrets
from bastide.site.secrets import make_secrets

pytestmark = [
    pytest.mark.integration,
    pytest.mark.skipif(not haproxy(), reason="no haproxy here; BASTIDE_TEST_HAPROXY names one"),
]
NOW = datetime.now(UTC)
APP = """
import sys
import uvicorn
async def app(scope, receive, send):
    if scope["type"] == "http":
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": scope["scheme"].encode()})
if __name__ == "__main__":
    uvicorn.run(app, host=sys.argv[1], port=int(sys.argv[2]), lifespan="off", log_level="warning")
"""


def own_address() -> str:
    found = source_address("192.0.2.1")
    if not found or found.startswith("127."):
        pytest.skip("this machine has no address but loopback")
    return found


def site_of(address: str, *, mutual_tls: bool = True) -> Site:
    groups = (Group.LLM, Group.EMBEDDINGS, Group.VECTORDB)
    site = make.make_site({"svc": groups, "gate": (Group.GATEWAY,)})
    hosts = {"svc": site.hosts["svc"].replace(address=address), "gate": site.hosts["gate"]}
    return site.replace(hosts=hosts, certificates=site.certificates.replace(mutual_tls=mutual_tls))


def secrets_of(site: Site) -> Secrets:
    secrets = make_secrets(site, NOW, ("a" * 43, "b" * 43))
    return renewal.made_anew(secrets, site, renewal.due(secrets, site, NOW), NOW)


def write_files(folder: Path, files: dict[str, str]) -> None:
    folder.mkdir(exist_ok=True)
    names = {"service_pem": "service.pem", "machines_ca_pem": "machines-ca.pem",
             "agent_pem": "agent.pem", "gateway_client_pem": "gateway-client.pem",
             "gateway_pem": "gateway.pem"}  # fmt: skip
    for name, text in files.items():
        (folder / names.get(name, name)).write_text(text)


class SecureStand(Stand):
    """A gateway with TLS on both sides, and one service for all three backends."""

    def __init__(self, folder: Path, *, mutual_tls: bool = True) -> None:
        super().__init__(folder)
        self.address, self.service_port = own_address(), free_port()
        self.site = site_of(self.address, mutual_tls=mutual_tls)
        self.mutual_tls = mutual_tls
        self.secrets = secrets_of(self.site)
        self.deliver(self.secrets)
        self.service: subprocess.Popen[bytes] | None = None

    def deliver(self, secrets: Secrets) -> None:
        own = delivery.host_files(secrets, self.site)
        write_files(self.folder / "svc", own["svc"])
        write_files(self.folder / "gate", own["gate"])
        write_files(self.folder / "gate", delivery.shared_files(secrets))
        (self.folder / "gate/gateway-keys.map").write_text(
            f"{digest_of(KEY)} full:admin:0:0:0:0:0\n"
        )
        (self.folder / "gate/vectordb-keys.map").write_text("admin rw\nuser rw\nreader ro\n")

    def start_service(self) -> None:
        lib = self.folder / "lib"
        lib.mkdir(exist_ok=True)
        templates = TemplateFolder(resources.templates())
        (lib / "service_tls.py").write_bytes(templates.render("lib/service_tls.py.j2", {}))
        (lib / "tiny.py").write_text(APP)
        module = ["service_tls", "tiny"] if self.mutual_tls else ["tiny"]
        argv = [sys.executable, "-m", *module, self.address, str(self.service_port)]
        credentials = str(self.folder / "svc")
        env = {**os.environ, "PYTHONPATH": str(lib), "CREDENTIALS_DIRECTORY": credentials}
        self.service = subprocess.Popen(argv, env=env)
        assert gateway.wait_until(self.listens, 30)

    def listens(self) -> bool:
        with socket.socket() as probe:
            return probe.connect_ex((self.address, self.service_port)) == 0

    def configure(self) -> Path:
        services = {str(group): _service(self.site, group, "gate") for group in Group}
        for service in services.values():
            for each in service["backends"]:
                each["port"] = self.service_port
        services["gateway"] = {**services["gateway"], "bind": "127.0.0.1", "port": self.port}
        context: dict[str, Any] = {
            "site": self.site.model_dump(mode="json"),
            "services": services,
            "models": {use: {"name": use} for use in ("llm", "embeddings")},
            "floating": None,
        }
        templates = TemplateFolder(resources.templates())
        text = templates.render("etc/haproxy.cfg.j2", context).decode()
        socket_path = self.folder / "run/bastide-gateway/admin.sock"
        socket_path.parent.mkdir(parents=True, exist_ok=True)
        text = text.replace("/run/bastide-gateway/admin.sock", str(socket_path))
        text = text.replace("127.0.0.1:8404", f"127.0.0.1:{free_port()}")
        lua = templates.render("etc/gateway-tokens.lua.j2", {})
        (self.folder / "gateway-tokens.lua").write_bytes(lua)
        path = self.folder / "haproxy.cfg"
        path.write_text(text)
        return path

    def raise_gateway(self, *, up: bool = True) -> None:
        program = haproxy()
        assert program
        configuration = str(self.configure())
        master = f"{self.runtime}/master.sock,mode,600"
        with (self.folder / "gateway.log").open("ab") as log:
            self.gateway = subprocess.Popen(
                [program, "-W", "-S", master, "-f", configuration],
                env={
                    **os.environ,
                    "CREDENTIALS_DIRECTORY": str(self.folder / "gate"),
                    "RUNTIME_DIRECTORY": str(self.folder / "gate"),
                    "BASTIDE_TOKENS_LUA": str(self.folder / "gateway-tokens.lua"),
                },
                stdout=log,
                stderr=log,
            )
        seen = self.all_up if up else self.answers
        assert gateway.wait_until(lambda: seen() and self.master_listens(), 60), self.log()

    def answers(self) -> bool:
        with contextlib.suppress(OSError):
            return bool(self.served())
        return False

    def trusting(self) -> ssl.SSLContext:
        anchors = self.folder / "anchors.pem"
        anchors.write_text(self.secrets.anchors_pem)
        return client.trusting(anchors)

    def ask(self, context: ssl.SSLContext, path: str = "/vectordb/x") -> tuple[int, bytes]:
        connection = http.client.HTTPSConnection(
            "127.0.0.1", self.port, timeout=30, context=context
        )
        with contextlib.closing(connection):
            connection.request("GET", path, headers={"Authorization": f"Bearer {KEY}"})
            answer = connection.getresponse()
            return answer.status, answer.read()

    def served(self) -> bytes:
        """Return the certificate that the gateway shows now."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        with (
            socket.create_connection(("127.0.0.1", self.port), 10) as plain,
            context.wrap_socket(plain) as tls,
        ):
            return tls.getpeercert(binary_form=True) or b""

    def close(self) -> None:
        super().close()
        if self.service is not None:
            self.service.send_signal(signal.SIGKILL)
            self.service.wait(20)


@pytest.fixture
def stand() -> Iterator[SecureStand]:
    with short_folder() as folder:
        stand = SecureStand(folder)
        try:
            stand.start_service()
            yield stand
        finally:
            stand.close()


def loose(context: ssl.SSLContext) -> ssl.SSLContext:
    context.check_hostname = False  # the tests reach it by 127.0.0.1, which it is not for
    return context


def ask_service(stand: SecureStand, context: ssl.SSLContext | None) -> bytes:
    where = (stand.address, stand.service_port)
    connection: http.client.HTTPConnection = (
        http.client.HTTPSConnection(*where, timeout=20, context=context)
        if context
        else http.client.HTTPConnection(*where, timeout=20)
    )
    with contextlib.closing(connection):
        connection.request("GET", "/healthz")
        return connection.getresponse().read()


def own_client(stand: SecureStand, pem: str) -> ssl.SSLContext:
    context = client.trusting(stand.folder / "svc/machines-ca.pem")
    if pem:
        file = stand.folder / "client.pem"
        file.write_text(pem)
        context.load_cert_chain(file)
    return context


def test_the_gateway_and_the_host_reach_a_service(stand: SecureStand) -> None:
    stand.raise_gateway()
    assert stand.ask(loose(stand.trusting())) == (200, b"https")
    assert ask_service(stand, own_client(stand, (stand.folder / "svc/agent.pem").read_text())) == (
        b"https"
    )


def _none(_stand: SecureStand) -> str:
    return ""


def _of_another_site(_stand: SecureStand) -> str:
    made = pki.issue_client(pki.make_machines_authority("other"), "gateway-client")
    return made.certificate_pem + made.key_pem


def _of_the_site_ca(stand: SecureStand) -> str:
    wish = pki.Wish("x", (), *pki.ALWAYS, (pki.CLIENT,))
    made = pki.issue(stand.secrets.authority, wish)
    return made.certificate_pem + made.key_pem


def _a_servers(stand: SecureStand) -> str:
    return (stand.folder / "svc/service.pem").read_text()


@pytest.mark.parametrize("pem", [_none, _of_another_site, _of_the_site_ca, _a_servers])
def test_a_service_refuses_every_other_client(
    stand: SecureStand, pem: Callable[[SecureStand], str]
) -> None:
    with pytest.raises((OSError, http.client.HTTPException)):
        ask_service(stand, own_client(stand, pem(stand)))
    with pytest.raises((OSError, http.client.HTTPException)):
        ask_service(stand, None)


def test_the_gateway_refuses_a_service_that_is_another_hosts(stand: SecureStand) -> None:
    authority = stand.secrets.keyring.machines_ca
    assert authority is not None
    signer = pki.Certified(authority.certificate_pem, authority.key_pem)
    other = pki.issue_service(signer, "elsewhere", stand.address)
    (stand.folder / "svc/service.pem").write_text(other.certificate_pem + other.key_pem)
    assert stand.service is not None
    stand.service.kill()
    stand.service.wait(20)
    stand.start_service()
    stand.raise_gateway(up=False)
    assert gateway.wait_until(lambda: stand.ask(loose(stand.trusting()), "/healthz")[0] == 503, 20)


@pytest.mark.parametrize("year", [1970, 2001, 2040])
def test_the_gateway_serves_whatever_the_date_is(stand: SecureStand, year: int) -> None:
    """Its certificate ended long ago or begins far ahead: clients decide, not the gateway."""
    moment = datetime(year, 6, 1, tzinfo=UTC)
    root = pki.make_authority("clock", moment)
    made = pki.issue_gateway(root, stand.site, moment)
    (stand.folder / "gate/gateway.pem").write_text(made.certificate_pem + made.key_pem)
    anchors = stand.folder / "old-root.pem"
    anchors.write_text(root.certificate_pem)
    stand.raise_gateway()
    assert stand.ask(loose(client.trusting(anchors))) == (200, b"https")
    strict = loose(ssl.create_default_context(cafile=str(anchors)))
    with pytest.raises(ssl.SSLCertVerificationError):  # so the dates are wrong indeed
        stand.ask(strict)


def _reached(seen: Counter[str], wanted: int) -> bool:
    return seen.total() >= wanted


def test_a_new_certificate_comes_by_a_reload_and_no_request_fails(stand: SecureStand) -> None:
    stand.raise_gateway()
    before, seen, end = stand.served(), Counter[str](), threading.Event()
    context = loose(stand.trusting())

    def keep_asking() -> None:
        connection = http.client.HTTPSConnection(
            "127.0.0.1", stand.port, timeout=60, context=context
        )
        while not end.is_set():
            try:
                connection.request("GET", "/vectordb/x", headers={"api-key": KEY})
                answer = connection.getresponse()
                answer.read()
                seen[str(answer.status)] += 1
            except (OSError, http.client.HTTPException) as error:
                seen[repr(error)] += 1
                connection.close()
        connection.close()

    clients = [threading.Thread(target=keep_asking) for _ in range(8)]
    for each in clients:
        each.start()
    try:
        for _ in range(3):
            wanted = seen.total() + 40
            assert gateway.wait_until(functools.partial(_reached, seen, wanted), 60)
            asked = stand.secrets.keyring.replace(asked={
                "gateway": Asked(why="test")})  # fmt: skip
            secrets = replace(stand.secrets, keyring=asked)
            later = NOW + timedelta(minutes=1)
            stand.secrets = renewal.made_anew(
                secrets, stand.site, renewal.due(secrets, stand.site, later), later
            )
            stand.deliver(stand.secrets)
            stand.reload()
            assert stand.served() != before
            before = stand.served()
        assert ssl.PEM_cert_to_DER_cert(stand.secrets.gateway_certificate_pem) == before
    finally:
        end.set()
        for each in clients:
            each.join(60)
    assert set(seen) == {"200"}, seen


def test_the_agent_finds_its_way_by_host_json(stand: SecureStand) -> None:
    root = stand.folder / "host"
    (root / "opt/bastide/current/etc").mkdir(parents=True)
    (root / "etc/bastide").mkdir(parents=True)
    (root / "etc/bastide/secrets").symlink_to(stand.folder / "svc")
    url = f"https://{stand.address}:{stand.service_port}/healthz"
    described = {
        "services": {"bastide-vectordb.service": url},
        "mutual_tls": {
            "ports": [stand.service_port],
            "authority": "/etc/bastide/secrets/machines-ca.pem",
            "client": "/etc/bastide/secrets/agent.pem",
        },
    }
    (root / "opt/bastide/current/etc/host.json").write_text(json.dumps(described))
    connection = client.connect(Paths(root), url, 20)
    with contextlib.closing(connection):
        connection.request("GET", "/healthz")
        assert connection.getresponse().status == 200
    assert time.monotonic() > 0


@pytest.mark.parametrize("tls", [True, False])
def test_a_service_that_changed_its_protocol_is_not_waited_for(
    stand: SecureStand, *, tls: bool
) -> None:
    stand.raise_gateway()
    for backend in ("llm", "vectordb"):
        place = f"{stand.address} {stand.service_port}{' tls' if tls else ''}"
        answer = rotation.rotate_in(stand.paths, "svc", [backend], 5, {backend: place})
        assert answer["backends"] == {backend: {"way": "in" if tls else "moved"}}
