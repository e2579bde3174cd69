"""A small network of namespaces whose every link has the same bandwidth, for measurements. As root.

A switch (a bridge in a namespace of its own) and one namespace a machine. Each cable is shaped by
the kernel's token bucket (``tc … tbf``) at both ends: what a machine sends, and what it gets. Its
queue is long, because a packet has up to 64 KB here: a short one loses a handful at a time.
"""

from __future__ import annotations

import ctypes
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

_SWITCH = "fan-out-switch"
_NEWNET = 0x40000000  # CLONE_NEWNET


def address(number: int) -> str:
    """Return the address of a machine; 0 is the control node."""
    return f"10.77.0.{number + 1}"


def namespace(number: int) -> str:
    """Return the name of a machine's namespace."""
    return f"fan-out-{number}"


def enter(name: str) -> None:
    """Put the calling process into a network namespace."""
    descriptor = os.open(f"/run/netns/{name}", os.O_RDONLY)
    try:
        if ctypes.CDLL(None, use_errno=True).setns(descriptor, _NEWNET):
            raise OSError(ctypes.get_errno(), f"cannot enter {name}")
    finally:
        os.close(descriptor)


@contextmanager
def network(machines: int, mbit: int) -> Iterator[None]:
    """Have so many machines, every link at ``mbit`` Mbit/s, while the block lasts."""
    names = [_SWITCH, *(namespace(number) for number in range(machines))]
    made = []
    try:
        for name in names:
            _ip("netns", "add", name)
            made.append(name)
            _ip("-n", name, "link", "set", "lo", "up")
        _ip("-n", _SWITCH, "link", "add", "bridge", "type", "bridge")
        _ip("-n", _SWITCH, "link", "set", "bridge", "up")
        for number in range(machines):
            _plug_in(number, mbit)
        yield
    finally:
        for name in made:
            _ip("netns", "del", name)


def _plug_in(number: int, mbit: int) -> None:
    here, port = namespace(number), f"port{number}"
    _ip("-n", here, "link", "add", "eth0", "type", "veth", "peer", "name", port, "netns", _SWITCH)
    _ip("-n", _SWITCH, "link", "set", port, "master", "bridge", "up")
    _ip("-n", here, "address", "add", f"{address(number)}/24", "dev", "eth0")
    _ip("-n", here, "link", "set", "eth0", "up")
    for name, device in ((here, "eth0"), (_SWITCH, port)):
        shaper = f"tbf rate {mbit}mbit burst 128kb latency 200ms".split()
        _run("ip", "netns", "exec", name, "tc", "qdisc", "add", "dev", device, "root", *shaper)


def _ip(*arguments: str) -> None:
    _run("ip", *arguments)


def _run(*argv: str) -> None:
    subprocess.run(argv, check=True)
