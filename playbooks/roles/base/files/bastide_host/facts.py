"""What a host is now, and what stands in the way: reads only, changes nothing."""

from __future__ import annotations

import contextlib
import os
import platform
import re
import socket
import time
import urllib.parse
from collections.abc import Iterable, Mapping
from pathlib import Path

from bastide_host.data import data_bytes, list_snapshots
from bastide_host.firewall import firewall_facts
from bastide_host.host import AgentError, JsonObject, Paths, read_json, run, sha256_of, text_of
from bastide_host.places import places, secret_fingerprints

CONFIG_HASH_LIMIT = 16 << 20


def os_release(paths: Paths) -> dict[str, str]:
    """Return /etc/os-release."""
    pairs = re.findall(
        r'^([A-Z_]+)="?([^"\n]*)"?$', text_of(paths.at("/etc/os-release")), re.MULTILINE
    )
    return dict(pairs)


def installed_packages(paths: Paths) -> dict[str, str]:
    """Return the installed OS packages, name → version, from dpkg's own database."""
    found = {}
    for stanza in text_of(paths.at("/var/lib/dpkg/status")).split("\n\n"):
        fields = dict(re.findall(r"^(Package|Status|Version): (.*)$", stanza, re.MULTILINE))
        if fields.get("Status", "").endswith(" ok installed"):
            found[fields["Package"]] = fields["Version"]
    return found


def file_systems(paths: Paths) -> list[JsonObject]:
    """Return free room where Bastide writes: /opt, /var/lib, /etc."""
    found = []
    for name in ("/opt", "/var/lib", "/etc"):
        path = paths.at(name)
        if path.is_dir():
            room = os.statvfs(path)
            device = str(path.stat().st_dev)
            free = room.f_bavail * room.f_frsize
            found.append({"path": name, "device": device, "free_bytes": free})
    return found


def _hex_address(text: str) -> str:
    raw = bytes.fromhex(text)
    words = b"".join(raw[i : i + 4][::-1] for i in range(0, len(raw), 4))
    return socket.inet_ntop(socket.AF_INET if len(raw) == 4 else socket.AF_INET6, words)


def listening_sockets(paths: Paths) -> dict[str, tuple[str, int]]:
    """Return the listening TCP sockets: inode → address and port."""
    found = {}
    for table in ("tcp", "tcp6"):
        for line in text_of(paths.at(f"/proc/net/{table}")).splitlines()[1:]:
            fields = line.split()
            if fields[3] == "0A":  # LISTEN
                address, port = fields[1].split(":")
                found[fields[9]] = (_hex_address(address), int(port, 16))
    return found


def _owners(paths: Paths, inodes: Iterable[str]) -> dict[str, tuple[str, str]]:
    """Return which unit and process hold each socket: inode → (unit, process name)."""
    wanted = {f"socket:[{inode}]": inode for inode in inodes}
    found: dict[str, tuple[str, str]] = {}
    for process in paths.at("/proc").iterdir():
        if not process.name.isdigit():
            continue
        with contextlib.suppress(OSError):
            for descriptor in (process / "fd").iterdir():
                with contextlib.suppress(OSError):
                    target = str(descriptor.readlink())
                    if target in wanted:
                        found[wanted[target]] = (
                            unit_of(process),
                            text_of(process / "comm").strip(),
                        )
    return found


def unit_of(process: Path) -> str:
    """Return the service that a process (its folder in /proc) belongs to; empty if to none."""
    units = re.findall(r"/([^/\n]+\.service)(?:/|$)", text_of(process / "cgroup"), re.MULTILINE)
    return str(units[-1]) if units else ""


def listeners(paths: Paths) -> list[JsonObject]:
    """Return every TCP listener with its unit and process, by port."""
    sockets = listening_sockets(paths)
    owners = _owners(paths, sockets)
    found = []
    for inode, (address, port) in sockets.items():
        unit, process = owners.get(inode, ("", ""))
        found.append({"port": port, "address": address, "unit": unit, "process": process})
    return sorted(found, key=lambda each: (each["port"], each["address"]))


def _sizes(folder: Path, pattern: str) -> dict[str, int]:
    digests = ((path.name.split(".")[0], path) for path in folder.glob(pattern))
    return {
        name: path.stat().st_size
        for name, path in sorted(digests)
        if re.fullmatch("[0-9a-f]{64}", name) and path.suffix in {"", ".gguf"}
    }


def current_number(paths: Paths) -> int | None:
    """Return the live generation's number."""
    name = paths.current.readlink().name if paths.current.is_symlink() else ""
    return int(name) if name.isdigit() else None


def tree_files(generation: Path, known: Iterable[str] = ()) -> dict[str, str]:
    """Return the SHA-256 of a generation's configuration files, as they are on disk now.

    Args:
        generation: The generation's folder.
        known: Paths that belong to it; whatever else lies in etc/ and units/ is found too.
    """
    paths = {generation / each for each in known}
    paths.update(p for folder in ("etc", "units") for p in (generation / folder).rglob("*"))
    return {
        str(path.relative_to(generation)): sha256_of(path)
        for path in sorted(paths)
        if path.is_file() and path.stat().st_size <= CONFIG_HASH_LIMIT
    }


