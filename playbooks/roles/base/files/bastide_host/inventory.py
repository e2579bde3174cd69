"""Everything that lies on a host, to compare before and after an apply: reads only.

One line of the answer is one thing, as short as it can be: a minimal host has ten thousand files.
"""

from __future__ import annotations

import base64
import gzip
import json
import os
import re
import stat
from collections.abc import Iterator
from pathlib import Path

from bastide_host.facts import installed_packages, listeners
from bastide_host.host import JsonObject, Paths, run, sha256_of, text_of

# Whole trees: what is not below these is not on disk (/proc, /sys, /run, /dev) or thrown away.
ROOTS = ("/boot", "/etc", "/home", "/opt", "/root", "/srv", "/usr", "/var")
HASH_LIMIT = 1 << 20  # larger files are told apart by size and time of change
PACK_FROM = 1 << 16  # an answer larger than this travels compressed
_MERGED = ("/bin/", "/lib/", "/lib32/", "/lib64/", "/libx32/", "/sbin/")  # links into /usr


def inventory(paths: Paths) -> JsonObject:
    """Return everything that an apply could change on this host (``bastide.inventory/1``).

    A large answer comes as ``{"packed": …}``: base64 of gzip of the same JSON.
    """
    packages = installed_packages(paths)
    found = {
        "format": "bastide.inventory/1",
        "files": dict(_files(paths, _owners(paths))),
        "users": _names(paths, "/etc/passwd"),
        "groups": _names(paths, "/etc/group"),
        "packages": packages,
        "units": _units(),
        "sockets": [
            f"{each['address']}:{each['port']} {each['unit'] or each['process']}"
            for each in listeners(paths)
        ],
        "firewall": run(["nft", "--stateless", "list", "ruleset"], timeout=20).stdout,
        "mounts": _mounts(paths),
    }
    text = json.dumps(found, separators=(",", ":"))
    if len(text) < PACK_FROM:
        return found
    return {"packed": base64.b64encode(gzip.compress(text.encode(), 6)).decode()}


def _names(paths: Paths, table: str) -> JsonObject:
    """Return an account table without its passwords: name → the other fields."""
    rows = (line.split(":") for line in text_of(paths.at(table)).splitlines() if line)
    return {row[0]: ":".join(row[2:]) for row in rows}


def _owners(paths: Paths) -> dict[str, str]:
    """Return which OS package each path belongs to, as dpkg has it listed."""
    found: dict[str, str] = {}
    for listed in sorted(paths.at("/var/lib/dpkg/info").glob("*.list")):
        package = listed.name[: -len(".list")].split(":")[0]
        for line in text_of(listed).splitlines():
            place = f"/usr{line}" if line.startswith(_MERGED) else line
            found.setdefault(place, package)
    return found


def _files(paths: Paths, owners: dict[str, str]) -> Iterator[tuple[str, list[object]]]:
    """Yield every path with its type, mode, owner, content and OS package."""
    top = [paths.at(name) for name in ROOTS]
    for folder in [each for each in top if each.is_dir() and not each.is_symlink()]:
        yield from _below(paths, folder, owners)


def _below(
    paths: Paths, folder: Path, owners: dict[str, str]
) -> Iterator[tuple[str, list[object]]]:
    device = folder.stat().st_dev
    pending = [folder]
    while pending:
        here = pending.pop()
        try:
            entries = sorted(os.scandir(here), key=lambda each: each.name)
        except OSError:
            continue
        for entry in entries:
            path = Path(entry.path)
            name = "/" + str(path.relative_to(paths.root))
            try:
                state = entry.stat(follow_symlinks=False)
                yield name, [*_look(path, state), owners.get(name, "")]
            except OSError:  # it went away meanwhile
                continue
            if stat.S_ISDIR(state.st_mode) and state.st_dev == device:
                pending.append(path)


def _look(path: Path, state: os.stat_result) -> list[object]:
    """Return type, mode, owner and content of one path; of a folder, no content."""
    mode = f"{state.st_mode & 0o7777:04o}"
    owner = f"{state.st_uid}:{state.st_gid}"
    if stat.S_ISLNK(state.st_mode):
        return ["l", mode, owner, str(path.readlink())]
    if stat.S_ISDIR(state.st_mode):
        return ["d", mode, owner, ""]
    if not stat.S_ISREG(state.st_mode):
        return ["o", mode, owner, str(state.st_rdev)]
    if state.st_size > HASH_LIMIT:
        return ["f", mode, owner, f"{state.st_size} {state.st_mtime_ns}"]
    return ["f", mode, owner, sha256_of(path)]


def _units() -> JsonObject:
    """Return every unit that is active or enabled: name → state, last start, enablement.

    Of Bastide's units a reload counts as a start, too.
    """
    kinds = "--type=service,socket,timer,path,mount"
    listed = run(["systemctl", "list-units", "--all", "--plain", "--no-legend", kinds], timeout=20)
    names = [line.split()[0] for line in listed.stdout.splitlines() if line.split()]
    fields = "--property=Id,ActiveState,InvocationID,StateChangeTimestampMonotonic,UnitFileState"
    shown = run(["systemctl", "show", fields, "--", *names], timeout=60).stdout if names else ""
    found: JsonObject = {}
    for block in shown.split("\n\n"):
        value = dict(line.split("=", 1) for line in block.splitlines() if "=" in line)
        if value.get("Id"):
            ours = value["Id"].startswith("bastide-")
            reload = value.get("StateChangeTimestampMonotonic", "") if ours else ""
            found[value["Id"]] = [
                value.get("ActiveState", ""),
                f"{value.get('InvocationID', '')} {reload}".strip(),
                value.get("UnitFileState", ""),
            ]
    files = run(["systemctl", "list-unit-files", "--plain", "--no-legend"], timeout=20).stdout
    for line in files.splitlines():
        name, enabled = (*line.split(), "", "")[:2]
        if name and enabled in {"enabled", "masked"}:
            found.setdefault(name, ["", "", enabled])
    return found


def _mounts(paths: Paths) -> list[str]:
    """Return what is mounted where, without the mounts of single services."""
    rows = (line.split() for line in text_of(paths.at("/proc/self/mounts")).splitlines())
    kept = (" ".join(row[:3]) for row in rows if len(row) > 2 and row[1] != "/")
    return sorted(each for each in kept if not re.search(r" /run/credentials/", each))
