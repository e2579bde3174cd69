"""Folders, secrets, and no internet sources: what a host needs before artifacts come."""

from __future__ import annotations

import importlib.util
import json
import marshal
import re
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from bastide_host.host import AgentError, JsonObject, Paths, read_json, text_of, write_atomic
from bastide_host.keys import make_known

FOLDERS = (
    ("/opt/bastide", 0o755),
    ("/opt/bastide/bin", 0o755),
    ("/opt/bastide/generations", 0o755),
    ("/var/lib/bastide", 0o755),
    ("/var/lib/bastide/models", 0o755),
    ("/var/lib/bastide/artifacts", 0o755),
    ("/var/lib/bastide/repository", 0o755),
    ("/var/lib/bastide/started", 0o700),
    ("/etc/bastide", 0o755),
    ("/etc/bastide/secrets", 0o700),
)
_LOCAL = re.compile(
    r"^(?:URIs:\s*|deb(?:-src)?\s+(?:\[[^\]]*\]\s+)?)(?:file|cdrom|copy):", re.MULTILINE
)
_ANY = re.compile(r"^(?:URIs:|deb(?:-src)?\s)", re.MULTILINE)
ASIDE = ".disabled-by-bastide"


def make_folders(paths: Paths) -> list[str]:
    """Create Bastide's folders, 0755 (secrets 0700); return which were new or had other modes."""
    changed = _folders_amiss(paths)
    for name, mode in changed.items():
        path = paths.at(name)
        path.mkdir(parents=True, exist_ok=True)
        path.chmod(mode)
    paths.run.mkdir(mode=0o700, parents=True, exist_ok=True)
    return list(changed)


def _folders_amiss(paths: Paths) -> dict[str, int]:
    """Return the folders that are missing or have another mode than theirs."""
    places = {name: (paths.at(name), mode) for name, mode in FOLDERS}
    return {
        name: mode
        for name, (path, mode) in places.items()
        if not path.is_dir() or (path.stat().st_mode & 0o7777) != mode
    }


def internet_sources(paths: Paths) -> list[Path]:
    """Return the files of apt sources that are active and not local."""
    folder = paths.at("/etc/apt/sources.list.d")
    files = [paths.at("/etc/apt/sources.list"), *folder.glob("*.list"), *folder.glob("*.sources")]
    texts = {path: text_of(path) for path in sorted(files)}
    return [p for p, t in texts.items() if len(_ANY.findall(t)) > len(_LOCAL.findall(t))]


def set_sources_aside(paths: Paths) -> list[str]:
    """Rename apt sources that are not local, so that nothing waits for the internet.

    To undo it, rename ``<file>.disabled-by-bastide`` back; the names are also kept in
    ``/var/lib/bastide/disabled-sources.json``.
    """
    moved = []
    for path in internet_sources(paths):
        path.rename(path.with_name(path.name + ASIDE))
        moved.append("/" + str(path.relative_to(paths.root)))
    if moved:
        record = paths.state / "disabled-sources.json"
        known = (read_json(record) or {}).get("files", [])
        content = json.dumps({"files": sorted({*known, *moved})}, indent=2) + "\n"
        write_atomic(record, content.encode())
    return moved


@dataclass(frozen=True)
class Program:
    """The agent itself, to be kept for the later commands.

    Args:
        text: The joined program.
        digest: Of its modules.
        sources: The modules: name → text.
    """

    text: str
    digest: str = ""
    sources: Mapping[str, str] = field(default_factory=dict)


def _compile(place: Path, program: Program) -> None:
    """Keep the modules' code where the joined program looks for it, unless it is there.

    Compiling them takes as long as much of what the agent is called for, and an apply calls it
    dozens of times. The content: Python's magic number, the digest, a checksum, a marshalled map.
    """
    mark = importlib.util.MAGIC_NUMBER + program.digest.encode()
    if place.is_file() and place.read_bytes().startswith(mark):
        return
    code = marshal.dumps(
        {
            name: compile(text, f"<{name}>", "exec", dont_inherit=True)
            for name, text in program.sources.items()
        }
    )
    write_atomic(place, mark + zlib.crc32(code).to_bytes(4, "big") + code)


def _keep(paths: Paths, program: Program) -> bool:
    """Write the agent and its compiled modules; return whether the agent was another one."""
    agent = paths.opt / "bin" / "bastide_host.py"
    changed = write_atomic(agent, program.text.encode(), 0o755)
    if program.sources:
        _compile(agent.with_suffix(".code"), program)
    return changed


