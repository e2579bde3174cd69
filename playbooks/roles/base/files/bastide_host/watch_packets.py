"""Packets that should not be: which the kernel hands over, and what they say. Pure.

The filter is a program for the kernel's classic packet filter: it lets through only packets that
leave for an address outside the given networks, and name lookups to anywhere, loopback included.
"""

from __future__ import annotations

import ipaddress
import struct
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Union

WATCH_TABLE = "bastide_watch"  # nftables' table that hands packets over
OUTGOING = 4  # PACKET_OUTGOING
IPV4, IPV6, ARP = 0x0800, 0x86DD, 0x0806
TCP, UDP = 6, 17
NAME_PORTS = (53, 853, 5353, 5355)  # DNS, DNS over TLS, multicast DNS, LLMNR
NAMES = {TCP: "tcp", UDP: "udp", 1: "icmp", 2: "igmp", 58: "icmpv6", 112: "vrrp", 132: "sctp"}

Network = Union[ipaddress.IPv4Network, ipaddress.IPv6Network]  # noqa: UP007 - Python 3.9
_EXTENSIONS = (0, 43, 60)  # IPv6 headers of which the first 8 bytes say how long they are
_LOAD_TYPE, _LOAD_PROTOCOL = 0xFFFFF000 + 4, 0xFFFFF000  # SKF_AD_PKTTYPE, SKF_AD_PROTOCOL
_LDW, _LDH, _LDB, _LDXB, _LDHX = 0x20, 0x28, 0x30, 0xB1, 0x48
_JEQ, _JA, _AND, _RET = 0x15, 0x05, 0x54, 0x06
_ALL = 0x40000


@dataclass(frozen=True)
class Sighting:
    """A packet that was seen.

    Args:
        protocol: Such as ``udp``, or ``arp`` for the question who has an address.
        source: Its sender's address.
        source_port: 0 if the protocol has none.
        target: Its receiver's address; of ARP, the address that is looked for.
        target_port: 0 if the protocol has none.
        lookup: The name that it asks for; empty if it asks for none.
    """

    protocol: str
    source: str
    source_port: int
    target: str
    target_port: int
    lookup: str = ""


class Program:
    """A program for the kernel's packet filter, as it grows."""

    def __init__(self) -> None:
        self.steps: list[tuple[int, int, int, int]] = []

    def step(self, code: int, value: int = 0, yes: int = 0, no: int = 0) -> None:
        """Add an instruction; ``yes`` and ``no`` are how many to skip."""
        self.steps.append((code, yes, no, value))

    def answer(self, *, take: bool) -> None:
        """Add the end of a way."""
        self.step(_RET, _ALL if take else 0)

    def add(self, other: Program) -> None:
        """Add another program's instructions."""
        self.steps += other.steps

    def bytes(self) -> bytes:
        """Return the instructions as the kernel reads them."""
        return b"".join(struct.pack("=HBBI", *step) for step in self.steps)


def wire_filter(networks: Iterable[Network]) -> Program:
    """Return the filter for a packet socket (network headers, no link headers).

    Args:
        networks: The site's own; packets that leave for these are none of our business.
    """
    every = list(networks)
    program = Program()
    program.step(_LDW, _LOAD_TYPE)
    program.step(_JEQ, OUTGOING, 1, 0)
    program.answer(take=False)
    for protocol, block in (
        (IPV4, _block_v4(every)),
        (IPV6, _block_v6(every)),
        (ARP, _members([n for n in every if n.version == 4], 24)),
    ):
        program.step(_LDH, _LOAD_PROTOCOL)
        program.step(_JEQ, protocol, 1, 0)
        program.step(_JA, len(block.steps))
        program.add(block)
    program.answer(take=False)
    return program


def _block_v4(networks: list[Network]) -> Program:
    program = Program()
    program.step(_LDB, 9)
    program.step(_JEQ, TCP, 1, 0)
    program.step(_JEQ, UDP, 0, 2 + 2 * len(NAME_PORTS))
    program.step(_LDXB, 0)  # x: length of the header
    program.step(_LDHX, 2)
    for port in NAME_PORTS:
        program.step(_JEQ, port, 0, 1)
        program.answer(take=True)
    program.add(_members([n for n in networks if n.version == 4], 16))
    return program


def _block_v6(networks: list[Network]) -> Program:
    program = Program()
    program.step(_LDB, 6)
    program.step(_JEQ, TCP, 1, 0)
    program.step(_JEQ, UDP, 0, 1 + 2 * len(NAME_PORTS))
    program.step(_LDH, 42)
    for port in NAME_PORTS:
        program.step(_JEQ, port, 0, 1)
        program.answer(take=True)
    program.add(_members([n for n in networks if n.version == 6], 24))
    return program


def _members(networks: list[Network], offset: int) -> Program:
    """Return a program that refuses addresses in the networks, and takes all others."""
    program = Program()
    for network in networks:
        words = struct.unpack(f">{network.max_prefixlen // 32}I", network.network_address.packed)
        masks = struct.unpack(f">{len(words)}I", network.netmask.packed)
        every = ((n, word, masks[n]) for n, word in enumerate(words))
        wanted = [each for each in every if each[2]]
        for place, (number, word, mask) in enumerate(wanted):
            left = len(wanted) - place - 1
            program.step(_LDW, offset + 4 * number)
            program.step(_AND, mask)
            program.step(_JEQ, word, 0, 3 * left + 1)  # another word: on to the next network
        program.answer(take=False)
    program.answer(take=True)
    return program


