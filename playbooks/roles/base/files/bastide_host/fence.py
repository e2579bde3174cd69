"""The fence before the vector DB's data, and the rest that it brings."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import re
import time
from collections.abc import Iterator

from bastide_host.host import (
    AgentError,
    JsonObject,
    Paths,
    fsync_directory,
    read_json,
    write_atomic,
)
from bastide_host.vectors import RefusedError, VectorDb

QUIET_SECONDS = 300.0
AGAIN = "bastide apply can be repeated; the data is as it was"


def as_json(value: JsonObject) -> bytes:
    """Return JSON for people."""
    return (json.dumps(value, indent=2, sort_keys=True) + "\n").encode()


def now() -> str:
    """Return the host's time, RFC 3339."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())


def raise_fence(paths: Paths, run: str, pass_sha256: str) -> bool:
    """Let the vector DB refuse writes; return whether that, or the pass, is new.

    Args:
        paths: The host's paths.
        run: The run that does it.
        pass_sha256: SHA-256 in hex of the pass by which its own writes get through.
    """
    if not re.fullmatch("[0-9a-f]{64}", pass_sha256):
        raise AgentError("BAS-6070", "the fence's pass is not given as a SHA-256 in hex")
    since = (read_json(paths.fence) or {}).get("since") or now()
    return write_atomic(
        paths.fence, as_json({"since": since, "run": run, "pass_sha256": pass_sha256})
    )


def lift_fence(paths: Paths) -> bool:
    """Let the vector DB take writes again; return whether it had refused them."""
    if not paths.fence.exists():
        return False
    paths.fence.unlink()
    fsync_directory(paths.fence.parent)
    return True


@contextlib.contextmanager
def stopped(paths: Paths) -> Iterator[bool]:
    """Whether the service does not run; if so, it cannot start until the block ends."""
    try:
        handle = os.open(paths.storage / "lock", os.O_RDWR)
    except FileNotFoundError:  # it never ran
        yield True
        return
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        yield False
    else:
        yield True
    finally:
        os.close(handle)


@contextlib.contextmanager
def still(paths: Paths) -> Iterator[VectorDb | None]:
    """Nothing below the storage changes from now on; gives the service, if it runs."""
    deadline = time.monotonic() + QUIET_SECONDS
    while True:
        with stopped(paths) as at_rest:
            if at_rest:
                yield None
                return
        database = VectorDb(paths)
        fault = why_not_quiet(database)
        if not fault:
            yield database
            return
        if time.monotonic() > deadline:
            raise AgentError(
                "BAS-6071",
                f"the vector DB is not quiet after {QUIET_SECONDS:.0f} s: {fault}",
                f"a long write may be under way; {AGAIN}",
            )
        time.sleep(0.1)


def why_not_quiet(database: VectorDb) -> str:
    """Return what still moves, empty if nothing does.

    Raises:
        AgentError: The service knows of no fence.
    """
    try:
        state = database.ask("GET", "/bastide/fence")
    except RefusedError as error:
        if error.status == 404:
            raise AgentError(
                "BAS-6072",
                "the vector DB that runs knows no fence (it is older, or Qdrant's own server)",
                "stop bastide-vectordb.service, then apply again: its data is copied at rest",
            ) from error
        return f"it {error}"
    except (OSError, ValueError) as error:
        return f"it gave no answer: {error}"
    if not state["fenced"]:
        return "it does not see the fence (storage.fence_path)"
    return "" if state["quiet"] else "writes or upkeep are under way"
