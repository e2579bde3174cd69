"""How long hosts take to fetch a bundle's artifacts from one control node, and who works for it.

The real depot in one process, the real host agent's `stage` in as many others, over TLS. All of
them share this machine's processors, so the times of the depot and of a host are given apart.

Without `--link-mbit` they talk over loopback, and the processors decide. With it, as root, each has
a network namespace and every link, the control node's too, is shaped to that bandwidth: choose it
so low that links decide, as they do between machines that have processors of their own.

    python benchmarks/fan_out.py --hosts 1,2,4,8 --megabytes 256 --peers off
    python benchmarks/fan_out.py --hosts 1,8 --megabytes 160 --link-mbit 50 --runs 3
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
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from multiprocessing import Process, Queue
from pathlib import Path

from shaped_network import address, enter, namespace, network

from bastide.plan.pieces import FanOut, fan_out
from bastide.run.ask import agent_program
from bastide.run.credentials import peer_files
from bastide.run.depot import Depot, Identity
from bastide.run.swarm import Swarm
from bastide.run.swarm_desk import SwarmDesk
from bastide.schema.chunks import CHUNK
from bastide.schema.plan import HostPlan, Pull
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
        sent: Bytes that left the control node.
        from_peers: Bytes that hosts took from each other.
        peers: Whether they could.
    """

    hosts: int
    seconds: float
    depot_cpu: float
    hosts_cpu: float
    from_disk: int
    sent: int
    from_peers: int
    peers: bool


@dataclass(frozen=True)
class Setting:
    """How it is measured.

    Args:
        blobs: What a host fetches: path by digest.
        work: A folder.
        link_mbit: Bandwidth of every link; 0 is loopback.
        peers: Whether hosts may give each other pieces.
    """

    blobs: dict[str, Path]
    work: Path
    link_mbit: int
    peers: bool

    def site(self, hosts: int) -> Site:
        """Return a site of so many hosts."""
        addresses = [address(i) if self.link_mbit else f"127.0.0.{i + 1}" for i in range(hosts + 1)]
        groups = ["llm", "embeddings"]
        return Site.model_validate({
            "format": "bastide.site/1", "name": "fan", "release": "x", "target": "x",
            "ssh": {"private_key": "x", "known_hosts": "x"},
            "network": {"control_address": addresses[0]},
            "hosts": {
                f"host{i}": {
                    "address": addresses[i],
                    "groups": groups if i > 1 else [*groups, "vectordb", "gateway"],
                }
                for i in range(1, hosts + 1)
            },
            "models": {"llm": "x", "embeddings": "x"},
        })  # fmt: skip

    def fan_out(self, hosts: int) -> FanOut:
        """Return the pieces of what the hosts fetch, and who shares them."""
        chunks, pulls = {}, []
        for digest, path in self.blobs.items():
            with path.open("rb") as stream:
                found = iter(lambda: stream.read(CHUNK), b"")
                chunks[digest] = tuple(hashlib.sha256(each).hexdigest() for each in found)
            size = path.stat().st_size
            pulls.append(Pull(name=path.name, filename=path.name, sha256=digest, size=size,
                              destination="/x"))  # fmt: skip
        plans = [
            HostPlan(host=f"host{i + 1}", address="", groups=(), generation_before=None,
                     generation_after=1, generation_digest="0" * 64, tree_sha256="0" * 64,
                     pulls=tuple(pulls))
            for i in range(hosts)
        ]  # fmt: skip
        return fan_out(plans, chunks, share=self.peers and hosts > 1)


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


@dataclass(frozen=True)
class Service:
    """What the depot's process needs.

    Args:
        where: Address and namespace; no namespace is this one.
        identity: Its certificate.
        token: What hosts show.
        blobs: What it serves.
        fan_out: The pieces, and who shares them.
        addresses: Where each host gives pieces.
    """

    where: tuple[str, str]
    identity: Identity
    token: str
    blobs: dict[str, Path]
    fan_out: FanOut
    addresses: dict[str, tuple[str, int]]


def serve(service: Service, tell: Queue[object]) -> None:
    """Be the depot until SIGTERM; tell the port, and at the end what it took."""
    stopped = []
    signal.signal(signal.SIGTERM, lambda *_: stopped.append(True))
    if service.where[1]:
        enter(service.where[1])
    desk = None
    if service.fan_out.hosts:
        swarm = Swarm(service.fan_out.sizes, service.fan_out.hosts)
        desk = SwarmDesk(swarm, service.addresses, lambda note: print(note, file=sys.stderr))
    where = (service.where[0], 0)
    with Depot(where, service.identity, service.token, service.blobs, desk) as depot:
        tell.put(depot.port)
        while not stopped:
            time.sleep(0.05)
        used = resource.getrusage(resource.RUSAGE_SELF)
        lines = Path("/proc/self/io").read_text().splitlines()
        disk = int(next(line.split()[1] for line in lines if line.startswith("read_bytes")))
        sent = sum(depot.traffic.by_address().values())
        tell.put((used.ru_utime + used.ru_stime, disk, sent, sum(depot.from_peers().values())))


def write_stage(setting: Setting, root: Path, url: str, pieces: FanOut, site: Site) -> None:
    """Write what a host is to fetch into its folder."""
    found = [
        {
            "name": path.name,
            "filename": path.name,
            "sha256": digest,
            "size": path.stat().st_size,
            "destination": f"/var/lib/bastide/artifacts/sha256/{digest[:2]}/{digest}",
            **({"pieces": pieces.tables[digest].told()} if digest in pieces.tables else {}),
        }
        for digest, path in setting.blobs.items()
    ]
    role = {
        "host": root.name,
        "address": str(site.hosts[root.name].address),
        "port": site.network.staging_port,
    }
    stage = {
        "format": "bastide.stage/1",
        "blobs": found,
        "depot": {"url": url},
        "swarm": role if root.name in pieces.hosts else {},
    }
    (root / "stage.json").write_text(json.dumps(stage))


