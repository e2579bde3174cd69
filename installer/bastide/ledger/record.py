"""Writes the ledger: one line an entry, on disk before the work goes on."""

from __future__ import annotations

import contextlib
import fcntl
import os
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

from bastide.errors import BastideError
from bastide.host.files import fsync_directory
from bastide.ledger.chain import next_entry, parse
from bastide.schema.ledger import Actor, Clock, Entry, Outcome

UNWRITABLE = "BAS-1030"
DROPPED = "an entry that a crash had cut off was dropped before this one"


def append(
    path: Path, operation: str, outcome: Outcome, details: Mapping[str, str], code: str = ""
) -> Entry:
    """Add an entry to the ledger and return it when it is on disk.

    A last line that a crash cut off was never acknowledged to anybody: it is dropped, and the new
    entry says so.

    Args:
        path: The ledger; it is made if there is none.
        operation: The command.
        outcome: How it stands.
        details: What it is about; never a secret.
        code: The error's stable code, if it did not succeed.

    Raises:
        BastideError: It cannot be written.
        TrustError: What is there is not as it was written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        flags = os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC
        with os.fdopen(os.open(path, flags, 0o600), "r+b", buffering=0) as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            content = file.read() or b""
            whole = content[: content.rfind(b"\n") + 1]
            told = dict(details)
            if len(whole) < len(content):
                file.truncate(len(whole))
                told["repaired"] = DROPPED
            entries = parse(whole, str(path))
            last = entries[-1] if entries else None
            entry = next_entry(last, (clock(), actor()), operation, (outcome, code), told)
            file.write(entry.canonical())
            os.fsync(file.fileno())
        fsync_directory(path.parent)
    except OSError as error:
        raise BastideError(
            f"the ledger {path} cannot be written: {error.strerror}",
            code=UNWRITABLE,
            hint="make room on its disk and the file writable; nothing is done without a record",
        ) from error
    return entry


def read(path: Path) -> tuple[Entry, ...]:
    """Return the ledger's entries, oldest first; none if there is no ledger yet.

    Raises:
        BastideError: It cannot be read.
        TrustError: It is not as it was written.
    """
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return ()
    except OSError as error:
        raise BastideError(
            f"the ledger {path} cannot be read: {error.strerror}",
            code=UNWRITABLE,
            hint="read it as the user that runs Bastide here",
        ) from error
    return parse(content[: content.rfind(b"\n") + 1], str(path))


def clock() -> Clock:
    """Return the present time by this machine's clocks."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        boot = "unknown"
    wall = datetime.now(UTC).isoformat(timespec="seconds")
    return Clock(wall=wall, boot=boot, uptime=round(time.clock_gettime(time.CLOCK_BOOTTIME), 1))


def actor() -> Actor:
    """Return who runs this process."""
    user = os.environ.get("SUDO_USER") or _name_of(os.getuid())
    return Actor(user=user, uid=os.getuid(), machine=os.uname().nodename)


def _name_of(uid: int) -> str:
    """Return a user's name out of /etc/passwd, or its number.

    The system's own look-up may ask other services, over a socket: an import opens none.
    """
    with contextlib.suppress(OSError):
        for line in Path("/etc/passwd").read_text(errors="replace").splitlines():
            fields = line.split(":")
            if len(fields) > 2 and fields[2] == str(uid):
                return fields[0]
    return str(uid)
