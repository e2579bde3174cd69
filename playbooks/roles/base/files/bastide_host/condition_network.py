"""Addresses and ways to others; connects to the site's own machines and sends them nothing."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import socket
import struct
from concurrent.futures import ThreadPoolExecutor

from bastide_host.condition_floating import floating_state
from bastide_host.host import JsonObject

SECONDS = 3.0  # a host of the same site answers in milliseconds, or never
_GET_ADDRESS = 0x8915  # SIOCGIFADDR
_GET_MTU = 0x8921  # SIOCGIFMTU
_LIMIT = 64


def network_state(asked: JsonObject) -> JsonObject:
    """Return whether the host has its address, and what it reaches.

    Args:
        asked: ``address``, ``depot``, ``peers`` and ``floating``, as for ``condition``.
    """
    address = str(asked.get("address", ""))
    with ThreadPoolExecutor(16) as pool:
        depot = pool.submit(_greeting, asked.get("depot"))
        floating = pool.submit(floating_state, asked.get("floating"))
        peers = pool.map(_reach, [tuple(each) for each in asked.get("peers", ())])
        found = {f"{peer[0]} port {peer[1]}": how for peer, how in peers}
    return {
        "has_address": _has(address) if address else None,
        "mtu": _mtu(address),
        "depot_greeting": depot.result(),
        "peers": found,
        "floating": floating.result(),
    }


def _has(address: str) -> bool:
    """Return whether ``address`` is on an interface of this host."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as probe:
        try:
            probe.bind((address, 0))
        except OSError as error:
            return error.errno != errno.EADDRNOTAVAIL
    return True


def _mtu(address: str) -> int | None:
    """Return the MTU of the interface that has an IPv4 address."""
    for _, name in socket.if_nameindex():
        with contextlib.suppress(OSError), socket.socket(socket.AF_INET) as probe:
            request = struct.pack("256s", name.encode()[:15])
            reply = fcntl.ioctl(probe, _GET_ADDRESS, request)
            if socket.inet_ntoa(reply[20:24]) == address:
                reply = fcntl.ioctl(probe, _GET_MTU, request)
                return int(struct.unpack("16si236x", reply)[1])
    return None


def _greeting(depot: list[object] | None) -> str:
    """Return what the control node says on the depot's port, or ``!`` and why it said nothing."""
    if not depot:
        return ""
    try:
        with socket.create_connection((str(depot[0]), int(str(depot[1]))), SECONDS) as line:
            said = b""
            while len(said) < _LIMIT and (part := line.recv(_LIMIT - len(said))):
                said += part
            return said.decode("ascii", "replace")
    except OSError as error:
        return f"!{_words(error)}"


def _reach(peer: tuple[str, int]) -> tuple[tuple[str, int], str]:
    """Return an empty text if a peer's machine answers, be it that the port is closed."""
    try:
        socket.create_connection(peer, SECONDS).close()
    except ConnectionRefusedError:
        return peer, ""
    except OSError as error:
        return peer, _words(error)
    return peer, ""


def _words(error: OSError) -> str:
    silent = isinstance(error, (TimeoutError, socket.timeout))
    return f"no answer in {SECONDS:.0f} s" if silent else error.strerror or str(error)
