"""Take a host's servers out of the gateway's rotation and back, without losing a request.

A server that is *drained* gets no new requests and finishes those that it has. If another server of
the backend is up, new requests go there. If it is the only one they are *held*: the backend's
``_hold`` server takes them, at an address where nobody listens; a refused connection has carried
nothing, so the gateway tries again every second until a server is back.
"""

from __future__ import annotations

import time
from collections.abc import Sequence

from bastide_host.gateway import HOLD, NotRunningError, Server, order, servers, wait_until
from bastide_host.host import AgentError, JsonObject, Paths

_NOT_RUNNING: JsonObject = {"changed": False, "gateway": "not running", "backends": {}}


def rotate_out(paths: Paths, server: str, backends: Sequence[str], seconds: float) -> JsonObject:
    """Stop new requests to a host's servers; wait until they have finished those under way.

    Args:
        paths: The host's paths; it is the gateway's.
        server: The host's name.
        backends: Which of its services.
        seconds: How long to wait. Requests that need longer are ``left``: stopping cuts them.
    """
    try:
        found = servers(paths)
        ways = {backend: _way(found, backend, server) for backend in backends}
        chosen = [b for b, way in ways.items() if way in {"drain", "hold"}]
        started = time.monotonic()
        changed = [b for b in chosen if not _one(found, b, server).out]
        for backend in chosen:
            order(paths, f"set server {backend}/{server} state drain")
        wait_until(lambda: not any(_left(paths, chosen, server).values()), seconds)
        left = _left(paths, chosen, server)
    except NotRunningError:
        return dict(_NOT_RUNNING)
    waited = round(time.monotonic() - started, 2)
    result = {b: {"way": way, "left": left.get(b, 0)} for b, way in ways.items()}
    return {
        "changed": bool(changed),
        "gateway": "running",
        "server": server,
        "backends": result,
        "left": sum(left.values()),
        "seconds": waited,
    }


def rotate_in(paths: Paths, server: str, backends: Sequence[str], seconds: float) -> JsonObject:
    """Give a host's servers requests again; wait until the gateway's own checks find them up.

    Args:
        paths: The host's paths; it is the gateway's.
        server: The host's name.
        backends: Which of its services.
        seconds: How long to wait.

    Raises:
        AgentError: One is not up in time.
    """
    try:
        found = servers(paths)
        chosen = [b for b in backends if _one(found, b, server).status != "absent"]
        changed = _ready(paths, [_one(found, b, server) for b in chosen])
        started = time.monotonic()
        wait_until(lambda: not _down(paths, chosen, server), seconds)
        down = _down(paths, chosen, server)
    except NotRunningError:
        return dict(_NOT_RUNNING)
    if down:
        raise AgentError(
            "BAS-6081",
            f"{server} is not up for the gateway after {seconds:.0f} s: {', '.join(down)}",
            f"see the services' journals on {server}, and that the gateway's host can reach it",
        )
    return {
        "changed": changed,
        "gateway": "running",
        "server": server,
        "backends": {b: {"way": "in" if b in chosen else "absent"} for b in backends},
        "seconds": round(time.monotonic() - started, 2),
    }


def release(paths: Paths, seconds: float) -> list[str]:
    """Give requests again to every drained server, and wait a while until they are up.

    A reload hands clients' waiting requests to no one: they stay with the old process, which no
    later command reaches. So nothing may be held while it happens.
    """
    drained = [each for each in servers(paths) if each.out and each.name != HOLD]
    _ready(paths, drained)
    names = {(each.backend, each.name) for each in drained}

    def all_up() -> bool:
        now = [each for each in servers(paths) if (each.backend, each.name) in names]
        return all(each.takes_requests for each in now)

    wait_until(all_up, seconds)
    return sorted(f"{backend}/{name}" for backend, name in names)


def _one(found: Sequence[Server], backend: str, server: str) -> Server:
    for each in found:
        if (each.backend, each.name) == (backend, server):
            return each
    return Server(backend, server, "absent", 0, 0)


def _way(found: Sequence[Server], backend: str, server: str) -> str:
    """Return how to take a server out: ``drain``, ``hold``, ``none``, or it is ``absent``."""
    if _one(found, backend, server).status == "absent":
        return "absent"
    others = [each for each in found if each.backend == backend and each.name != server]
    if any(each.takes_requests for each in others if each.name != HOLD):
        return "drain"
    # A gateway of an earlier release has nowhere to hold requests: draining would refuse them.
    return "hold" if any(each.name == HOLD for each in others) else "none"


def _left(paths: Paths, backends: Sequence[str], server: str) -> dict[str, int]:
    """Return the requests under way of each server that is still out of rotation."""
    found = servers(paths)
    rows = [_one(found, backend, server) for backend in backends]
    return {each.backend: each.busy for each in rows if each.out}


def _down(paths: Paths, backends: Sequence[str], server: str) -> list[str]:
    found = servers(paths)
    rows = [_one(found, backend, server) for backend in backends]
    return [f"{r.backend} ({r.status})" for r in rows if not r.takes_requests]


def _ready(paths: Paths, rows: Sequence[Server]) -> bool:
    for each in rows:
        order(paths, f"set server {each.backend}/{each.name} state ready")
    return any(each.out for each in rows)
