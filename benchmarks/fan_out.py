"""How long hosts take to fetch a bundle's artifacts from one control node, and who works for it.

The real depot in one process, the real host agent's `stage` in as many others, over TLS on this
machine's loopback. All of them share this machine's processors: so the times of the depot and of a
host are given apart, and what a site with processors of its own can expect follows from these.

    python benchmarks/fan_out.py --hosts 1,2,4,8 --megabytes 256
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import resource
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from multiprocessing import Process, Queue
from pathlib import Path

from bastide.run.ask import agent_program
from bastide.run.depot import Depot, Identity
from bastide.schema.site import Site
from bastide.site import pki

LARGE = 0.9  # the share of a model in all bytes; the rest is many small files
SMALL_FILES = 60


@dataclass(frozen=True)
class Measured:
    """One number of hosts.

    Args:
        hosts: How many fetched at once.
        seconds: Until the last was done.
        depot_cpu: Processor seconds of the depot.
        hosts_cpu: Processor seconds of all hosts together.
        from_disk: Bytes that the depot's process read from disk.
        sent: Bytes that hosts took.
    """

    hosts: int
    seconds: float
    depot_cpu: float
    hosts_cpu: float
    from_disk: int
    sent: int


def make_blobs(folder: Path, size: int) -> dict[str, Path]:
    """Write one large file and many small ones, of random bytes; return them by digest."""
    sizes = [int(size * LARGE)] + [int(size * (1 - LARGE) / SMALL_FILES)] * SMALL_FILES
    blobs = {}
    for number, each in enumerate(sizes):
        path = folder / str(number)
        path.write_bytes(os.urandom(each))
        blobs[hashlib.sha256(path.read_bytes()).hexdigest()] = path
    return blobs


def out_of_cache(blobs: dict[str, Path]) -> None:
    """Let the kernel forget the files, so that the next read comes from disk."""
    for path in blobs.values():
        with path.open("rb") as stream:
            os.fsync(stream.fileno())
            os.posix_fadvise(stream.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def serve(blobs: dict[str, Path], identity: Identity, token: str, tell: Queue[object]) -> None:
    """Be the depot until SIGTERM; tell the port, and at the end what it took."""
    stopped = []
    signal.signal(signal.SIGTERM, lambda *_: stopped.append(True))
    with Depot(("127.0.0.1", 0), identity, token, blobs) as depot:
        tell.put(depot.port)
        while not stopped:
            time.sleep(0.05)
        used = resource.getrusage(resource.RUSAGE_SELF)
        lines = Path("/proc/self/io").read_text().splitlines()
        disk = int(next(line.split()[1] for line in lines if line.startswith("read_bytes")))
        sent = sum(depot.traffic.by_address().values())
        tell.put((used.ru_utime + used.ru_stime, disk, sent))


def stage_file(root: Path, blobs: dict[str, Path], port: int) -> Path:
    """Write what a host is to fetch."""
    found = [
        {
            "name": path.name,
            "filename": path.name,
            "sha256": digest,
            "size": path.stat().st_size,
            "destination": f"/var/lib/bastide/artifacts/sha256/{digest[:2]}/{digest}",
        }
        for digest, path in blobs.items()
    ]
    stage = {
        "format": "bastide.stage/1",
        "blobs": found,
        "depot": {"url": f"https://127.0.0.1:{port}"},
    }
    path = root / "stage.json"
    path.write_text(json.dumps(stage))
    return path


def measure(hosts: int, blobs: dict[str, Path], work: Path) -> Measured:
    """Let ``hosts`` hosts fetch all blobs at once."""
    site = Site.model_validate_json((work / "site.json").read_text())
    now = datetime.now(UTC)
    authority = pki.make_authority(site.name, now)
    leaf = pki.issue_depot(authority, site, now)
    (work / "ca.pem").write_text(authority.certificate_pem)
    token = secrets.token_urlsafe(32)
    (work / "token").write_text(token)
    (work / "agent.py").write_text(agent_program())
    out_of_cache(blobs)
    tell: Queue[object] = Queue()
    identity = Identity(leaf.certificate_pem, leaf.key_pem)
    depot = Process(target=serve, args=(blobs, identity, token, tell))
    depot.start()
    port = tell.get()
    assert isinstance(port, int)
    stage = stage_file(work, blobs, port)
    roots = [work / f"host{number}" for number in range(hosts)]
    for root in roots:
        (root / "run/bastide").mkdir(parents=True)
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    started = time.monotonic()
    running = [
        subprocess.Popen(
            [
                sys.executable, str(work / "agent.py"), "stage", f"--root={root}",
                f"--stage={stage}", f"--token-file={work / 'token'}", f"--ca={work / 'ca.pem'}",
            ],
            stdout=subprocess.DEVNULL,
        )
        for root in roots
    ]  # fmt: skip
    failed = [each.wait() for each in running if each.wait()]
    seconds = time.monotonic() - started
    assert not failed, "a host could not fetch"
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    os.kill(depot.pid or 0, signal.SIGTERM)
    answer = tell.get()
    depot.join()
    assert isinstance(answer, tuple)
    for root in roots:
        shutil.rmtree(root)
    used = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return Measured(hosts, seconds, answer[0], used, answer[1], answer[2])


def show(found: list[Measured], size: int) -> None:
    """Print a table, and what it means for hosts with processors of their own."""
    print("| hosts | seconds | MB/s together | depot CPU s | CPU s a host | from disk | sent |")
    print("|---|---|---|---|---|---|---|")
    for each in found:
        rate = each.sent / each.seconds / 1e6
        own = each.hosts_cpu / each.hosts
        print(
            f"| {each.hosts} | {each.seconds:.1f} | {rate:.0f} | {each.depot_cpu:.2f} | {own:.2f} "
            f"| {each.from_disk / 1e6:.0f} MB | {each.sent / 1e6:.0f} MB |"
        )
    most = found[-1]
    served = most.sent / most.depot_cpu / 1e6
    taken = size / (most.hosts_cpu / most.hosts) / 1e6
    print(f"\nThe depot serves {served:.0f} MB per second of one processor's time;")
    print(f"a host takes {taken:.0f} MB per second of one of its own (TLS and SHA-256).")


def main() -> None:
    """Measure each number of hosts."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--hosts", default="1,2,4,8", help="numbers of hosts, with commas between")
    parser.add_argument("--megabytes", type=int, default=256, help="bytes that a host fetches")
    parser.add_argument("--json", type=Path, help="write the figures there as well")
    options = parser.parse_args()
    size = options.megabytes * 1_000_000
    with tempfile.TemporaryDirectory(prefix="fan-out-") as name:
        work = Path(name)
        site = {
            "format": "bastide.site/1", "name": "fan", "release": "x", "target": "x",
            "ssh": {"private_key": "x", "known_hosts": "x"},
            "network": {"control_address": "127.0.0.1"},
            "hosts": {"a": {"address": "127.0.0.2",
                            "groups": ["llm", "embeddings", "vectordb", "gateway"]}},
            "models": {"llm": "x", "embeddings": "x"},
        }  # fmt: skip
        (work / "site.json").write_text(json.dumps(site))
        (work / "blobs").mkdir()
        blobs = make_blobs(work / "blobs", size)
        found = [measure(int(count), blobs, work) for count in options.hosts.split(",")]
    show(found, size)
    if options.json:
        options.json.write_text(json.dumps([vars(each) for each in found], indent=2) + "\n")


if __name__ == "__main__":
    main()
