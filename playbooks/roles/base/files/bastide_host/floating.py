"""Send the gateways' floating address to another host before this one's gateway stops.

A program of the unit bastide-keepalived looks for the file ``away`` once a second, and lets
keepalived give the address up while it is there, by the file ``health``. Connections to it are cut
when it moves, and only then: those to a host's own address are not.
"""

from __future__ import annotations

import contextlib
import socket
import urllib.parse
from collections.abc import Iterator

from bastide_host.facts import unit_states
from bastide_host.gateway import NotRunningError, cut, wait_until
from bastide_host.host import Paths, read_json, text_of, write_atomic

UNIT = "bastide-keepalived.service"
_MOVE_SECONDS = 15.0
_CONNECT_SECONDS = 2.0


def floating(paths: Paths) -> tuple[str, int] | None:
    """Return floating address and port of the live generation; None if it has none."""
    services = (read_json(paths.current / "etc/host.json") or {}).get("services", {})
    if UNIT not in services:
        return None
    url = urllib.parse.urlsplit(services[UNIT])
    return url.hostname or "", url.port or 443


def is_here(address: str) -> bool:
    """Return whether this host has an address now: only then can a socket be bound to it."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as probe:
        try:
            probe.bind((address, 0))
        except OSError:
            return False
    return True


@contextlib.contextmanager
def elsewhere(paths: Paths) -> Iterator[bool]:
    """Keep the floating address away from this host for the block, if another one takes it.

    Yields whether another host has it. If no other gateway answers, nothing is done and what is
    under way may end here; if none takes it in time, it stays: an address that nobody holds helps
    nobody.
    """
    place = floating(paths)
    away = paths.at("/run/bastide-keepalived/away")
    if place is None or unit_states(paths).get(UNIT) != "active" or not away.parent.is_dir():
        yield False
        return
    if not any(_taken((other, place[1])) for other in _others(paths)):
        yield False
        return
    try:
        away.touch()
        away.chmod(0o644)
        _let_go(paths, place[0])
        moved = wait_until(lambda: not is_here(place[0]) and _taken(place), _MOVE_SECONDS)
        if not moved:
            away.unlink(missing_ok=True)
        yield moved
    finally:
        away.unlink(missing_ok=True)


def _others(paths: Paths) -> list[str]:
    """Return the other gateways' own addresses, as this host's keepalived knows them."""
    text = text_of(paths.current / "etc/keepalived.conf")
    return text.partition("unicast_peer {")[2].partition("}")[0].split()


def _let_go(paths: Paths, address: str) -> None:
    """End what is under way at the address, and let keepalived give it up in the same moment.

    What begins in between would get no answer, and not know.
    """
    with contextlib.suppress(NotRunningError):
        cut(paths, address)
    write_atomic(paths.at("/run/bastide-keepalived/health"), b"1\n")


def _taken(place: tuple[str, int]) -> bool:
    try:
        socket.create_connection(place, _CONNECT_SECONDS).close()
    except OSError:
        return False
    return True
