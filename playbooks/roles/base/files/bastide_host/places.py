"""What lies outside generations and is Bastide's: the plan says what of it changes. Reads only."""

from __future__ import annotations

import hashlib
import hmac
from pathlib import Path

from bastide_host.host import JsonObject, Paths, sha256_of
from bastide_host.prepare import FOLDERS, SECRET_FILES, internet_sources

FINGERPRINT_DIGITS = 16
_FILES = (
    "/opt/bastide/bin/bastide_host.py",
    "/etc/apt/sources.list.d/bastide.list",
    "/etc/sysusers.d/bastide.conf",
)
_LINKS = (
    "/opt/bastide/current",
    "/etc/bastide/host.json",
    "/etc/bastide/release.json",
    "/etc/bastide/upgrade-manifest.yaml",
    "/etc/systemd/journald@bastide.conf",
    "/etc/systemd/system/haproxy.service",
    "/etc/systemd/system/prometheus.service",
    "/etc/systemd/system/prometheus-alertmanager.service",
    "/etc/systemd/system/prometheus-node-exporter.service",
)
_MANY = (  # folder, pattern
    ("/etc/systemd/system", "bastide-*.service"),
    ("/etc/systemd/system/multi-user.target.wants", "bastide-*.service"),
    ("/opt/bastide/bin", "uv-*"),
    ("/var/lib/bastide/repository", "*"),
    ("/var/lib/bastide/started", "*.service"),
)


def places(paths: Paths) -> dict[str, str]:
    """Return what is at each of Bastide's places: path → ``folder MODE``, ``link TARGET``, …."""
    found = {name: _state(paths.at(name)) for name, _mode in FOLDERS}
    found.update((name, _state(paths.at(name))) for name in _LINKS)
    found.update((name, _digest(paths.at(name))) for name in _FILES)
    for folder, pattern in _MANY:
        for path in sorted(paths.at(folder).glob(pattern)):
            found[f"{folder}/{path.name}"] = _state(path)
    for path in internet_sources(paths):
        found["/" + str(path.relative_to(paths.root))] = "internet source"
    for name in ("vectordb", "prometheus", "alertmanager", "metrics", "syslog", "texts"):
        if paths.at(f"/var/lib/bastide/{name}").is_dir():
            found[f"/var/lib/bastide/{name}"] = "folder"
    return {name: state for name, state in found.items() if state}


def _state(path: Path) -> str:
    if path.is_symlink():
        return f"link {path.readlink()}"
    if path.is_dir():
        return f"folder {path.stat().st_mode & 0o7777:04o}"
    return f"file {path.stat().st_size}" if path.exists() else ""


def _digest(path: Path) -> str:
    return sha256_of(path) if path.is_file() else _state(path)


def secret_fingerprints(paths: Paths, given: JsonObject) -> dict[str, str]:
    """Return a fingerprint of each secret's file with the salt in ``given``; none without one.

    A plain digest never leaves the host: somebody who has it could try guesses on it.
    """
    salt = given.get("salt")
    if not salt:
        return {}
    found = {}
    for _name, path, mode, _groups in SECRET_FILES:
        place = paths.at(path)
        if place.is_file():
            rights = place.stat().st_mode & 0o7777
            digest = hmac.new(salt.encode(), place.read_bytes(), hashlib.sha256).hexdigest()
            found[path] = digest[:FINGERPRINT_DIGITS] if rights == mode else f"mode {rights:04o}"
    return found