def unit_states(paths: Paths) -> dict[str, str]:
    """Return the active state of each of Bastide's units."""
    names = sorted(path.name for path in paths.units.glob("bastide-*.service"))
    if not names:
        return {}
    done = run(["systemctl", "show", "--property=Id,ActiveState", *names], timeout=20)
    found = dict.fromkeys(names, "unknown")
    for block in done.stdout.split("\n\n"):
        fields = dict(line.split("=", 1) for line in block.splitlines() if "=" in line)
        if fields.get("Id") in found:
            found[fields["Id"]] = fields.get("ActiveState", "unknown")
    return found


def _memory_bytes(paths: Paths) -> int:
    found = re.search(r"^MemTotal:\s+(\d+) kB", text_of(paths.at("/proc/meminfo")), re.MULTILINE)
    return int(found.group(1)) * 1024 if found else 0


def _systemd_version() -> int:
    found = re.match(r"systemd (\d+)", run(["systemctl", "--version"], timeout=20).stdout)
    return int(found.group(1)) if found else 0


def built_generations(paths: Paths) -> dict[str, str]:
    """Return the digest of every generation that was built to its end, by number."""
    records = {p.parent.name: read_json(p) for p in paths.generations.glob("*/generation.json")}
    return {
        number: record["digest"]
        for number, record in sorted(records.items())
        if number.isdigit() and record and record.get("digest")
    }


def transition_of(paths: Paths) -> JsonObject | None:
    """Return the transition that is open on this host; None if there is none."""
    found = read_json(paths.transition)
    return found if found and found.get("format") == "bastide.transition/1" else None


def _open_transition(paths: Paths) -> JsonObject | None:
    found = transition_of(paths)
    return {k: v for k, v in found.items() if k != "format"} if found else None


def facts(paths: Paths, given: JsonObject | None = None) -> JsonObject:
    """Return what this host is now (``bastide.facts/1``); reads only.

    Args:
        paths: The host's paths.
        given: ``salt`` for the fingerprints of secrets; without it there are none.
    """
    release = os_release(paths)
    number = current_number(paths)
    generation = read_json(paths.current / "generation.json") or {}
    numbers = [int(p.name) for p in paths.generations.glob("*") if p.name.isdigit()]
    return {
        "format": "bastide.facts/1",
        "hostname": socket.gethostname(),
        "distribution": release.get("ID", "unknown"),
        "distribution_version": release.get("VERSION_ID", "unknown"),
        "architecture": platform.machine(),
        "python": platform.python_version(),
        "systemd": _systemd_version(),
        "cpus": len(os.sched_getaffinity(0)),
        "memory_bytes": _memory_bytes(paths),
        "file_systems": file_systems(paths),
        "packages": installed_packages(paths),
        "models": _sizes(paths.state / "models", "*.gguf"),
        "artifacts": _sizes(paths.state / "artifacts", "sha256/*/*"),
        "generation": number,
        "generation_digest": generation.get("digest"),
        "release": generation.get("release", ""),
        "contents": generation.get("contents", {}),
        "newest_generation": max(numbers, default=0),
        "generations": built_generations(paths),
        "files": tree_files(paths.current, generation.get("files", {})),
        "units": unit_states(paths),
        "tls_units": tls_units(paths),
        "listeners": listeners(paths),
        "users": [row.split(":")[0] for row in text_of(paths.at("/etc/passwd")).splitlines()],
        "secrets": secret_fingerprints(paths, given or {}),
        "places": places(paths),
        "snapshots": list_snapshots(paths),
        "data_bytes": data_bytes(paths),
        "unix_time": int(time.time()),
        "transition": _open_transition(paths),
        "good": (read_json(paths.good) or {}).get("good", []),
        "firewall": firewall_facts(paths),
    }


def tls_units(paths: Paths) -> list[str]:
    """Return the units of the live generation that take only clients with a certificate."""
    host = read_json(paths.current / "etc/host.json") or {}
    ports = (host.get("mutual_tls") or {}).get("ports", [])
    found = host.get("services", {}).items()
    return sorted(unit for unit, url in found if urllib.parse.urlsplit(url).port in ports)


def check_ports(paths: Paths, ports: Mapping[str, int]) -> JsonObject:
    """Refuse if a process that is not Bastide's holds a port that a service needs.

    Args:
        paths: The host's paths.
        ports: Service → TCP port.
    """
    found = listeners(paths)
    taken = [
        f"port {each['port']}, needed by {service}, is held by"
        f" {each['unit'] or each['process'] or 'an unknown process'} on {each['address']}"
        for service, port in sorted(ports.items())
        for each in found
        if each["port"] == port and not each["unit"].startswith("bastide-")
    ]
    if taken:
        raise AgentError(
            "BAS-5070",
            "; ".join(taken),
            "stop that process, or choose another port under 'network' in site.yaml",
        )
    return {"changed": False}
