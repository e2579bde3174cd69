"""Who else has the gateways' floating address, or VRRP's number of it. Sends ARP questions only.

The questions are those of RFC 5227: they say nothing of who asks, so that nobody's table of
neighbours changes. What others say by VRRP is only listened to.
"""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import select
import socket
import struct
import time

from bastide_host.host import JsonObject
from bastide_host.watch_packets import ARP, IPV4, Program

ARP_SECONDS = 0.7  # a neighbour answers in milliseconds; asked twice
VRRP_SECONDS = 1.6  # who holds an address says so once a second
_GET_ADDRESS = 0x8915  # SIOCGIFADDR
_VRRP = 112
_ATTACH_FILTER = 26  # SO_ATTACH_FILTER
_LINK_HEADER, _ARP_SIZE, _IP_SIZE, _VRRP_SIZE = 14, 28, 20, 2


def floating_state(asked: JsonObject | None) -> JsonObject:
    """Return who answers for the floating address and for the gateways, and whose VRRP is heard.

    Args:
        asked: ``address`` (the floating one), ``here`` (this host's own) and ``gateways``
            (addresses of all gateways, those that leave the site too); None if there is none.

    Returns:
        ``claimed_by`` (hardware addresses of others that have the floating address and are no
        gateway), ``vrrp`` (``ADDRESS number N`` of senders that are no gateway). Both are empty
        for IPv6, which is not looked at.
    """
    nothing: JsonObject = {"claimed_by": [], "vrrp": []}
    if not asked or ":" in str(asked["address"]):
        return nothing
    interface = _interface_of(str(asked["here"]))
    if not interface:
        return nothing
    gateways = {str(each) for each in asked["gateways"]}
    try:
        claimed = _owners(interface, str(asked["address"]))
        # Gateways may hold it: only if somebody does are they asked for, to tell them apart.
        known = {mac for each in gateways if claimed for mac in _owners(interface, each)}
        heard = _senders(interface)
    except PermissionError:
        return nothing
    strangers = sorted((source, number) for source, number in heard if source not in gateways)
    return {
        "claimed_by": sorted(claimed - known),
        "vrrp": [f"{source} number {number}" for source, number in strangers],
    }


def _interface_of(address: str) -> str:
    """Return the name of the interface that has an IPv4 address; empty if none has."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        for _, name in socket.if_nameindex():
            with contextlib.suppress(OSError):
                reply = fcntl.ioctl(probe, _GET_ADDRESS, struct.pack("256s", name.encode()[:15]))
                if socket.inet_ntoa(reply[20:24]) == address:
                    return name
    return ""


def _owners(interface: str, address: str) -> set[str]:
    """Return the hardware addresses of all others that answer for an IPv4 address."""
    found: set[str] = set()
    target = socket.inet_aton(address)
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ARP)) as line:
        line.bind((interface, ARP))
        own = line.getsockname()[4]  # not from /sys, which may be another name space's
        if len(own) != 6:
            return found
        question = b"".join((
            b"\xff" * 6, own, struct.pack("!H", ARP),
            struct.pack("!HHBBH", 1, IPV4, 6, 4, 1), own, bytes(4), bytes(6), target,
        ))  # fmt: skip
        for _ in range(2):
            line.send(question)
            for frame in _frames(line, ARP_SECONDS / 2):
                answer = frame[_LINK_HEADER:][:_ARP_SIZE]
                if len(answer) == _ARP_SIZE and answer[6:8] == b"\0\2" and answer[14:18] == target:
                    found.add(answer[8:14].hex(":"))
    return found


def _senders(interface: str) -> set[tuple[str, int]]:
    """Return address and VRRP number of everybody else who is heard to hold an address."""
    found: set[tuple[str, int]] = set()
    with socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(IPV4)) as line:
        _only_vrrp(line)
        line.bind((interface, IPV4))
        for packet in _frames(line, VRRP_SECONDS):
            size = (packet[0] & 15) * 4 if packet else 0
            if len(packet) >= max(size, _IP_SIZE) + _VRRP_SIZE and packet[9] == _VRRP:
                found.add((socket.inet_ntoa(packet[12:16]), packet[size + 1]))
    return found


def _only_vrrp(line: socket.socket) -> None:
    """Let the kernel hand over no other packets: a busy gateway has many."""
    program = Program()
    program.step(0x30, 9)  # the byte at 9: the protocol
    program.step(0x15, _VRRP, 0, 1)
    program.answer(take=True)
    program.answer(take=False)
    buffer = ctypes.create_string_buffer(program.bytes())
    described = struct.pack("HP", len(program.steps), ctypes.addressof(buffer))
    line.setsockopt(socket.SOL_SOCKET, _ATTACH_FILTER, described)


def _frames(line: socket.socket, seconds: float) -> list[bytes]:
    """Return what others send within a time."""
    found, deadline = [], time.monotonic() + seconds
    while (left := deadline - time.monotonic()) > 0:
        if not select.select([line], [], [], left)[0]:
            break
        data, sender = line.recvfrom(2048)
        if sender[2] != socket.PACKET_OUTGOING:
            found.append(data)
    return found
