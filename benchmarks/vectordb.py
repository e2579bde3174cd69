"""Latency and throughput of the vector database service, beside calling Edge in process.

    python benchmarks/vectordb.py                          # starts a service of its own on loopback
    python benchmarks/vectordb.py --url https://gateway:8443 --api-key-file FILE --ca ca.pem

It loads random vectors with a tenant field and its keyword index, waits until they are optimised,
and measures the ten nearest within one tenant, payload included: 1 and 16 clients, the median of
several runs. A client is a thread with one kept connection that sends bytes prepared beforehand,
so that little of the time measured is the client's own. Self-started, it then opens the very same
shard in process and prints the ratio.
"""

from __future__ import annotations

import argparse
import http.client
import json
import os
import signal
import socket
import ssl
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np

COLLECTION = "bastide-benchmark"
TENANTS = 100
BATCH = 500


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--url", help="measure this service or gateway instead of an own one")
    parser.add_argument("--api-key-file", type=Path, help="file with the key, for --url")
    parser.add_argument("--ca", help="CA certificate of --url")
    parser.add_argument("--points", type=int, default=100_000)
    parser.add_argument("--dims", type=int, default=384)
    parser.add_argument("--seconds", type=float, default=5.0, help="length of one run")
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--wait", type=float, default=900, help="seconds to wait for the optimiser")
    parser.add_argument("--keep", action="store_true", help="leave the collection of --url there")
    parser.add_argument("--json", help="also write the numbers to this file")
    return parser.parse_args()


class Target:
    """Where the service is, and how to talk to it."""

    def __init__(self, url: str, key: str, ca: str | None) -> None:
        parts = urlsplit(url)
        self.tls = parts.scheme == "https"
        self.host = parts.hostname or "127.0.0.1"
        self.port = parts.port or (443 if self.tls else 80)
        self.prefix = parts.path.rstrip("/")
        self.key = key
        self.context = ssl.create_default_context(cafile=ca) if self.tls else None

    def connection(self) -> http.client.HTTPConnection:
        """A fresh connection."""
        if self.context is not None:
            return http.client.HTTPSConnection(
                self.host, self.port, context=self.context, timeout=600
            )
        return http.client.HTTPConnection(self.host, self.port, timeout=600)

    def call(self, method: str, path: str, body: object = None) -> dict[str, Any]:
        """The result of one JSON request."""
        connection = self.connection()
        headers = {"api-key": self.key, "content-type": "application/json"}
        data = None if body is None else json.dumps(body)
        connection.request(method, self.prefix + path, data, headers)
        response = connection.getresponse()
        answer = response.read()
        connection.close()
        if response.status >= 400:
            raise SystemExit(f"{method} {path}: {response.status} {answer[:500]!r}")
        result: dict[str, Any] = json.loads(answer)["result"]
        return result

    def raw(self, path: str, body: bytes, method: str = "POST") -> bytes:
        """A whole request as bytes."""
        head = (
            f"{method} {self.prefix}{path} HTTP/1.1\r\nHost: {self.host}:{self.port}\r\n"
            f"api-key: {self.key}\r\nContent-Type: application/json\r\n"
            f"Content-Length: {len(body)}\r\n\r\n"
        )
        return head.encode() + body

    def socket(self) -> socket.socket:
        """A fresh socket, TLS where the URL says so."""
        plain = socket.create_connection((self.host, self.port), timeout=60)
        plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if self.context is None:
            return plain
        return self.context.wrap_socket(plain, server_hostname=self.host)


def receive(connection: socket.socket) -> bytes:
    """The body of one response."""
    data = b""
    while b"\r\n\r\n" not in data:
        more = connection.recv(65536)
        if not more:
            raise SystemExit("the service closed the connection")
        data += more
    head, _, body = data.partition(b"\r\n\r\n")
    if b" 200 " not in head.split(b"\r\n", 1)[0]:
        raise SystemExit(f"refused: {head!r} {body!r}")
    length = next(
        int(line.split(b":")[1])
        for line in head.split(b"\r\n")
        if line.lower().startswith(b"content-length")
    )
    while len(body) < length:
        body += connection.recv(65536)
    return body


