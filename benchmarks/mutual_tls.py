"""What TLS between gateway and services costs: one request after the other, and many at once.

    python benchmarks/mutual_tls.py --seconds 10 --clients 16

A real HAProxy with the release's configuration, in front of a uvicorn that answers at once, both on
this machine; in turn with and without mutual TLS between them, three times. The service does no
work, so that what is seen is the most that TLS can cost: a search or a token takes it from there.
Needs haproxy, as the gateway's tests do. Prints medians of requests per second and of latency.
"""

from __future__ import annotations

import argparse
import http.client
import json
import ssl
import statistics
import sys
import threading
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
for folder in ("playbooks/roles/base/files", "tests/unit/plan", "tests/integration/gateway"):
    sys.path.insert(0, str(ROOT / folder))

from gateway_stand import KEY, short_folder  # noqa: E402 - see above
from test_gateway_certificates import SecureStand, loose  # noqa: E402


def load(port: int, context: ssl.SSLContext, clients: int, seconds: float) -> list[float]:
    """Return every request's latency in s, of clients that keep their connection."""
    found: list[float] = []
    end = time.monotonic() + seconds

    def ask() -> None:
        own: list[float] = []
        connection = http.client.HTTPSConnection("127.0.0.1", port, timeout=60, context=context)
        while time.monotonic() < end:
            begun = time.perf_counter()
            connection.request("GET", "/vectordb/x", headers={"api-key": KEY})
            answer = connection.getresponse()
            answer.read()
            if answer.status == http.client.OK:
                own.append(time.perf_counter() - begun)
        found.extend(own)

    threads = [threading.Thread(target=ask) for _ in range(clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return found


def measure(*, tls: bool, clients: int, seconds: float) -> dict[str, float]:
    """Return requests per second and the median latency in ms of one run."""
    with short_folder() as folder:
        stand = SecureStand(folder, mutual_tls=tls)
        try:
            stand.start_service()
            stand.raise_gateway()
            context = loose(stand.trusting())
            load(stand.port, context, clients, 1)
            found = load(stand.port, context, clients, seconds)
        finally:
            stand.close()
    return {
        "requests_per_second": round(len(found) / seconds, 1),
        "p50_ms": round(statistics.median(found) * 1000, 3),
    }


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=10.0, help="of each run")
    parser.add_argument("--clients", type=int, default=16, help="at once")
    options = parser.parse_args()
    for clients in (1, options.clients):
        runs: dict[bool, list[dict[str, float]]] = {False: [], True: []}
        for _ in range(3):
            for tls, found in runs.items():
                found.append(measure(tls=tls, clients=clients, seconds=options.seconds))
        for tls, found in runs.items():
            medians = {key: statistics.median(run[key] for run in found) for key in found[0]}
            print(json.dumps({"clients": clients, "mutual_tls": tls, **medians}))


if __name__ == "__main__":
    main()
