"""The recorder: sees what leaves a host and what tries to, and writes down who it was.

It has two eyes. The *wire* is a packet socket: what has left, past every filter. The *log* is a
table of nftables in front of every filter: what a program wanted to send, refused or not. The wire
needs nothing; the log opens as soon as nft is there. docs/adr/0022
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import ipaddress
import json
import os
import select
import signal
import socket
import struct
import subprocess
import time
from pathlib import Path

from bastide_host.host import JsonObject, write_atomic
from bastide_host.watch_owner import owner, user_name
from bastide_host.watch_packets import (
    Network,
    Sighting,
    log_orders,
    log_rules,
    read_log,
    read_packet,
    wire_filter,
)

GROUP = 7060
NFT = "/usr/sbin/nft"
MOST_EVENTS = 2000  # different ones; of more, only the number is kept
MOST_SAMPLES = 16  # ports and processes that are kept of one event
LOOKS_A_SECOND = 50  # at processes: each walks through all of /proc
WRITE_SECONDS = 0.3
RETRY_SECONDS = 2.0
_BUFFER = 8 << 20
_SOL_PACKET, _STATISTICS, _ATTACH_FILTER, _RCVBUFFORCE = 263, 6, 26, 33


class Wire:
    """What has left: a packet socket on all interfaces, with a filter in the kernel."""

    def __init__(self, networks: list[Network]) -> None:
        self.socket = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(3))
        self.socket.setblocking(False)  # noqa: FBT003 - socket's own
        program = wire_filter(networks)
        self._code = ctypes.create_string_buffer(program.bytes())
        bound = struct.pack("HP", len(program.steps), ctypes.addressof(self._code))
        self.socket.setsockopt(socket.SOL_SOCKET, _RCVBUFFORCE, _BUFFER)
        self.socket.setsockopt(socket.SOL_SOCKET, _ATTACH_FILTER, bound)
        while self.read() is not None:  # what came before the filter was there
            pass
        self.since = time.time()
        self.lost = 0
        self.socket.getsockopt(_SOL_PACKET, _STATISTICS, 8)

    def read(self) -> tuple[Sighting | None, int] | None:
        """Return the next packet; None if there is none."""
        try:
            packet, sender = self.socket.recvfrom(2048)
        except BlockingIOError:
            return None
        return read_packet(sender[1], packet), -1

    def count_lost(self) -> int:
        """Return how many packets the kernel could not hand over since the start."""
        self.lost += struct.unpack("II", self.socket.getsockopt(_SOL_PACKET, _STATISTICS, 8))[1]
        return self.lost


class Log:
    """What wants to leave: packets that a table of nftables hands over."""

    def __init__(self, networks: list[Network]) -> None:
        self._rules = log_rules(networks, GROUP)
        self._nft: subprocess.Popen[bytes] | None = None
        self.socket: socket.socket | None = None
        self.since = 0.0
        self.lost = 0
        self.closed = 0  # how often it had to be opened anew

    def open(self) -> None:
        """Open it if it is not open and nft is there."""
        if self._nft and self._nft.poll() is None:
            return
        if self.socket:
            self.socket.close()
            self.socket, self.closed = None, self.closed + 1
        if not Path(NFT).exists():
            return
        with contextlib.suppress(OSError):
            self._nft = subprocess.Popen([NFT, "-i"], stdin=subprocess.PIPE)
            assert self._nft.stdin  # noqa: S101 - for types
            self._nft.stdin.write(f"{self._rules}\n".encode())
            self._nft.stdin.flush()
            netlink = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 12)
            netlink.setsockopt(socket.SOL_SOCKET, _RCVBUFFORCE, _BUFFER)
            netlink.bind((0, 0))
            for order in log_orders(GROUP):
                netlink.send(order)
            netlink.setblocking(False)  # noqa: FBT003 - socket's own
            self.socket = netlink
            self.since = self.since or time.time()

    def read(self) -> list[tuple[Sighting | None, int]] | None:
        """Return the packets of the next message; None if there is none."""
        try:
            data = self.socket.recv(1 << 16) if self.socket else b""
        except OSError as error:
            if error.errno == errno.ENOBUFS:
                self.lost += 1
                return []
            return None
        found: list[tuple[Sighting | None, int]] = []
        while len(data) >= 16:
            length = max(struct.unpack("=I", data[:4])[0], 16)
            logged = read_log(data[:length])
            if logged:
                found.append((read_packet(logged[0], logged[1]), logged[2]))
            data = data[(length + 3) & ~3 :]
        return found or None

    def close(self) -> None:
        """Take the table away."""
        if self._nft:
            self._nft.terminate()
            self._nft.wait(10)


class Recorder:
    """Writes down what both eyes see, in bounded room.

    Args:
        folder: Where its record is written.
        networks: The site's own, for this host.
    """

    def __init__(self, folder: Path, networks: list[str]) -> None:
        self._folder = folder
        self._networks: list[Network] = [ipaddress.ip_network(each) for each in networks]
        self._events: dict[tuple[object, ...], JsonObject] = {}
        self._overflow = 0
        self._looks: list[float] = []
        self._wire, self._log = Wire(self._networks), Log(self._networks)
        self._changed, self._ended = True, False
        self._started = time.time()

    def run(self) -> None:
        """Record until the process is asked to end."""
        for each in (signal.SIGTERM, signal.SIGINT):
            signal.signal(each, lambda *_: self._end())
        written = opened = 0.0
        while not self._ended:
            if time.monotonic() - opened > RETRY_SECONDS:
                self._log.open()
                opened = time.monotonic()
            self._look()
            if time.monotonic() - written > WRITE_SECONDS:
                self._write()
                written = time.monotonic()
        self._look()
        self._write()
        self._log.close()

    def _end(self) -> None:
        self._ended = True

    def _look(self) -> None:
        sockets = [s for s in (self._wire.socket, self._log.socket) if s]
        with contextlib.suppress(InterruptedError):
            select.select(sockets, [], [], WRITE_SECONDS)
        while (messages := self._log.read()) is not None:  # first: its sender may still be there
            for sighting, user in messages:
                self._take(sighting, user, "log")
        while (packet := self._wire.read()) is not None:
            self._take(*packet, "wire")

    def _take(self, sighting: Sighting | None, user: int, eye: str) -> None:
        if sighting is None:
            return
        found = self._owner(sighting, user)
        who = tuple(found.get(key) for key in ("process", "unit", "user"))
        kind = (sighting.protocol, sighting.target, sighting.target_port, sighting.lookup)
        event = self._events.get((kind, who))
        if event is None:
            if len(self._events) >= MOST_EVENTS:
                self._overflow += 1
                return
            event = self._events[(kind, who)] = {
                "protocol": sighting.protocol, "target": sighting.target,
                "port": sighting.target_port, "lookup": sighting.lookup,
                "inside": self._inside(sighting.target), **found,
                "first": time.time(), "wire": 0, "log": 0, "ports": [], "pids": [],
            }  # fmt: skip
        event[eye] += 1
        event["last"] = time.time()
        for name, value in (("ports", sighting.source_port), ("pids", found.get("pid"))):
            if value and value not in event[name]:
                event[name] = [*event[name], value][-MOST_SAMPLES:]
        self._changed = True

    def _owner(self, sighting: Sighting, user: int) -> JsonObject:
        now = time.monotonic()
        self._looks = [each for each in self._looks if now - each < 1]
        if sighting.protocol == "arp" or len(self._looks) >= LOOKS_A_SECOND:
            return {"user": user_name(user)} if user >= 0 else {}
        self._looks.append(now)
        return owner(sighting.protocol, sighting.source_port, user)

    def _inside(self, target: str) -> bool:
        address = ipaddress.ip_address(target)
        return any(address in network for network in self._networks)

    def _write(self) -> None:
        log = self._log
        record = {
            "format": "bastide.watch/1",
            "boot": Path("/proc/sys/kernel/random/boot_id").read_text(encoding="utf-8").strip(),
            "pid": os.getpid(),
            "started": self._started,
            "updated": time.time(),
            "networks": [str(each) for each in self._networks],
            "wire": {"since": self._wire.since, "lost": self._wire.count_lost()},
            "log": {"since": log.since, "lost": log.lost, "reopened": log.closed},
            "events": list(self._events.values()),
            "overflow": self._overflow,
        }
        write_atomic(self._folder / "record.json", json.dumps(record).encode(), 0o600)
