"""A real HAProxy with the release's own configuration, and servers behind it that come and go."""

from __future__ import annotations

import contextlib
import ctypes
import hashlib
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from bastide_host import gateway, keys
from bastide_host.host import Paths
from haproxy_program import haproxy

from bastide import resources
from bastide.render.engine import TemplateFolder
from bastide.schema.access import Access

KEY = "key-of-the-tests"
# Ends as our services do: on SIGTERM it stops listening and answers what it has begun.
SERVER = """
import signal, sys, threading, time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def do_GET(self):
        body = self.rfile.read(int(self.headers.get("content-length") or 0))
        time.sleep(0 if self.path in ("/healthz", "/readyz") else float(sys.argv[2]))
        if stopping.is_set():
            self.close_connection = True
        self.send_response(200)
        self.send_header("content-length", "2")
        self.end_headers()
        self.wfile.write(b"ok")
    do_POST = do_GET
    def log_message(self, *_):
        pass
stopping = threading.Event()
class Server(ThreadingHTTPServer):
    request_queue_size = 1024
server = Server((sys.argv[3], int(sys.argv[1])), Handler)
server.daemon_threads = True
def stop(*_):
    stopping.set()
    threading.Thread(target=server.shutdown).start()
signal.signal(signal.SIGTERM, stop)
server.serve_forever()
server.server_close()
"""


def digest_of(key: str) -> str:
    return hashlib.sha256(key.encode()).hexdigest()


def deny_write_execute() -> None:
    """Forbid memory that is writable and executable, as the gateway's unit does (Linux 6.3)."""
    ctypes.CDLL(None).prctl(65, 1, 0, 0, 0)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextlib.contextmanager
def short_folder() -> Iterator[Path]:
    """Make a folder whose name is short enough for sockets in it."""
    with tempfile.TemporaryDirectory(prefix="gw-", dir="/tmp") as name:
        yield Path(name)


