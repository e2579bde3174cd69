"""What can happen to a running site: each fault is caused, held, and its cause removed."""

from __future__ import annotations

import glob
import os
import subprocess
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from upgrade_site import Site

KINDS = ("kill", "stop", "power", "link", "disk", "clock")
LEFT_FREE = 100_000  # bytes on a full disk
SMALL_DISK = "var/lib/bastide"
SMALL_DISK_MEGABYTES = 1600
FAKETIME = "/usr/lib/x86_64-linux-gnu/faketime/libfaketime.so.1"
SKEWS = ("+400d", "-400d")
# Programs in Go read the clock past any library.
_GO = (
    "bastide-alertmanager.service",
    "bastide-node-exporter.service",
    "bastide-prometheus.service",
)
# libfaketime lets Python's time.sleep fail (EINVAL) unless the other clock is faked as well, which
# servers' timers would not stand.
_SLEEPS = ("bastide-host-metrics.service", "bastide-syslog.service")
_STATES = ("bastide-firewall.service",)  # rules, not a process: nothing to kill

Undo = Callable[[], object]


@dataclass(frozen=True)
class Fault:
    """One fault of a site.

    Args:
        kind: One of ``KINDS``.
        host: Where.
        unit: Of which service; empty where the whole host is meant.
        detail: How much of it.
    """

    kind: str
    host: str
    unit: str = ""
    detail: str = ""

    @property
    def words(self) -> str:
        """What a reader of the table is told."""
        unit = self.unit.removesuffix(".service")
        return {
            "kill": f"{unit} on {self.host} killed with SIGKILL",
            "stop": f"{unit} on {self.host} stopped",
            "power": f"{self.host} loses its power",
            "link": f"{self.host} loses its network",
            "disk": f"{self.host}: /{SMALL_DISK} is full",
            "clock": f"{unit} on {self.host}: clock {self.detail}",
        }[self.kind]


def faults_of(units: Mapping[str, Sequence[str]], kinds: Sequence[str]) -> list[Fault]:
    """Return every fault of these kinds that a site with these units by host can have; pure."""
    found = []
    for kind in kinds:
        for host, names in units.items():
            services = [name for name in names if name not in _STATES]
            if kind in {"kill", "stop"}:
                found += [Fault(kind, host, unit) for unit in services]
            elif kind == "clock":
                clocks = [name for name in services if name not in _GO]
                found += [Fault(kind, host, unit, skew) for unit in clocks for skew in SKEWS]
            else:
                found.append(Fault(kind, host))
    return found


def units_of(site: Site, host: str) -> list[str]:
    """Return the names of Bastide's services that run on a host."""
    said = site.on_host(
        host, "systemctl list-units --state=active --plain --no-legend 'bastide-*.service'"
    )
    return [line.split()[0] for line in said.splitlines() if line.strip()]


def cause(site: Site, fault: Fault) -> Undo:
    """Cause a fault; return what removes its cause."""
    return {
        "kill": _kill, "stop": _stop, "power": _power,
        "link": _link, "disk": _disk, "clock": _clock,
    }[fault.kind](site, fault)  # fmt: skip


def _nothing() -> None:
    """Nothing has to be removed: systemd restarts what was killed."""


def _kill(site: Site, fault: Fault) -> Undo:
    site.on_host(fault.host, f"systemctl kill --signal=KILL --kill-who=all {fault.unit}")
    return _nothing


def _stop(site: Site, fault: Fault) -> Undo:
    site.on_host(fault.host, f"systemctl stop {fault.unit}")
    return lambda: site.on_host(fault.host, f"systemctl start {fault.unit}")


def _power(site: Site, fault: Fault) -> Undo:
    site.bastide("lab", "kill", "--host", fault.host)
    return lambda: site.bastide("lab", "up")


def _link(site: Site, fault: Fault) -> Undo:
    link = ["ip", "-n", site.control, "link", "set", fault.host]
    subprocess.run([*link, "down"], check=True)
    return lambda: subprocess.run([*link, "up"], check=True)


def _disk(site: Site, fault: Fault) -> Undo:
    filler = site.disk(fault.host) / SMALL_DISK / ".filler"
    state = os.statvfs(filler.parent)
    with filler.open("wb") as stream:
        size = max(state.f_bavail * state.f_frsize - LEFT_FREE, 4096)
        os.posix_fallocate(stream.fileno(), 0, size)
    return lambda: filler.unlink(missing_ok=True)


def _clock(site: Site, fault: Fault) -> Undo:
    """Let one service's processes read another time; lab hosts share this machine's clock."""
    library = site.disk(fault.host) / "usr/lib/libfaketime.so.1"
    if not library.exists():
        library.write_bytes(Path(FAKETIME).read_bytes())
        library.chmod(0o755)
    folder = f"/run/systemd/system/{fault.unit}.d"
    lines = f"LD_PRELOAD=/usr/lib/{library.name} FAKETIME={fault.detail}"
    if fault.unit not in _SLEEPS:
        lines += " FAKETIME_DONT_FAKE_MONOTONIC=1"
    text = f"[Service]\nEnvironment={lines}\n"
    restart = f"systemctl daemon-reload; systemctl restart {fault.unit}"
    site.on_host(fault.host, f"mkdir -p {folder}; cat > {folder}/clock.conf; {restart}", text)
    return lambda: site.on_host(fault.host, f"rm -rf {folder}; {restart}")


def has_clock_library() -> bool:
    """Return whether this machine has libfaketime (Debian's package libfaketime)."""
    return bool(glob.glob(FAKETIME))


def small_disk(site: Site, host: str) -> None:
    """Give a host, before anything is on it, a file system of its own that can be full."""
    place = site.disk(host) / SMALL_DISK
    if place.is_mount():
        return
    site.bastide("lab", "kill", "--host", host)
    image = site.work / f"{host}.ext4"
    with image.open("wb") as stream:
        stream.truncate(SMALL_DISK_MEGABYTES << 20)
    subprocess.run(["mkfs.ext4", "-q", "-m0", str(image)], check=True)
    place.mkdir(parents=True, exist_ok=True)
    subprocess.run(["mount", "-o", "loop", str(image), str(place)], check=True)
    (place / "lost+found").rmdir()


def give_back(site: Site, hosts: Sequence[str]) -> None:
    """Take the small disks from hosts that are about to be removed."""
    for host in hosts:
        place = site.disk(host) / SMALL_DISK
        if place.is_mount():
            site.bastide("lab", "kill", "--host", host, check=False)
            subprocess.run(["umount", str(place)], check=False)
