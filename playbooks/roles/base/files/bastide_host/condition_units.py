"""Users, units and programs that have our names, or do our work. Reads only."""

from __future__ import annotations

import re
from pathlib import Path

from bastide_host.facts import unit_of
from bastide_host.host import JsonObject, Paths, text_of

UNIT_FOLDERS = (
    "/etc/systemd/system.control",
    "/run/systemd/system.control",
    "/run/systemd/transient",
    "/etc/systemd/system",
    "/run/systemd/system",
    "/usr/local/lib/systemd/system",
    "/usr/lib/systemd/system",
)
_RIVALS = ("haproxy", "keepalived", "qdrant")


def unit_state(paths: Paths) -> JsonObject:
    """Return users, groups and unit files with our names, and programs that do our work."""
    return {
        "users": _users(paths),
        "groups": _groups(paths),
        "unit_files": _unit_files(paths),
        "drop_ins": _drop_ins(paths),
        "haproxy_unit": _unit_of_etc(paths, "haproxy.service"),
        "keepalived_unit": _unit_of_etc(paths, "keepalived.service"),
        "rivals": _rivals(paths),
    }


def _users(paths: Paths) -> dict[str, JsonObject]:
    found = {}
    for line in text_of(paths.at("/etc/passwd")).splitlines():
        fields = line.split(":")
        if fields[0].startswith("bastide-") and len(fields) == 7:
            found[fields[0]] = {"uid": int(fields[2]), "gid": int(fields[3]), "shell": fields[6]}
    return found


def _groups(paths: Paths) -> dict[str, JsonObject]:
    found = {}
    for line in text_of(paths.at("/etc/group")).splitlines():
        fields = line.split(":")
        if fields[0].startswith("bastide-") and len(fields) == 4:
            members = [each for each in fields[3].split(",") if each]
            found[fields[0]] = {"gid": int(fields[2]), "members": members}
    return found


def _unit_files(paths: Paths) -> list[JsonObject]:
    """Return every unit file with a name of ours, where it is, and where it leads if a link."""
    files = (p for f in UNIT_FOLDERS for p in sorted(paths.at(f).glob("bastide-*.service")))
    return [
        {"path": _name(paths, path), "target": str(path.readlink()) if path.is_symlink() else ""}
        for path in files
    ]


def _drop_ins(paths: Paths) -> list[str]:
    pattern = "bastide-*.service.d/*.conf"
    return [_name(paths, p) for f in UNIT_FOLDERS for p in sorted(paths.at(f).glob(pattern))]


def _name(paths: Paths, path: Path) -> str:
    return "/" + str(path.relative_to(paths.root))


def _unit_of_etc(paths: Paths, name: str) -> str:
    """Return what /etc has as a package's unit: nothing, ``masked``, or somebody's own."""
    path = paths.units / name
    if path.is_symlink():
        return "masked" if str(path.readlink()) == "/dev/null" else "own"
    return "own" if path.exists() else ""


def _rivals(paths: Paths) -> dict[str, str]:
    """Return programs that run here and do what ours do, outside our units: name → unit."""
    found = {}
    for process in paths.at("/proc").glob("[0-9]*"):
        name = text_of(process / "comm").strip()
        unit = unit_of(process) if name in _RIVALS else ""
        if name in _RIVALS and not re.match(r"bastide-", unit):
            found[name] = unit
    return found
