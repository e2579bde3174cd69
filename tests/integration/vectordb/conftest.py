"""A real service process on loopback."""

from __future__ import annotations

import hashlib
import json
import os
import random
import signal
import socket
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest
from bastide_host.data import lift_fence, raise_fence
from bastide_host.host import Paths
from qdrant_client import QdrantClient, models

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


class Host:
    """A root folder laid out as a host, with the service on its storage."""

    def __init__(self, root: Path, make_server: Any) -> None:
        self.paths = Paths(root)
        for folder in (self.paths.state / "vectordb", self.paths.secrets):
            folder.mkdir(parents=True)
        (self.paths.secrets / "api_key").write_text(KEY + "\n")
        self.server = make_server(
            folder=self.paths.state / "vectordb", settings=f"  fence_path: {self.paths.fence}\n"
        )
        self.tell_port()

    def tell_port(self) -> None:
        etc = self.paths.current / "etc"
        etc.mkdir(parents=True, exist_ok=True)
        services = {"bastide-vectordb.service": f"{self.server.url}/readyz"}
        (etc / "host.json").write_text(json.dumps({"services": services}))

    def start(self) -> None:
        self.server.start()
        self.tell_port()

    def fill(self) -> None:
        client = self.server.client()
        rng = random.Random(3)  # noqa: S311
        client.create_collection(
            "plain", models.VectorParams(size=16, distance=models.Distance.COSINE)
        )
        client.create_payload_index("plain", "tenant", models.PayloadSchemaType.KEYWORD)
        client.create_collection(
            "named with out",
            {"text": models.VectorParams(size=4, distance=models.Distance.DOT)},
            sparse_vectors_config={"words": models.SparseVectorParams()},
        )
        client.create_collection("empty", models.VectorParams(size=4, distance=models.Distance.DOT))
        batch = [
            models.PointStruct(
                id=n if n % 2 else str(uuid.UUID(int=n)),
                vector=[rng.uniform(-1, 1) for _ in range(16)],
                payload={"tenant": f"t{n % 3}", "text": "x" * 200},
            )
            for n in range(1000)
        ]
        client.upsert("plain", batch)
        mixed = [models.PointStruct(id=n, vector={"text": [n, 1.0, 2.0, 3.0]}) for n in range(9)]
        mixed[0].vector = {"words": models.SparseVector(indices=[1], values=[1.0])}
        client.upsert("named with out", mixed)

    def more(self) -> None:
        client = self.server.client()
        client.upsert("plain", [models.PointStruct(id=9001, vector=[1.0] * 16)])
        client.delete("plain", [1, 3])
        client.delete_collection("empty")

    def raise_fence(self) -> None:
        raise_fence(self.paths, "run", hashlib.sha256(b"pass").hexdigest())


@pytest.fixture
def host(tmp_path: Path, make_server: Callable[..., Server]) -> Iterator[Host]:
    host = Host(tmp_path / "root", make_server)
    host.fill()
    yield host
    lift_fence(host.paths)


@pytest.fixture
def fenceable(make_server: Callable[..., Server], tmp_path: Path) -> Server:
    return make_server(settings=f"  fence_path: {tmp_path}/fence\n")


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    server = Server(tmp_path_factory.mktemp("vectordb")).start()
    yield server
    server.stop()


@pytest.fixture
def real(shared: Any) -> Iterator[QdrantClient]:
    client = shared.client()
    before = {c.name for c in client.get_collections().collections}
    yield client
    for collection in client.get_collections().collections:
        if collection.name not in before:
            client.delete_collection(collection.name)


@pytest.fixture
def both(real: QdrantClient) -> tuple[QdrantClient, QdrantClient]:
    return real, QdrantClient(":memory:")
