"""Whose packet it is: from its ports to the socket, from the socket to the process. Reads /proc."""

from __future__ import annotations

import contextlib
import pwd
import re
from collections.abc import Iterator
from pathlib import Path

from bastide_host.host import JsonObject, text_of

_TABLES = {"tcp": ("tcp", "tcp6"), "udp": ("udp", "udp6"), "icmp": ("icmp", "raw"),
           "icmpv6": ("icmp6", "raw6")}  # fmt: skip


def owner(protocol: str, port: int, user: int = -1, proc: Path = Path("/proc")) -> JsonObject:
    """Return who sent a packet, as far as that can be told now.

    Args:
        protocol: Of the packet.
        port: The port that it was sent from.
        user: The user whose socket sent it; -1 if unknown.
        proc: Where processes show.

    Returns:
        ``pid``, ``process`` (its name), ``program``, ``unit`` and ``user``; what is not known is
        left out.
    """
    found: JsonObject = {}
    for inode, owner_id in _sockets(protocol, port, proc):
        user = owner_id if user < 0 else user
        found = _holder(inode, proc)
        if found:
            break
    if user >= 0:
        found["user"] = user_name(user)
    return found


def user_name(user: int) -> str:
    """Return a user's name, or its number if it has none."""
    try:
        return pwd.getpwuid(user).pw_name
    except KeyError:
        return str(user)


def _sockets(protocol: str, port: int, proc: Path) -> Iterator[tuple[str, int]]:
    """Yield inode and user of the sockets that send from a port; those in use come first."""
    for table in _TABLES.get(protocol, ("raw", "raw6")):
        for line in text_of(proc / "net" / table).splitlines()[1:]:
            fields = line.split()
            if len(fields) > 9 and fields[9] != "0" and int(fields[1].split(":")[1], 16) == port:
                yield fields[9], int(fields[7])


def _holder(inode: str, proc: Path) -> JsonObject:
    wanted = f"socket:[{inode}]"
    for process in proc.iterdir():
        if not process.name.isdigit():
            continue
        with contextlib.suppress(OSError):
            for descriptor in (process / "fd").iterdir():
                with contextlib.suppress(OSError):
                    if str(descriptor.readlink()) == wanted:
                        return describe(process)
    return {}


def describe(process: Path) -> JsonObject:
    """Return what a process (its folder in /proc) is; never its arguments, which may be secret."""
    found: JsonObject = {"pid": int(process.name), "process": text_of(process / "comm").strip()}
    with contextlib.suppress(OSError):
        found["program"] = str((process / "exe").readlink())
    pattern = r"/([^/\n]+\.(?:service|scope))(?:/|$)"
    units = re.findall(pattern, text_of(process / "cgroup"), re.MULTILINE)
    if units:
        found["unit"] = units[-1]
    return found
