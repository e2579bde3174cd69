"""Let the gateway speak TLS with services before they do: then requests wait, and none is spoilt.

A gateway that speaks TLS with a service that does not yet is refused in the handshake; nothing of a
request has been sent, so that it waits for the service's restart like any held one. The other way
round, a gateway that is told last would send requests in the clear to a service that expects TLS.
"""

from __future__ import annotations

from bastide_host.gateway import HOLD, NotRunningError, servers
from bastide_host.host import JsonObject, Paths
from bastide_host.units import GATEWAY, restart

CONFIGURATION = "etc/haproxy.cfg"


def gateway_ahead(paths: Paths) -> JsonObject:
    """Reload the gateway if services begin to speak TLS with the generation that is live now."""
    coming = to_be_secured(paths)
    if coming:
        restart(paths, [GATEWAY])
    return {"changed": bool(coming), "servers": coming}


def to_be_secured(paths: Paths) -> list[str]:
    """Return the servers that the running gateway asks in the clear, and the live one by TLS."""
    try:
        plain = {(s.backend, s.name) for s in servers(paths) if s.name != HOLD and not s.tls}
    except NotRunningError:
        return []
    return [f"{backend}/{name}" for backend, name in sorted(plain & secured(_text(paths)))]


def secured(configuration: str) -> set[tuple[str, str]]:
    """Return the servers, each with its backend, that a configuration speaks TLS with."""
    found, backend = set(), ""
    for line in configuration.splitlines():
        words = line.split()
        if line[:1].isalpha():
            backend = words[1] if words[0] == "backend" and len(words) > 1 else ""
        elif backend and words[:1] == ["server"] and "ssl" in words[3:]:
            found.add((backend, words[1]))
    return found


def _text(paths: Paths) -> str:
    try:
        return (paths.current / CONFIGURATION).read_text("utf-8")
    except OSError:
        return ""
