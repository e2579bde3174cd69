"""What this machine's own network says; sends nothing."""

from __future__ import annotations

import socket
from ipaddress import ip_address


def source_address(destination: str) -> str | None:
    """Return the address that this machine would use to reach ``destination``; None if no route.

    A UDP socket is connected, which only consults the routing table: no packet leaves.
    """
    family = socket.AF_INET6 if ip_address(destination).version == 6 else socket.AF_INET
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.connect((destination, 9))
            return str(probe.getsockname()[0])
    except OSError:
        return None
