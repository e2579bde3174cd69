"""Talk to the running gateway through HAProxy's runtime socket."""

from __future__ import annotations

import csv
import re
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass

from bastide_host.host import AgentError, Paths

HOLD = "_hold"  # the server of each backend that takes requests while no other can
_ANSWER_SECONDS = 10.0
_FORCED = 0x01 | 0x08  # of a server's administrative state: maintenance, drain


@dataclass(frozen=True)
class Server:
    """One server of a backend, as the gateway sees it now.

    Args:
        backend: The backend's name.
        name: The server's name: its host's.
        status: HAProxy's word: ``UP``, ``DOWN``, ``DRAIN``, ``MAINT``, also ``DOWN 1/2``.
        sessions: Requests that it works on.
        queued: Requests that wait for it and no other.
        out: Whether somebody took it out of rotation; a server that is out may be DOWN as well.
        port: Where the gateway reaches it; 0 if unknown.
        address: The IP address at which it reaches it; empty if unknown.
        tls: Whether it speaks TLS with it.
    """

    backend: str
    name: str
    status: str
    sessions: int
    queued: int
    out: bool = False
    port: int = 0
    address: str = ""
    tls: bool = False

    @property
    def takes_requests(self) -> bool:
        """Whether new requests go to it."""
        return self.status.startswith("UP")

    @property
    def busy(self) -> int:
        """Requests that would suffer if it stopped now."""
        return self.sessions + self.queued


class NotRunningError(Exception):
    """No gateway runs on this host."""


ADMIN = "/run/bastide-gateway/admin.sock"


def ask(paths: Paths, command: str, socket_path: str = ADMIN) -> str:
    """Send one command to a socket of the gateway's; return what it answers.

    Args:
        paths: The host's paths.
        command: The command, without the end of its line.
        socket_path: The worker's socket, or the master's.

    Raises:
        NotRunningError: No gateway runs here.
        AgentError: It does not answer.
    """
    place = paths.at(socket_path)
    parts = []
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.settimeout(_ANSWER_SECONDS)
        try:
            connection.connect(str(place))
        except (FileNotFoundError, ConnectionRefusedError) as error:
            raise NotRunningError(str(place)) from error
        try:
            connection.sendall(f"{command}\n".encode())
            connection.shutdown(socket.SHUT_WR)  # the master answers as long as one may ask
            while part := connection.recv(1 << 16):
                parts.append(part)
        except OSError as error:
            raise AgentError(
                "BAS-6080",
                f"the gateway does not answer {command.splitlines()[0]!r} on {place}: {error}",
                "see systemctl status bastide-gateway, then apply again",
            ) from error
    return b"".join(parts).decode("utf-8", "replace").strip()


def order(paths: Paths, command: str, socket_path: str = ADMIN) -> None:
    """Send a command that answers nothing when it is carried out.

    Raises:
        AgentError: It answered: it refuses.
    """
    answer = ask(paths, command, socket_path)
    if answer:
        first = command.splitlines()[0]
        raise AgentError(
            "BAS-6080", f"the gateway refuses {first!r}: {answer}", "report this: it is a bug"
        )


def move(paths: Paths, server: Server, address: str, port: int) -> bool:
    """Let the running gateway look for a server elsewhere; return whether it does from now on.

    Its configuration, which comes later, says the same. A gateway that cannot is no failure: then
    that configuration is what finds the server.

    Args:
        paths: The host's paths.
        server: The server.
        address: Where it is now; empty leaves the address.
        port: Its port now.
    """
    where = f"{address or server.address} port {port}"
    ask(paths, f"set server {server.backend}/{server.name} addr {where}")
    wanted = (address or server.address, port)
    return any(
        (each.address, each.port) == wanted
        for each in servers(paths)
        if (each.backend, each.name) == (server.backend, server.name)
    )


def _table(text: str, separator: str) -> list[dict[str, str]]:
    """Return a table of HAProxy's, whose line of headings begins with ``# ``."""
    lines = text[text.index("# ") + 2 :].splitlines() if "# " in text else []
    return list(csv.DictReader(lines, delimiter=separator))


def servers(paths: Paths) -> list[Server]:
    """Return every server of every backend."""
    states = _table(ask(paths, "show servers state"), " ")
    out = {(s["be_name"], s["srv_name"]): int(s["srv_admin_state"]) & _FORCED for s in states}
    places = {
        (s["be_name"], s["srv_name"]): (
            int(s.get("srv_port", 0)),
            s.get("srv_addr", ""),
            s.get("srv_use_ssl", "0") == "1",
        )
        for s in states
    }
    return [
        Server(
            row["pxname"],
            row["svname"],
            row["status"],
            int(row["scur"] or 0),
            int(row["qcur"] or 0),
            bool(out.get((row["pxname"], row["svname"]))),
            *places.get((row["pxname"], row["svname"]), (0, "", False)),
        )
        for row in _table(ask(paths, "show stat"), ",")
        if row["svname"] not in {"FRONTEND", "BACKEND"}
    ]


_SESSION = re.compile(
    r"(?m)^(0x[0-9a-f]+): .*\n(?:  .*\n)*?  frontend=gateway .* addr=(\S+):[0-9]+"
)


def cut(paths: Paths, address: str) -> int:
    """End every request that came to one of the gateway's addresses; return how many there were.

    Their clients are told while the address is here. Once it has left, nothing can be sent from
    it any more, and they would wait for an answer as long as they have patience.

    Args:
        paths: The host's paths.
        address: The address that they came to.
    """
    sessions = _SESSION.findall(f"{ask(paths, 'show sess all')}\n")
    doomed = [session for session, place in sessions if place.strip("[]") == address]
    for session in doomed:
        ask(paths, f"shutdown session {session}")  # one that has ended by itself is no failure
    return len(doomed)


def worker(paths: Paths) -> int:
    """Return the process id of the worker that takes new connections."""
    lines = ask(paths, "show info").splitlines()
    fields = dict(line.split(": ", 1) for line in lines if ": " in line)
    return int(fields.get("Pid", "0"))


def takes_over(paths: Paths, before: int, seconds: float) -> bool:
    """Wait until another worker than ``before`` takes new connections; return whether one did."""

    def another() -> bool:
        try:
            return worker(paths) not in {0, before}
        except NotRunningError:  # the socket is between two owners
            return False

    return wait_until(another, seconds)


def wait_until(done: Callable[[], bool], seconds: float) -> bool:
    """Ask ``done`` until it agrees or the time is over; return its last answer."""
    deadline = time.monotonic() + seconds
    while not done():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.1)
    return True