def client(target: Target, requests: list[bytes], until: float, out: list[float]) -> None:
    """One client: requests over one connection until the time is up."""
    connection = target.socket()
    number = 0
    while time.perf_counter() < until:
        started = time.perf_counter()
        connection.sendall(requests[number % len(requests)])
        receive(connection)
        out.append(time.perf_counter() - started)
        number += 1
    connection.close()


def run(target: Target, requests: list[bytes], clients: int, seconds: float) -> list[float]:
    """Latencies in seconds of some clients at once."""
    until = time.perf_counter() + seconds
    latencies: list[list[float]] = [[] for _ in range(clients)]
    threads = [
        threading.Thread(target=client, args=(target, requests[n::clients], until, latencies[n]))
        for n in range(clients)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return [value for part in latencies for value in part]


def summary(runs: list[list[float]], seconds: float) -> dict[str, float]:
    """Medians over the runs."""
    return {
        "p50_ms": statistics.median(float(np.percentile(r, 50)) * 1e3 for r in runs),
        "p99_ms": statistics.median(float(np.percentile(r, 99)) * 1e3 for r in runs),
        "per_second": statistics.median(len(r) / seconds for r in runs),
    }


def load(target: Target, vectors: np.ndarray) -> float:
    """Fill the collection; returns the seconds it took."""
    path = f"/collections/{COLLECTION}"
    target.call("DELETE", path)
    vectors_config = {"size": int(vectors.shape[1]), "distance": "Cosine"}
    target.call("PUT", path, {"vectors": vectors_config})
    index = {"field_name": "tenant", "field_schema": {"type": "keyword", "is_tenant": True}}
    target.call("PUT", f"{path}/index", index)
    bodies = []
    for start in range(0, len(vectors), BATCH):
        points = [
            {
                "id": n,
                "vector": [round(x, 6) for x in vectors[n].tolist()],
                "payload": {"tenant": f"tenant-{n % TENANTS}", "text": f"passage {n} " * 20},
            }
            for n in range(start, min(start + BATCH, len(vectors)))
        ]
        bodies.append(target.raw(f"{path}/points", json.dumps({"points": points}).encode(), "PUT"))
    connection = target.socket()
    started = time.perf_counter()
    for body in bodies:
        connection.sendall(body)
        receive(connection)
    connection.close()
    return time.perf_counter() - started


def settle(target: Target, seconds: float) -> float:
    """Wait until the optimiser has been and gone; it starts after some quiet seconds."""
    started = time.perf_counter()
    while time.perf_counter() - started < seconds:
        info = target.call("GET", f"/collections/{COLLECTION}")
        indexed, points = info["indexed_vectors_count"], info["points_count"]
        if info["status"] == "green" and indexed >= 0.9 * points:
            return time.perf_counter() - started
        time.sleep(0.5)
    print("not optimised in time; measured as it is", file=sys.stderr)
    return seconds


def queries(dims: int, number: int) -> list[dict[str, Any]]:
    """Random queries, each within one tenant."""
    rng = np.random.default_rng(7)
    return [
        {
            "query": [round(x, 6) for x in rng.standard_normal(dims).tolist()],
            "filter": {"must": [{"key": "tenant", "match": {"value": f"tenant-{n % TENANTS}"}}]},
            "limit": 10,
            "with_payload": True,
        }
        for n in range(number)
    ]


def measure(target: Target, options: argparse.Namespace) -> dict[str, dict[str, float]]:
    """The four cases through HTTP."""
    path = f"/collections/{COLLECTION}/points/query"
    bodies = queries(options.dims, 512)
    filtered = [target.raw(path, json.dumps(q).encode()) for q in bodies]
    plain = [
        target.raw(path, json.dumps({k: v for k, v in q.items() if k != "filter"}).encode())
        for q in bodies
    ]
    out = {}
    for name, requests, clients in (
        ("tenant filter, 1 client", filtered, 1),
        ("tenant filter, 16 clients", filtered, 16),
        ("no filter, 1 client", plain, 1),
        ("no filter, 16 clients", plain, 16),
    ):
        run(target, requests, clients, 1.0)
        runs = [run(target, requests, clients, options.seconds) for _ in range(options.runs)]
        out[name] = summary(runs, options.seconds)
    return out


def in_process(shard: Path, options: argparse.Namespace) -> dict[str, dict[str, float]]:
    """The same queries without HTTP or a second process."""
    import qdrant_edge as edge  # noqa: PLC0415 - only here is it needed

    opened = edge.EdgeShard.load(str(shard))
    out = {}
    for name, filtered in (("tenant filter, 1 client", True), ("no filter, 1 client", False)):
        runs = []
        for _ in range(options.runs):
            latencies = []
            until = time.perf_counter() + options.seconds
            number = 0
            asked = queries(options.dims, 512)
            while time.perf_counter() < until:
                query = asked[number % len(asked)]
                tenant = f"tenant-{number % TENANTS}"
                started = time.perf_counter()
                match = edge.FieldCondition("tenant", match=edge.MatchValue(tenant))
                hits = opened.query(
                    edge.QueryRequest(
                        limit=10,
                        query=edge.Query.Nearest(query["query"]),
                        filter=edge.Filter(must=[match]) if filtered else None,
                        with_payload=True,
                    )
                )
                assert len(hits) == 10
                latencies.append(time.perf_counter() - started)
                number += 1
            runs.append(latencies)
        out[name] = summary(runs, options.seconds)
    opened.close()
    return out


def table(title: str, rows: dict[str, dict[str, float]]) -> None:
    """Print numbers."""
    print(f"\n{title}\n{'':28} {'p50 ms':>9} {'p99 ms':>9} {'queries/s':>10}")
    for name, row in rows.items():
        cells = f"{row['p50_ms']:9.2f} {row['p99_ms']:9.2f} {row['per_second']:10.0f}"
        print(f"{name:28} {cells}")


def own_service(folder: Path, key: str) -> tuple[subprocess.Popen[bytes], str]:
    """Start a service on a free port of loopback."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    config = folder / "config.yaml"
    config.write_text(
        f"service: {{host: 127.0.0.1, http_port: {port}}}\nstorage: {{storage_path: "
        f"{folder}/storage, snapshots_path: {folder}/snapshots}}\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-m", "bastide_vectordb.main", "--config", str(config)],
        env={**os.environ, "QDRANT__SERVICE__API_KEY": key},
    )
    for _ in range(100):
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
            break
        except OSError:
            time.sleep(0.1)
    return process, f"http://127.0.0.1:{port}"


def main() -> None:
    """Measure and print."""
    options = arguments()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # end the service too
    vectors = np.random.default_rng(3).standard_normal(
        (options.points, options.dims), dtype=np.float32
    )
    key = options.api_key_file.read_text().strip() if options.api_key_file else "benchmark-key"
    with tempfile.TemporaryDirectory(prefix="bastide-benchmark-") as name:
        folder, process, url = Path(name), None, options.url
        if url is None:
            process, url = own_service(folder, key)
        target = Target(url, key, options.ca)
        try:
            seconds = load(target, vectors)
            print(f"load: {options.points / seconds:.0f} points/s through HTTP, one client")
            print(f"waited for the optimiser: {settle(target, options.wait):.0f} s")
            rows = {"through HTTP": measure(target, options)}
            table(f"{url}, {options.points} x {options.dims}", rows["through HTTP"])
            if options.url and not options.keep:
                target.call("DELETE", f"/collections/{COLLECTION}")
        finally:
            if process is not None:
                process.terminate()
                started = time.perf_counter()
                process.wait(30)
                print(f"\nservice ended {time.perf_counter() - started:.1f} s after SIGTERM")
        if process is not None:
            home = folder / "storage" / "collections" / COLLECTION
            rows["in process"] = in_process(next(home.glob("shard-*")), options)
            table("Edge in process, the same shard", rows["in process"])
            for case, inside in rows["in process"].items():
                ratio = rows["through HTTP"][case]["p50_ms"] / inside["p50_ms"]
                print(f"HTTP : in process, {case}: p50 x {ratio:.2f}")
        if options.json:
            Path(options.json).write_text(json.dumps(rows, indent=2), encoding="utf-8")


if __name__ == "__main__":
    main()
