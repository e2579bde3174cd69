"""Clients' keys on a gateway: kept for its next start, and put into the running one.

Every process of the gateway is told, also those that only finish what they have begun before a
reload: a client that keeps its connection may have its next request there. All entries change in
one moment, and no connection is closed.
"""

from __future__ import annotations

import contextlib
import os
import re
from pathlib import Path

from bastide_host.gateway import NotRunningError, ask, order, wait_until
from bastide_host.host import AgentError, JsonObject, Paths, write_atomic

KEPT = "/etc/bastide/secrets/gateway-keys.map"
RUNNING = "/run/bastide-gateway/gateway-keys.map"
MASTER = "/run/bastide-gateway/master.sock"
_LINE = re.compile(r"[0-9a-f]{64} [a-z0-9._-]{1,64}:[a-z]+:[0-9]+(:([0-9]+|-)){4}")
_AT_ONCE = 50  # lines of at most 200 bytes: a command must fit into HAProxy's buffer of 32 KiB
_RELOAD_SECONDS = 10.0
# A process that ends while it is spoken to needs no keys any more.
_GONE = "Can't find the target"


def set_keys(paths: Paths, given: JsonObject) -> JsonObject:
    """Keep the keys and let the running gateway know them.

    Args:
        paths: The host's paths; it is a gateway's.
        given: ``keys``: the whole map, a line each; digests, no keys.

    Raises:
        AgentError: It is no such map, this host is no gateway, or the gateway refuses it.
    """
    text = str(given.get("keys", ""))
    if not text.strip() or not all(_LINE.fullmatch(line) for line in text.splitlines()):
        raise AgentError("BAS-6101", "what came is no map of keys", "report this: it is a bug")
    if not paths.secrets.is_dir():
        raise AgentError(
            "BAS-6102", "this host has not been installed yet", "bastide apply brings the keys"
        )
    changed = write_atomic(paths.at(KEPT), text.encode(), 0o600)
    state = make_known(paths, text)
    return {"changed": changed, "state": state, "keys": len(text.splitlines())}


def make_known(paths: Paths, text: str) -> str:
    """Let the running gateway know all keys; return ``live``, ``stopped`` or ``older``.

    A gateway of an earlier release (``older``) learns of them when it is started anew.
    """
    running = paths.at(RUNNING)
    if not running.exists():
        return "older" if paths.at("/run/bastide-gateway/admin.sock").exists() else "stopped"
    _replace(running, text)
    workers: list[str] = []

    def found() -> bool:
        """Whether the master answers; while it reloads it does not, and may have read old keys."""
        with contextlib.suppress(NotRunningError):
            workers.extend(_workers(paths))
        return bool(workers)

    wait_until(found, _RELOAD_SECONDS)
    for worker in workers:
        _tell(paths, worker, str(running), text)
    return "live" if workers else "stopped"


def _replace(running: Path, text: str) -> None:
    """Write the file that a reload reads, for the user that the gateway runs as."""
    owner = running.parent.stat()
    write_atomic(running, text.encode(), 0o400)
    os.chown(running, owner.st_uid, owner.st_gid)


def _workers(paths: Paths) -> list[str]:
    """Return the process ids of all workers, old ones too."""
    lines = ask(paths, "show proc", MASTER).splitlines()
    rows = [line.split() for line in lines if line[:1].isdigit()]
    return [row[0] for row in rows if row[1] == "worker"]


def _tell(paths: Paths, worker: str, name: str, text: str) -> None:
    """Exchange all entries of one worker's map at once."""
    answer = ask(paths, f"@!{worker} prepare map {name}", MASTER)
    version = re.search(r"New version created: (\d+)", answer)
    if version is None:
        if answer.startswith(_GONE):
            return
        raise AgentError(
            "BAS-6103",
            f"the gateway's process {worker} does not take keys: {answer or 'no answer'}",
            "the keys are kept: systemctl restart bastide-gateway there lets it read them",
        )
    number = version[1]
    lines = text.splitlines(keepends=True)
    for first in range(0, len(lines), _AT_ONCE):
        some = "".join(lines[first : first + _AT_ONCE])
        order(paths, f"@!{worker} add map @{number} {name} <<\n{some}", MASTER)
    order(paths, f"@!{worker} commit map @{number} {name}", MASTER)
