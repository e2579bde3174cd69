"""Take a host's servers out of the gateway's rotation and back, without losing a request.

A server that is *drained* gets no new requests and finishes those that it has. If another server of
the backend is up, new requests go there. If it is the only one they are *held*: the backend's
``_hold`` server takes them, at an address where nobody listens; a refused connection has carried
nothing, so the gateway tries again every second until a server is back.
"""

from __future__ import annotations

import contextlib
import socket
import ssl
import time
from collections.abc import Iterator, Mapping, Sequence

from bastide_host.gateway import HOLD, NotRunningError, Server, move, order, servers, wait_until
from bastide_host.host import AgentError, JsonObject, Paths

TLS = " tls"
_PROBE_SECONDS = 3.0
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


def rotate_in(
    paths: Paths,
    server: str,
    backends: Sequence[str],
    seconds: float,
    ports: Mapping[str, int | str] | None = None,
) -> JsonObject:
    """Give servers requests again; wait until the gateway's own checks find them up.

    One that listens elsewhere than before is looked for there from now on. If the gateway cannot
    do that it stays out: the gateway's new configuration, which comes after it, finds it.

    Args:
        paths: The host's paths; it is the gateway's.
        server: A host's name; every server that is out of rotation if it is empty.
        backends: Which of its services; all of them if there is none.
        seconds: How long to wait.
        ports: Where the services listen now, by backend: a port, ``address port``, or that with
            `` tls`` behind it.

    Raises:
        AgentError: One is not up in time.
    """
    try:
        found = [each for each in servers(paths) if each.name != HOLD]
        if server:
            chosen = [
                e for e in found if e.name == server and (not backends or e.backend in backends)
            ]
        else:
            chosen = [each for each in found if each.out]
        moved = [each for each in chosen if not _is_found(paths, each, ports or {})]
        chosen = [each for each in chosen if each not in moved]
        started = time.monotonic()
        for each in chosen:
            order(paths, f"set server {each.backend}/{each.name} state ready")
        wait_until(lambda: not _down(paths, chosen), seconds)
        down = _down(paths, chosen)
    except NotRunningError:
        return dict(_NOT_RUNNING)
    if down:
        raise AgentError(
            "BAS-6081",
            f"not up for the gateway after {seconds:.0f} s: {', '.join(down)}",
            "see the services' journals there, and that the gateway's host can reach them",
        )
    ways = {backend: {"way": "absent"} for backend in backends}
    ways.update({each.backend: {"way": "moved"} for each in moved})
    return {
        "changed": any(each.out for each in chosen),
        "gateway": "running",
        "server": server,
        "backends": {**ways, **{each.backend: {"way": "in"} for each in chosen}},
        "seconds": round(time.monotonic() - started, 2),
    }


def _is_found(paths: Paths, server: Server, places: Mapping[str, int | str]) -> bool:
    """Return whether the gateway looks for a server where it is, now at the latest."""
    place = places.get(server.backend)
    if place is None or not server.port:
        return True
    *where, port = str(place).removesuffix(TLS).split()
    address = where[0] if where else ""
    if where and str(place).endswith(TLS) is not server.tls:
        return False  # only the gateway's new configuration speaks as it does now
    if (address or server.address, int(port)) == (server.address, server.port):
        return True
    return move(paths, server, address, int(port))


def out_of_rotation(paths: Paths) -> list[Server]:
    """Return the servers that somebody took out of rotation; none if no gateway runs here."""
    try:
        return [each for each in servers(paths) if each.out and each.name != HOLD]
    except NotRunningError:
        return []


@contextlib.contextmanager
def through_a_reload(paths: Paths, seconds: float) -> Iterator[None]:
    """Keep what is out of rotation out of it while the gateway is reloaded.

    A new process begins with every server in rotation. The old one keeps the requests that it
    holds, and no later command reaches it: a server without a stand-in is given requests again
    before the reload, whoever took it out. Not so one that has begun to speak TLS, or ceased to:
    the old process would spoil each request with it, so what waits for it gets a 503 in the end.
    """
    found = servers(paths)
    out = [each for each in found if each.out and each.name != HOLD]
    held = [each for each in out if _way(found, each.backend, each.name) != "drain"]
    able = [each for each in held if understands(each)]
    for each in able:
        order(paths, f"set server {each.backend}/{each.name} state ready")
    wait_until(lambda: not _down(paths, able), seconds)
    yield
    now = {(each.backend, each.name) for each in servers(paths)}
    for each in out:
        if each not in held and (each.backend, each.name) in now:
            order(paths, f"set server {each.backend}/{each.name} state drain")


def understands(server: Server) -> bool:
    """Return whether a server answers in the way in which the running gateway speaks to it."""
    if not server.port:
        return True
    try:
        with socket.create_connection((server.address, server.port), _PROBE_SECONDS) as line:
            if not server.tls:
                line.sendall(b"GET /healthz HTTP/1.0\r\n\r\n")
                return line.recv(5) == b"HTTP/"
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
            context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
            with context.wrap_socket(line):
                return True
    except OSError:
        return False


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


def _down(paths: Paths, chosen: Sequence[Server]) -> list[str]:
    """Return those of the chosen servers that get no requests now."""
    names = {(each.backend, each.name) for each in chosen}
    found = [each for each in servers(paths) if (each.backend, each.name) in names]
    return [f"{e.backend}/{e.name} ({e.status})" for e in found if not e.takes_requests]
