"""What was seen of a site's isolation, host by host, signed. Pure data."""

from __future__ import annotations

from typing import Literal

from pydantic import AwareDatetime, Field

from bastide.schema.base import Name, Value
from bastide.schema.receipt import Base64, decode64

CONTEXT = b"bastide.isolation/1\n"  # what is signed begins so, lest it be taken for another
NAME_PORTS = (53, 853, 5353, 5355)


class Sender(Value):
    """Who sent packets, as far as that could be told when they were seen."""

    user: str = ""
    process: str = Field(default="", description="The program's name; empty if unknown.")
    program: str = Field(default="", description="Its file.")
    unit: str = Field(default="", description="The systemd unit that it belongs to.")
    pids: tuple[int, ...] = Field(default=(), description="Processes; the last few.")


class Seen(Value):
    """Packets of one sender to one place, or names that it asked for."""

    verdict: Literal["left", "attempt", "lookup", "allowed", "control"] = Field(
        description="'left': outside the site's networks, on the wire. 'attempt': outside, and "
        "stopped before the wire. 'lookup': a name was asked for. 'allowed': asked of a server "
        "that the site names. 'control': sent on purpose, to prove that the recorder sees."
    )
    protocol: str
    target: str
    port: int
    lookup: str = Field(default="", description="The name that was asked for.")
    sender: Sender
    wire: int = Field(description="Packets seen on the wire.")
    log: int = Field(description="Packets seen before every filter.")
    first: float = Field(description="By the host's clock, in s since 1970.")
    last: float


class Control(Value):
    """Whether packets that were sent on purpose were seen, and their sender named."""

    wire: bool
    log: bool | None = Field(description="None: nft is not there, so that eye was not open.")
    lookup: bool | None = Field(description="Whether the name asked for was read.")


class WatchedHost(Value):
    """One host, while it was watched."""

    host: Name
    networks: tuple[str, ...] = Field(description="The site's own, as this host may talk to them.")
    since: float = Field(description="By the host's clock, in s since 1970.")
    until: float
    log_since: float = Field(description="Since when attempts are seen, too; 0: never.")
    lost: int = Field(description="Packets that could not be looked at.")
    overflow: int = Field(description="Different events beyond those that are kept.")
    controls: tuple[Control, ...] = Field(description="At the start, at the end.")
    seen: tuple[Seen, ...] = ()

    def count(self, verdict: str) -> int:
        """Return how many packets have that verdict."""
        each = (max(event.wire, event.log) for event in self.seen if event.verdict == verdict)
        return sum(each)


class IsolationStatement(Value):
    """What was seen on all hosts."""

    site: Name
    made: AwareDatetime
    bastide: str = Field(description="Version of Bastide that made it.")
    around: str = Field(default="", description="The command that went on meanwhile, if one.")
    hosts: tuple[WatchedHost, ...]
    faults: tuple[str, ...] = Field(description="Why isolation is not proved; empty: it is.")

    @property
    def good(self) -> bool:
        """Whether isolation is proved."""
        return not self.faults

    def count(self, verdict: str) -> int:
        """Return how many packets have that verdict, on all hosts."""
        return sum(host.count(verdict) for host in self.hosts)


class IsolationReport(Value):
    """A statement, and the signature of the site's receipt key over its canonical JSON."""

    format: Literal["bastide.isolation/1"] = "bastide.isolation/1"
    statement: IsolationStatement
    key: Base64 = Field(description="The site's public Ed25519 receipt key.")
    signature: Base64 = Field(description="Over 'bastide.isolation/1', a line feed, the statement.")

    @property
    def signed(self) -> bytes:
        """The bytes that the signature covers."""
        return CONTEXT + self.statement.canonical()

    @property
    def signature_bytes(self) -> bytes:
        """The signature."""
        return decode64(self.signature)
