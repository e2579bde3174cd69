"""The folders below which Bastide writes, and the file systems that hold them. Reads only."""

from __future__ import annotations

import array
import contextlib
import fcntl
import os
import re
import stat
from pathlib import Path

from bastide_host.host import JsonObject, Paths, text_of

PLACES = (
    "/opt",
    "/opt/bastide",
    "/opt/bastide/bin",
    "/opt/bastide/generations",
    "/var/lib",
    "/var/lib/bastide",
    "/var/lib/bastide/models",
    "/var/lib/bastide/artifacts",
    "/var/lib/bastide/repository",
    "/var/lib/bastide/started",
    "/var/lib/bastide/vectordb",
    "/var/lib/bastide/texts",
    "/etc",
    "/etc/bastide",
    "/etc/bastide/secrets",
    "/etc/systemd/system",
    "/etc/apt/sources.list.d",
    "/etc/sysusers.d",
    "/usr",
    "/usr/sbin",
    "/var/lib/dpkg",
    "/var/cache/apt",
    "/tmp",  # noqa: S108 - looked at, not used
    "/run",
)
_GET_FLAGS = 0x80086601  # FS_IOC_GETFLAGS
_IMMUTABLE, _APPEND_ONLY = 0x10, 0x20


def places(paths: Paths) -> list[JsonObject]:
    """Return what each of ``PLACES`` is, and the file system that it is on or would be made on."""
    types = _mounts(paths)
    return [_place(paths, name, types) for name in PLACES]


def _place(paths: Paths, name: str, types: dict[str, str]) -> JsonObject:
    path = paths.at(name)
    there = path
    while not there.exists() and there != there.parent:
        there = there.parent
    room, real = os.statvfs(there), os.path.realpath(there)
    found: JsonObject = {
        "path": name,
        **_kind(path),
        "locked": _is_locked(there),
        "device": str(there.stat().st_dev),
        "file_system": _type_of(real, types),
        "free_bytes": room.f_bavail * room.f_frsize,
        "size_bytes": room.f_blocks * room.f_frsize,
        "free_inodes": room.f_favail if room.f_files else None,
        "read_only": bool(room.f_flag & os.ST_RDONLY),
        "noexec": bool(room.f_flag & os.ST_NOEXEC),
    }
    return found


def _kind(path: Path) -> JsonObject:
    try:
        state = path.lstat()
    except OSError:
        return {"kind": "missing", "target": "", "owner": None, "mode": None}
    kinds = ((stat.S_ISLNK, "link"), (stat.S_ISDIR, "folder"), (stat.S_ISREG, "file"))
    kind = next((word for is_one, word in kinds if is_one(state.st_mode)), "other")
    target = str(path.readlink()) if kind == "link" else ""
    mode = stat.S_IMODE(state.st_mode)
    return {"kind": kind, "target": target, "owner": state.st_uid, "mode": mode}


def _is_locked(path: Path) -> bool:
    """Return whether a folder has the attribute ``immutable`` or ``append only``."""
    flags = array.array("l", [0])
    with contextlib.suppress(OSError):
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
        try:
            fcntl.ioctl(descriptor, _GET_FLAGS, flags, True)  # noqa: FBT003 - ioctl's own way
        finally:
            os.close(descriptor)
    return bool(flags[0] & (_IMMUTABLE | _APPEND_ONLY))


def _mounts(paths: Paths) -> dict[str, str]:
    """Return the type of the file system at each mount point; a later mount hides an earlier."""
    lines = re.findall(
        r"^\d+ \d+ \S+ \S+ (\S+) .*? - (\S+) ",
        text_of(paths.at("/proc/self/mountinfo")),
        re.MULTILINE,
    )
    return {point.replace("\\040", " "): kind for point, kind in lines}


def _type_of(path: str, types: dict[str, str]) -> str:
    for parent in (Path(path), *Path(path).parents):
        if str(parent) in types:
            return types[str(parent)]
    return "unknown"
