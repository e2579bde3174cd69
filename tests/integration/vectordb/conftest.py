"""A real service process on loopback."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest
from qdrant_client import QdrantClient

KEY = "full-key-of-the-tests"
READ_ONLY = "read-only-key-of-the-tests"
PASS = "one-time-pass-of-the-tests"


@dataclass
class Server:
    folder: Path
    port: int = 0
    environ: dict[str, str] = field(default_factory=dict)
    settings: str = ""
    process: subprocess.Popen[bytes] | None = None
    ready_seconds: float = 60
    before: tuple[str, ...] = ()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def snapshots(self) -> Path:
        return self.folder / "snapshots"

    def start(self) -> Server:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        config = self.folder / "config.yaml"
        config.write_text(
            f"service:\n  host: 127.0.0.1\n  http_port: {self.port}\n  max_request_size_mb: 4\n"
            f"storage:\n  storage_path: {self.folder}/storage\n"
            f"  snapshots_path: {self.snapshots}\n{self.settings}"
        )
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(
                [
                    sys.executable,
                    *self.before,
                    "-m",
                    "bastide_vectordb.main",
                    "--config",
                    str(config),
                ],
                env={
                    **os.environ,
                    "QDRANT__SERVICE__API_KEY": KEY,
                    "QDRANT__SERVICE__READ_ONLY_API_KEY": READ_ONLY,
                    **self.environ,
                },
                stderr=log,
            )
        self._wait()
        return self

    def _wait(self) -> None:
        until = time.monotonic() + self.ready_seconds
        while time.monotonic() < until:
            assert self.process is not None
            assert self.process.poll() is None, self.log()
            try:
                if httpx.get(f"{self.url}/readyz", timeout=5).status_code == 200:
                    return
            except httpx.HTTPError:  # not listening yet
                pass
            time.sleep(0.05)
        raise AssertionError(self.log())

    def log(self) -> str:
        return (self.folder / "log").read_text()

    def kill(self) -> None:
        assert self.process is not None
        self.process.send_signal(signal.SIGKILL)
        self.process.wait(10)

    def stop(self) -> float:
        assert self.process is not None
        started = time.monotonic()
        self.process.terminate()
        self.process.wait(15)
        return time.monotonic() - started

    def engines(self) -> list[int]:
        assert self.process is not None
        task = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children")
        return [int(pid) for pid in task.read_text().split()]

    def raise_fence(self, content: str | None = None) -> None:
        digest = hashlib.sha256(PASS.encode()).hexdigest()
        text = json.dumps({"since": "now", "run": "r", "pass_sha256": digest})
        temporary = self.folder / ".fence"
        temporary.write_text(text if content is None else content)
        temporary.replace(self.folder / "fence")

    def lift_fence(self) -> None:
        (self.folder / "fence").unlink()

    def client(self, **options: Any) -> QdrantClient:
        return QdrantClient(
            url=self.url, api_key=KEY, timeout=60, check_compatibility=False, **options
        )

    def http(self, key: str | None = KEY) -> httpx.Client:
        headers = {"api-key": key} if key is not None else {}
        return httpx.Client(base_url=self.url, headers=headers, timeout=60)


@pytest.fixture
def make_server(tmp_path: Path) -> Iterator[Callable[..., Server]]:
    servers = []

    def make(folder: Path = tmp_path, **options: Any) -> Server:
        server = Server(folder, **options)
        servers.append(server)
        return server.start()

    yield make
    for server in servers:
        if server.process is not None and server.process.poll() is None:
            server.stop()


@pytest.fixture
def server(make_server: Callable[..., Server]) -> Server:
    return make_server()


@pytest.fixture
def fenceable(make_server: Callable[..., Server], tmp_path: Path) -> Server:
    return make_server(settings=f"  fence_path: {tmp_path}/fence\n")


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    server = Server(tmp_path_factory.mktemp("vectordb")).start()
    yield server
    server.stop()
