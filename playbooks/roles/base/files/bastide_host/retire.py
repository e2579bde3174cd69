"""Take this host out of service: it has left the site, whose gateways no longer know it."""

from __future__ import annotations

import json

from bastide_host.fence import now
from bastide_host.gateway import wait_until
from bastide_host.host import JsonObject, Paths, fsync_directory, read_json, run, write_atomic
from bastide_host.switch import deactivate, service_ports

ASKED = ("llm", "embeddings", "vectordb")  # by gateways; clients of a gateway may stay for hours
FORMAT = "bastide.retired/1"


def retire(paths: Paths, seconds: float) -> JsonObject:
    """Let requests under way finish, stop every service for good, remove the site's secrets.

    Models, artifacts, generations and vector data stay. Can be repeated.

    Args:
        paths: The host's paths.
        seconds: How long requests may take; what needs longer is ``left``, and cut.
    """
    record = paths.etc / "retired.json"
    live = read_json(paths.current / "generation.json") or {}
    secrets = sorted(path for path in paths.secrets.glob("*") if path.is_file())
    if not live and not secrets and record.exists():
        return {"changed": False, "stopped": [], "secrets": [], "left": 0}
    ports = {port for name, port in service_ports(paths).items() if name in ASKED}
    wait_until(lambda: not _connections(ports), seconds)
    left = _connections(ports)
    stopped = deactivate(paths)["stopped"]
    for path in secrets:
        path.unlink()
    if secrets:
        fsync_directory(paths.secrets)
    text = json.dumps({"format": FORMAT, "at": now(), "generation": live.get("number")}, indent=2)
    write_atomic(record, f"{text}\n".encode())
    return {"changed": True, "stopped": stopped, "secrets": [p.name for p in secrets], "left": left}


def _connections(ports: set[int]) -> int:
    """Return how many connections other machines have to ``ports``."""
    listed = run(["ss", "-Htn", "state", "established"], timeout=20).stdout
    rows = (line.split() for line in listed.splitlines())
    return sum(_is_foreign(row[2], row[3], ports) for row in rows if len(row) > 3)


def _is_foreign(here: str, there: str, ports: set[int]) -> bool:
    address, _, port = here.rpartition(":")
    return port.isdigit() and int(port) in ports and there.rpartition(":")[0] != address