def measure(hosts: int, setting: Setting) -> Measured:
    """Let ``hosts`` hosts fetch all blobs at once."""
    work, site, pieces = setting.work, setting.site(hosts), setting.fan_out(hosts)
    now = datetime.now(UTC)
    authority = pki.make_authority(site.name, now)
    leaf = pki.issue_depot(authority, site, now)
    (work / "ca.pem").write_text(authority.certificate_pem)
    token = secrets.token_urlsafe(32)
    (work / "token").write_text(token)
    (work / "agent.py").write_text(agent_program())
    out_of_cache(setting.blobs)
    port = site.network.staging_port
    control = str(site.network.control_address)
    service = Service(
        (control, namespace(0) if setting.link_mbit else ""),
        Identity(leaf.certificate_pem, leaf.key_pem),
        token,
        setting.blobs,
        pieces,
        {name: (str(host.address), port) for name, host in site.hosts.items()},
    )
    tell: Queue[object] = Queue()
    depot = Process(target=serve, args=(service, tell))
    depot.start()
    url = f"https://{control}:{tell.get()}"
    roots = [work / name for name in site.hosts]
    peers = peer_files(site)
    for root in roots:
        (root / "run/bastide").mkdir(parents=True)
        for name, text in peers.get(root.name, {}).items():
            (root / "run/bastide" / name).write_text(text)
        write_stage(setting, root, url, pieces, site)
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    started = time.monotonic()
    running = [start(setting, number, root) for number, root in enumerate(roots, 1)]
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
    cpu, disk, sent, from_peers = answer
    return Measured(hosts, seconds, cpu, used, disk, sent, from_peers, setting.peers)


def start(setting: Setting, number: int, root: Path) -> subprocess.Popen[bytes]:
    """Begin to stage on one host."""
    work = setting.work
    inside = ["ip", "netns", "exec", namespace(number)] if setting.link_mbit else []
    return subprocess.Popen(
        [
            *inside, sys.executable, str(work / "agent.py"), "stage", f"--root={root}",
            f"--stage={root / 'stage.json'}", f"--token-file={work / 'token'}",
            f"--ca={work / 'ca.pem'}",
        ],
        stdout=subprocess.DEVNULL,
    )  # fmt: skip


def median(found: list[Measured]) -> Measured:
    """Return the run that took neither longest nor shortest."""
    return sorted(found, key=lambda each: each.seconds)[len(found) // 2]


def show(found: list[Measured], size: int) -> None:
    """Print a table, and what it means for hosts with processors of their own."""
    print("| hosts | peers | seconds | times one host | left the control node | from peers "
          "| depot CPU s | CPU s a host | from disk |")  # fmt: skip
    print("|---|---|---|---|---|---|---|---|---|")
    for each in found:
        one = next((m for m in found if m.hosts == 1 and m.peers == each.peers), each)
        own = each.hosts_cpu / each.hosts
        print(
            f"| {each.hosts} | {'on' if each.peers else 'off'} | {each.seconds:.1f} "
            f"| {each.seconds / one.seconds:.2f} | {each.sent / 1e6:.0f} MB "
            f"| {each.from_peers / 1e6:.0f} MB | {each.depot_cpu:.2f} | {own:.2f} "
            f"| {each.from_disk / 1e6:.0f} MB |"
        )
    most = found[-1]
    served = most.sent / most.depot_cpu / 1e6
    taken = size / (most.hosts_cpu / most.hosts) / 1e6
    print(f"\nThe depot serves {served:.0f} MB per second of one processor's time;")
    print(f"a host takes {taken:.0f} MB per second of one of its own (TLS and SHA-256).")


def arguments() -> argparse.Namespace:
    """Return what the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--hosts", default="1,2,4,8", help="numbers of hosts, with commas between")
    parser.add_argument("--megabytes", type=int, default=256, help="bytes that a host fetches")
    parser.add_argument("--link-mbit", type=int, default=0, help="bandwidth of every link; as root")
    parser.add_argument("--peers", choices=["on", "off", "both"], default="both",
                        help="whether hosts give each other pieces")  # fmt: skip
    parser.add_argument("--runs", type=int, default=1, help="of each; the median counts")
    parser.add_argument("--json", type=Path, help="write the figures of all runs there as well")
    return parser.parse_args()


def main() -> None:
    """Measure each number of hosts."""
    options = arguments()
    size = options.megabytes * 1_000_000
    counts = [int(count) for count in options.hosts.split(",")]
    peers = {"on": [True], "off": [False], "both": [True, False]}[options.peers]
    every: list[Measured] = []
    medians: list[Measured] = []
    with tempfile.TemporaryDirectory(prefix="fan-out-") as name, ExitStack() as stack:
        work = Path(name)
        (work / "blobs").mkdir()
        blobs = make_blobs(work / "blobs", size)
        if options.link_mbit:
            stack.enter_context(network(max(counts) + 1, options.link_mbit))
        for allowed, count in ((allowed, count) for allowed in peers for count in counts):
            setting = Setting(blobs, work, options.link_mbit, allowed)
            runs = [measure(count, setting) for _ in range(options.runs)]
            for each in runs:
                print(each, file=sys.stderr, flush=True)
            every += runs
            medians.append(median(runs))
    show(medians, size)
    if options.json:
        options.json.write_text(json.dumps([vars(each) for each in every], indent=2) + "\n")


if __name__ == "__main__":
    main()