def is_prepared(paths: Paths, program: str) -> bool:
    """Return whether ``prepare`` would find nothing to do, so that it can be left out.

    Args:
        paths: The host's paths.
        program: The text of the agent that it would keep.
    """
    return (
        text_of(paths.opt / "bin/bastide_host.py") == program
        and paths.run.is_dir()
        and not _folders_amiss(paths)
        and not internet_sources(paths)
        and not (paths.etc / "retired.json").exists()
    )


def prepare(paths: Paths, program: Program | None) -> JsonObject:
    """Make the host ready to take artifacts: folders, no internet sources, the agent itself.

    Args:
        paths: The host's paths.
        program: The agent itself; None if unknown.
    """
    folders = make_folders(paths)
    (paths.etc / "retired.json").unlink(missing_ok=True)  # it is in service again
    moved = set_sources_aside(paths)
    kept = program is not None and _keep(paths, program)
    changed = bool(folders or moved or kept)
    return {"changed": changed, "folders": folders, "sources_aside": moved, "agent": kept}


_SERVICES = ("llm", "embeddings", "vectordb")
SECRET_FILES = (  # name in the input, file, mode, groups that get it (empty: every host)
    ("ca_pem", "/etc/bastide/ca.pem", 0o644, ()),
    ("api_key", "/etc/bastide/secrets/api_key", 0o600, ("vectordb",)),
    (
        "read_only_api_key",
        "/etc/bastide/secrets/read_only_api_key",
        0o600,
        ("vectordb", "monitoring"),
    ),
    ("gateway_pem", "/etc/bastide/secrets/gateway.pem", 0o600, ("gateway",)),
    ("gateway_keys_map", "/etc/bastide/secrets/gateway-keys.map", 0o600, ("gateway",)),
    ("vectordb_keys_map", "/etc/bastide/secrets/vectordb-keys.map", 0o600, ("gateway",)),
    ("machines_ca_pem", "/etc/bastide/secrets/machines-ca.pem", 0o600, ()),
    ("service_pem", "/etc/bastide/secrets/service.pem", 0o600, _SERVICES),
    ("agent_pem", "/etc/bastide/secrets/agent.pem", 0o600, _SERVICES),
    ("gateway_client_pem", "/etc/bastide/secrets/gateway-client.pem", 0o600, ("gateway",)),
    (
        "monitoring_client_pem",
        "/etc/bastide/secrets/monitoring-client.pem",
        0o600,
        ("monitoring",),
    ),
    ("alert_secrets", "/etc/bastide/secrets/alert-secrets.json", 0o600, ("monitoring",)),
    ("certificates_prom", "/etc/bastide/certificates.prom", 0o644, ()),
)
# Of mutual TLS and of receivers that log in: a site without has none of these. Those that a host
# has stay, because an earlier generation, to which it may go back, can need them.
OPTIONAL = frozenset(
    {
        "machines_ca_pem",
        "service_pem",
        "agent_pem",
        "gateway_client_pem",
        "monitoring_client_pem",
        "alert_secrets",
        "certificates_prom",
    }
)
# In /run/bastide: with what this run asks the depot and writes vectors, and by what its hosts know
# each other; the last two are empty if hosts give each other nothing.
OF_THIS_RUN = ("depot_token", "pass", "peer_pem", "peers_ca_pem")


def write_secrets(paths: Paths, secrets: Mapping[str, str], groups: list[str]) -> JsonObject:
    """Write the secrets that a host of ``groups`` needs, and those of this run.

    Args:
        paths: The host's paths.
        secrets: By name, as in ``SECRET_FILES`` and ``OF_THIS_RUN``.
        groups: The host's groups.

    Raises:
        AgentError: One is missing or empty: an empty key would switch authentication off.
    """
    changed = []
    for name, path, mode, needed_by in SECRET_FILES:
        if needed_by and not set(needed_by) & set(groups):
            continue
        if name in OPTIONAL and name not in secrets:
            continue
        if not secrets.get(name, "").strip():
            raise AgentError("BAS-6063", f"the secret '{name}' is empty", "run bastide init again")
        if write_atomic(paths.at(path), secrets[name].encode(), mode):
            changed.append(path)
            if name == "gateway_keys_map":
                make_known(paths, secrets[name])
    for name in OF_THIS_RUN:
        write_atomic(paths.run / name, secrets.get(name, "").encode(), 0o600)
    return {"changed": bool(changed), "files": changed}