def read_packet(protocol: int, packet: bytes) -> Sighting | None:
    """Return what a packet says; None if it is cut off or of another kind.

    Args:
        protocol: Its EtherType.
        packet: From the network header on.
    """
    try:
        if protocol == ARP:
            source, target = packet[14:18], packet[24:28]
            return Sighting("arp", str(_address(source)), 0, str(_address(target)), 0)
        if protocol == IPV4:
            length = (packet[0] & 15) * 4
            first = (
                struct.unpack(">H", packet[6:8])[0] & 0x1FFF == 0
            )  # later fragments have no ports
            return _read(packet[9], packet[12:16], packet[16:20], packet[length:] if first else b"")
        if protocol == IPV6:
            kind, rest = packet[6], packet[40:]
            while kind in _EXTENSIONS:
                kind, rest = rest[0], rest[8 + 8 * rest[1] :]
            return _read(kind, packet[8:24], packet[24:40], rest)
    except (IndexError, ValueError, struct.error):
        pass
    return None


def _address(packed: bytes) -> object:
    return ipaddress.ip_address(packed)


def _read(kind: int, source: bytes, target: bytes, rest: bytes) -> Sighting:
    ports, lookup = (0, 0), ""
    if kind in (TCP, UDP) and len(rest) >= 4:
        ports = struct.unpack(">HH", rest[:4])
        if kind == UDP and ports[1] in NAME_PORTS:
            lookup = asked_name(rest[8:])
        elif kind == TCP and ports[1] == NAME_PORTS[0] and len(rest) > 13:
            lookup = asked_name(rest[(rest[12] >> 4) * 4 + 2 :])
    name = NAMES.get(kind, f"protocol {kind}")
    return Sighting(name, str(_address(source)), ports[0], str(_address(target)), ports[1], lookup)


def asked_name(message: bytes) -> str:
    """Return the first name that a DNS message asks for; empty if it asks for none."""
    if len(message) < 17 or message[2] & 0x80 or message[4:6] == b"\0\0":
        return ""
    labels, place = [], 12
    while place < len(message) and 0 < message[place] < 64:
        labels.append(message[place + 1 : place + 1 + message[place]])
        place += 1 + message[place]
    text = b".".join(labels).decode("ascii", "replace")
    return "".join(c if c.isprintable() and c not in "\"'<>&\\" else "?" for c in text)[:255]


# --- packets that nftables' rules hand over, before any filter of the host -------------------
def read_log(message: bytes) -> tuple[int, bytes, int] | None:
    """Return EtherType, packet and user of a netlink message of the log; None if it is another.

    The user is -1 if nobody's socket sent it.
    """
    if len(message) < 20 or struct.unpack("=H", message[4:6])[0] != 0x0400:
        return None
    found = {}
    place = 20
    while place + 4 <= len(message):
        length, kind = struct.unpack("=HH", message[place : place + 4])
        if length < 4:
            break
        found[kind & 0x7FFF] = message[place + 4 : place + length]
        place += (length + 3) & ~3
    if 1 not in found or 9 not in found:  # NFULA_PACKET_HDR, NFULA_PAYLOAD
        return None
    protocol = struct.unpack(">H", found[1][:2])[0]
    user = struct.unpack(">I", found[11])[0] if 11 in found else -1
    return protocol, found[9], user


def log_orders(group: int) -> list[bytes]:
    """Return the netlink messages that have a group's packets sent to the socket that says so."""
    bind = struct.pack("=HHB3x", 5, 1, 1)  # NFULA_CFG_CMD: NFULNL_CFG_CMD_BIND
    copy = struct.pack("=HH", 10, 2) + struct.pack(">IBB2x", 512, 2, 0)[:6] + b"\0\0"
    at_once = struct.pack("=HH", 8, 5) + struct.pack(">I", 1)  # NFULA_CFG_QTHRESH
    orders = []
    for attributes in (bind, copy, at_once):
        body = struct.pack(">BBH", 0, 0, group) + attributes
        orders.append(struct.pack("=IHHII", 16 + len(body), 0x0401, 0x5, 0, 0) + body)
    return orders


def log_rules(networks: Iterable[Network], group: int) -> str:
    """Return the command, on one line, that makes nftables hand such packets over.

    The table belongs to the nft process that makes it and is gone with that.
    """
    every = list(networks)
    names = ", ".join(map(str, NAME_PORTS))
    steps = [
        f"udp dport {{ {names} }} log group {group} snaplen 512",
        f"tcp dport {{ {names} }} log group {group} snaplen 512",
        f"meta l4proto {{ tcp, udp }} th dport {{ {names} }} return",
        "oif lo return",
    ]
    for version, family in ((4, "ip"), (6, "ip6")):
        own = ", ".join(str(n) for n in every if n.version == version)
        steps += [f"{family} daddr {{ {own} }} return"] if own else []
    steps.append(f"log group {group} snaplen 512")
    chain = "type filter hook output priority -400 ; policy accept ; " + " ; ".join(steps)
    return f"table inet {WATCH_TABLE} {{ flags owner ; chain outgoing {{ {chain} ; }} ; }}"
