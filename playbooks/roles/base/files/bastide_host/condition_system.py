"""Processor, memory, kernel, system manager, rights: what a host can do. Reads only."""

from __future__ import annotations

import contextlib
import hashlib
import importlib.util
import os
import platform
import re
import shutil
import socket
import ssl

from bastide_host.host import JsonObject, Paths, run, text_of

MODULES = ("ctypes", "fcntl", "hashlib", "lzma", "ssl", "tarfile", "zipfile", "zlib", "_hashlib")
PROGRAMS = (
    "apt-config",
    "apt-get",
    "dpkg",
    "dpkg-deb",
    "journalctl",
    "sync",
    "systemctl",
    "systemd-sysusers",
)
_FLAGS = frozenset(
    {"cx16", "lahf_lm", "popcnt", "sse4_1", "sse4_2", "ssse3", "avx2", "fma", "f16c", "bmi2"}
)
_CAPABILITIES = {"CHOWN": 0, "DAC_OVERRIDE": 1, "FOWNER": 3, "SETGID": 6, "SETUID": 7}
_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


def system_state(paths: Paths) -> JsonObject:
    """Return what the machine and its system are like."""
    return {
        **_hardware(paths),
        **_memory(paths),
        **_kernel(paths),
        **_manager(paths),
        **_rights(paths),
        **_policies(paths),
        **_identity(paths),
        "modules_missing": [name for name in MODULES if importlib.util.find_spec(name) is None],
        "programs_missing": [name for name in PROGRAMS if not shutil.which(name, path=_PATH)],
        "tls_fault": _tls_fault(),
    }


def _number(paths: Paths, path: str) -> int | None:
    text = text_of(paths.at(path)).strip()
    return int(text) if re.fullmatch(r"-?\d+", text) else None


def _hardware(paths: Paths) -> JsonObject:
    flags = re.search(r"^flags\s*:(.*)$", text_of(paths.at("/proc/cpuinfo")), re.MULTILINE)
    nodes = list(paths.at("/sys/devices/system/node").glob("node[0-9]*"))
    return {
        "cpu_flags": sorted(_FLAGS & set(flags.group(1).split())) if flags else [],
        "numa_nodes": max(len(nodes), 1),
        "load": float((text_of(paths.at("/proc/loadavg")).split() or ["0"] * 3)[1]),
    }


def _memory(paths: Paths) -> JsonObject:
    lines = re.findall(r"^(\w+):\s+(\d+) kB", text_of(paths.at("/proc/meminfo")), re.MULTILINE)
    sizes = {name: int(size) * 1024 for name, size in lines}
    return {
        "memory_available": sizes.get("MemAvailable", 0),
        "swap_bytes": sizes.get("SwapTotal", 0),
        "swap_free": sizes.get("SwapFree", 0),
        "commit_limit": sizes.get("CommitLimit", 0),
        "committed": sizes.get("Committed_AS", 0),
        "overcommit": _number(paths, "/proc/sys/vm/overcommit_memory"),
    }


def _kernel(paths: Paths) -> JsonObject:
    ports = text_of(paths.at("/proc/sys/net/ipv4/ip_local_port_range")).split()
    limits = text_of(paths.at("/proc/1/limits"))
    files = re.search(r"^Max open files\s+\S+\s+(\d+)", limits, re.MULTILINE)
    return {
        "kernel": platform.release(),
        "cgroup": _cgroup(paths),
        "entropy": _number(paths, "/proc/sys/kernel/random/entropy_avail"),
        "threads_max": _number(paths, "/proc/sys/kernel/threads-max"),
        "map_count": _number(paths, "/proc/sys/vm/max_map_count"),
        "open_files": int(files.group(1)) if files else None,
        "port_range": [int(each) for each in ports] if len(ports) == 2 else None,
        "unprivileged_port": _number(paths, "/proc/sys/net/ipv4/ip_unprivileged_port_start"),
        "synchronised": _is_synchronised(paths),
    }


def _cgroup(paths: Paths) -> str:
    folder = paths.at("/sys/fs/cgroup")
    if (folder / "cgroup.controllers").exists():
        return "unified"
    if (folder / "unified").exists() or (folder / "systemd/cgroup.controllers").exists():
        return "hybrid"
    return "legacy" if (folder / "systemd").exists() else "none"


def _is_synchronised(paths: Paths) -> bool | None:
    """Return whether something keeps the clock right; None if that is not to be seen."""
    if paths.at("/run/systemd/timesync/synchronized").exists():
        return True
    known = ("chronyd", "ntpd", "ptp4l", "systemd-timesyn")
    running = {text_of(path).strip() for path in paths.at("/proc").glob("[0-9]*/comm")}
    return None if running & set(known) else False


def _manager(paths: Paths) -> JsonObject:
    """Return the state of the system manager and the units that failed."""
    properties = "--property=SystemState,NFailedUnits"
    done = run(["systemctl", "show", properties], timeout=20)
    fields = dict(line.split("=", 1) for line in done.stdout.splitlines() if "=" in line)
    failed: list[str] = []
    if fields.get("NFailedUnits", "0") != "0":
        argv = ["systemctl", "list-units", "--failed", "--plain", "--no-legend", "--full"]
        failed = [line.split()[0] for line in run(argv, timeout=20).stdout.splitlines() if line]
    return {
        "init": text_of(paths.at("/proc/1/comm")).strip(),
        "system_state": fields.get("SystemState", "offline"),
        "failed_units": failed,
    }


def _rights(paths: Paths) -> JsonObject:
    found = re.search(r"^CapEff:\s+(\w+)", text_of(paths.at("/proc/self/status")), re.MULTILINE)
    mask = int(found.group(1), 16) if found else 0
    lacking = sorted(name for name, bit in _CAPABILITIES.items() if not mask >> bit & 1)
    return {"uid": os.geteuid(), "capabilities_missing": lacking}


def _policies(paths: Paths) -> JsonObject:
    enforce = text_of(paths.at("/sys/fs/selinux/enforce")).strip()
    profiles = text_of(paths.at("/sys/kernel/security/apparmor/profiles"))
    ours = re.findall(
        r"^((?:/usr/sbin/haproxy|haproxy|/opt/bastide\S*)) \(enforce\)", profiles, re.MULTILINE
    )
    daemons = {text_of(path).strip() for path in paths.at("/proc").glob("[0-9]*/comm")}
    return {
        "selinux": {"1": "enforcing", "0": "permissive"}.get(enforce, ""),
        "apparmor": sorted(ours),
        "allow_listing": "fapolicyd" in daemons,
        "fips": text_of(paths.at("/proc/sys/crypto/fips_enabled")).strip() == "1",
    }


def _identity(paths: Paths) -> JsonObject:
    try:
        localhost = socket.gethostbyname("localhost")
    except OSError:
        localhost = ""
    return {
        "machine_id": text_of(paths.at("/etc/machine-id")).strip(),
        "boot_id": text_of(paths.at("/proc/sys/kernel/random/boot_id")).strip(),
        "localhost": localhost,
    }


def _tls_fault() -> str:
    """Return why this Python cannot do TLS 1.2 with SHA-256; empty if it can."""
    with contextlib.suppress(ValueError, OSError, AttributeError):
        hashlib.sha256(b"").hexdigest()
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        return "" if context.get_ciphers() else "no cipher is allowed"
    return "this Python's ssl or hashlib module does not work"