class Stand:
    """A gateway and its servers.

    Args:
        folder: Where its files go.
        access: The site's ``access``.
        changes: What is replaced in the rendered configuration and in its Lua.
        server: Program of the servers.
        prometheus: Port of a Prometheus on loopback; 0 if the site has no monitoring.
    """

    def __init__(
        self,
        folder: Path,
        access: Access | None = None,
        changes: dict[str, str] | None = None,
        server: str = SERVER,
        prometheus: int = 0,
    ) -> None:
        self.prometheus = prometheus
        self.folder = folder
        self.access = access or Access()
        self.changes = changes or {}
        self.server = server
        self.texts_days: int | None = None  # of the site's `audit`
        self.keys = f"{digest_of(KEY)} full:admin:0:0:0:0:0\n"
        self.paths = Paths(folder)
        self.port = free_port()
        names = {"llm": ["a", "b"], "embeddings": ["a"], "vectordb": ["a"]}
        self.ports = {(use, name): free_port() for use in names for name in names[use]}
        self.servers: dict[tuple[str, str], subprocess.Popen[bytes]] = {}
        self.gateway: subprocess.Popen[bytes] | None = None

    def start(
        self, backend: str, name: str, seconds: float = 0.05, address: str = "127.0.0.1"
    ) -> None:
        port = self.ports[backend, name]
        argv = [sys.executable, "-c", self.server, str(port), str(seconds), address]
        self.servers[backend, name] = subprocess.Popen(argv)
        deadline = time.monotonic() + 20
        while True:
            with socket.socket() as probe:
                if probe.connect_ex((address, port)) == 0:
                    return
            assert time.monotonic() < deadline

    def stop(self, backend: str, name: str) -> None:
        process = self.servers.pop((backend, name))
        process.terminate()
        process.wait(20)

    def configure(self) -> Path:
        """Write the release's haproxy.cfg, without TLS, with this folder's socket."""
        services: dict[str, Any] = {
            use: {
                "backends": [
                    {"name": name, "address": "127.0.0.1", "port": port, "tls": False}
                    for (each, name), port in self.ports.items()
                    if each == use
                ]
            }
            for use in ("llm", "embeddings", "vectordb")
        }
        services["gateway"] = {"bind": "127.0.0.1", "port": self.port}
        if self.prometheus:
            server = {"name": "a", "address": "127.0.0.1", "port": self.prometheus}
            services["monitoring"] = {"backends": [server]}
        sizes = {
            "llm": {"parallel": 4},
            "embeddings": {"parallel": 4},
            "max_request_megabytes": 1,
            "queue_seconds": 30,
        }
        models = {use: {"name": use} for use in ("llm", "embeddings")}
        text = (
            TemplateFolder(resources.templates())
            .render(
                "etc/haproxy.cfg.j2",
                {
                    "site": {
                        "sizes": sizes,
                        "access": self.access.model_dump(mode="json"),
                        "audit": {"texts_days": self.texts_days},
                    },
                    "services": services,
                    "floating": None,
                    "models": models,
                },
            )
            .decode()
        )
        socket_path = self.folder / "run/bastide-gateway/admin.sock"
        socket_path.parent.mkdir(parents=True, exist_ok=True)
        text = text.replace("/run/bastide-gateway/admin.sock", str(socket_path))
        text = text.replace(' ssl crt "${RUNTIME_DIRECTORY}/gateway.pem" alpn h2,http/1.1', "")
        text = text.replace("127.0.0.1:8404", f"127.0.0.1:{free_port()}")
        lua = TemplateFolder(resources.templates()).render("etc/gateway-tokens.lua.j2", {}).decode()
        for old, new in self.changes.items():
            assert old in text + lua, old
            text, lua = text.replace(old, new), lua.replace(old, new)
        self.runtime.mkdir(parents=True, exist_ok=True)
        (self.runtime / "gateway-keys.map").write_text(self.keys)
        (self.folder / "vectordb-keys.map").write_text("admin rw\nuser rw\nreader ro\n")
        (self.folder / "gateway-tokens.lua").write_text(lua)
        path = self.folder / "haproxy.cfg"
        path.write_text(text)
        return path

    @property
    def runtime(self) -> Path:
        """The gateway's runtime folder."""
        return self.folder / "run/bastide-gateway"

    def raise_gateway(self) -> None:
        program = haproxy()
        assert program
        configuration = str(self.configure())
        master = f"{self.runtime}/master.sock,mode,600"
        with (self.folder / "gateway.log").open("ab") as log:
            self.gateway = subprocess.Popen(
                [program, "-W", "-S", master, "-f", configuration],
                env={
                    **os.environ,
                    "CREDENTIALS_DIRECTORY": str(self.folder),
                    "RUNTIME_DIRECTORY": str(self.runtime),
                    "BASTIDE_TOKENS_LUA": str(self.folder / "gateway-tokens.lua"),
                },
                stdout=log,
                stderr=log,
                preexec_fn=deny_write_execute,  # noqa: PLW1509 - it only makes a system call
            )
        ready = gateway.wait_until(
            lambda: self.ended() or (self.all_up() and self.master_listens()), 60
        )
        assert ready, self.log()
        assert not self.ended(), self.log()

    def master_listens(self) -> bool:
        """Whether the master has executed itself anew: a signal that comes before is lost."""
        try:
            return "worker" in gateway.ask(self.paths, "show proc", keys.MASTER)
        except gateway.NotRunningError:
            return False

    def ended(self) -> bool:
        """Whether the gateway has ended."""
        return self.gateway is not None and self.gateway.poll() is not None

    def log(self) -> str:
        """What the gateway wrote."""
        return (self.folder / "gateway.log").read_text()

    def all_up(self) -> bool:
        try:
            found = gateway.servers(self.paths)
        except gateway.NotRunningError:
            return False
        return all(e.takes_requests for e in found if e.name != gateway.HOLD)

    def reload(self) -> None:
        assert self.gateway
        before = gateway.worker(self.paths)
        self.gateway.send_signal(signal.SIGUSR2)
        assert gateway.takes_over(self.paths, before, 60), self.log()
        assert gateway.wait_until(self.master_listens, 60), self.log()

    @contextlib.contextmanager
    def running(self) -> Iterator[None]:
        """Start the servers and the gateway before them; all of them end with the block."""
        try:
            for backend, name in self.ports:
                self.start(backend, name)
            self.raise_gateway()
            yield
        finally:
            self.close()

    def close(self) -> None:
        for process in [*self.servers.values(), *([self.gateway] if self.gateway else [])]:
            process.terminate()
        for process in [*self.servers.values(), *([self.gateway] if self.gateway else [])]:
            process.wait(20)
