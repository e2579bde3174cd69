"""A consistent copy of the vector DB's data for a backup, and the way of it to the control node.

Writes are refused only while the copy is taken. It is a snapshot like any other, of a name that no
rollback looks for, and it is gone when it has been sent.
"""

from __future__ import annotations

import hashlib
import os
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bastide_host.facts import transition_of
from bastide_host.fence import lift_fence, raise_fence
from bastide_host.host import AgentError, JsonObject, Paths, read_json
from bastide_host.snapshot import MARKER, drop_snapshot, folder_of, take_snapshot

PREFIX = "backup-"
BUSY = "BAS-6130"


def require_settled(paths: Paths, mine: str) -> None:
    """Check that nobody else works on the data.

    Args:
        paths: The host's paths.
        mine: What names of fences begin with that such a command itself has left behind.

    Raises:
        AgentError: A switch is open, or writes are refused for another reason.
    """
    found = transition_of(paths)
    if found:
        raise AgentError(
            BUSY,
            f"run {found['run']} was cut off on the way to generation {found['after']}",
            "run bastide apply first: it finishes that",
        )
    holder = str((read_json(paths.fence) or {}).get("run", "")) if paths.fence.exists() else mine
    if not holder.startswith(mine):
        raise AgentError(
            BUSY, f"writes are refused already, by {holder or 'somebody'}", "run bastide apply"
        )


def fenced(paths: Paths, name: str) -> None:
    """Let the vector DB refuse all writes: nobody has the pass."""
    raise_fence(paths, name, hashlib.sha256(os.urandom(32)).hexdigest())


def drop_leftovers(paths: Paths, prefix: str) -> list[str]:
    """Remove copies that an earlier, cut-off command left; return their names."""
    left = [path.name for path in sorted(paths.snapshots.glob(f"{prefix}*")) if path.is_dir()]
    for name in left:
        drop_snapshot(paths, name)
    return left


def backup_begin(paths: Paths, given: Mapping[str, Any]) -> JsonObject:
    """Take a copy of the data behind the fence; return its stamp.

    Args:
        paths: The host's paths.
        given: ``id``, the copy's name.

    Raises:
        AgentError: Somebody else works on the data, there is no room, or the copy is not what was
            read. Writes are let in again, and nothing is left.
    """
    name = _own(given)
    require_settled(paths, PREFIX)
    left = drop_leftovers(paths, PREFIX)
    try:
        fenced(paths, name)
        stamp = take_snapshot(paths, name, None)
    finally:
        lift_fence(paths)
    return {"changed": True, "stamp": stamp, "leftovers": left}


def backup_send(paths: Paths, given: Mapping[str, Any], target: int) -> int:
    """Write the copy to an open file as a POSIX tar archive, holes kept; return tar's exit code.

    Args:
        paths: The host's paths.
        given: ``id``, the copy's name.
        target: The open file's descriptor.
    """
    folder = folder_of(paths, _own(given))
    argv = [
        "tar", "--create", "--sparse", "--format=posix", "--sort=name",
        "--pax-option=delete=atime,delete=ctime", f"--exclude=storage/{MARKER}",
        f"--directory={folder}", "--file=-", "storage",
    ]  # fmt: skip
    return subprocess.run(argv, stdout=target, stdin=subprocess.DEVNULL, check=False).returncode


def backup_end(paths: Paths, given: Mapping[str, Any]) -> JsonObject:
    """Remove the copy.

    Args:
        paths: The host's paths.
        given: ``id``, its name.
    """
    return {"changed": drop_snapshot(paths, _own(given))}


def _own(given: Mapping[str, Any]) -> str:
    name = str(given.get("id", ""))
    if not name.startswith(PREFIX) or Path(name).name != name:
        raise AgentError("BAS-6050", f"{name!r} is no backup's name")
    return name
