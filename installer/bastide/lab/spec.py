"""What a lab is asked to be, and the names and addresses that follow from it; pure."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass

from bastide.lab.errors import BAD_SPEC, LabError

DEFAULT_NAME = "lab"
DEFAULT_RELEASE = "bookworm"
RELEASES = ("bookworm", "trixie")
MAX_HOSTS = 40
BRIDGE = "br0"  # in the control node's namespace
UPLINK = "host0"  # in a host's namespace: its only link, to the bridge

_NAME = re.compile(r"[a-z][a-z0-9-]{0,14}[a-z0-9]|[a-z]")
_HOST = re.compile(r"host([1-9][0-9]?)")
_FIRST_HOST = 10  # host1 is .11, so that .1 to .10 stay free for the control node


@dataclass(frozen=True)
class LabSpec:
    """What ``lab up`` is asked for.

    Args:
        name: Of the lab; several labs live side by side. At most 16 characters.
        hosts: How many hosts at least; None keeps those that the lab has, or makes one.
        release: Debian release of the hosts.
        cpus: How many CPUs each host may use at most, 0: all; None keeps what the lab has.
        mirror: Where the packages of the first build come from; empty: Debian's own.

    Raises:
        LabError: A field is out of its range.
    """

    name: str = DEFAULT_NAME
    hosts: int | None = None
    release: str = DEFAULT_RELEASE
    mirror: str = ""
    cpus: float | None = None

    def __post_init__(self) -> None:
        check_name(self.name)
        if self.hosts is not None and not 1 <= self.hosts <= MAX_HOSTS:
            raise LabError(
                f"a lab has 1 to {MAX_HOSTS} hosts, not {self.hosts}",
                code=BAD_SPEC,
                hint=f"choose --hosts between 1 and {MAX_HOSTS}",
            )
        if self.release not in RELEASES:
            raise LabError(
                f"the lab has no recipe for Debian release {self.release!r}",
                code=BAD_SPEC,
                hint=f"choose --release from: {', '.join(RELEASES)}",
            )


def check_name(name: str) -> str:
    """Return ``name`` if it may name a lab.

    Raises:
        LabError: It holds other characters than a-z, 0-9 and dash, or is longer than 16.
    """
    if not _NAME.fullmatch(name):
        raise LabError(
            f"{name!r} cannot name a lab: expected a letter, then at most 15 letters, digits or "
            "dashes, all lower case",
            code=BAD_SPEC,
            hint="choose another --name",
        )
    return name


def host_name(number: int) -> str:
    """Return the name of host ``number``, counted from 1."""
    return f"host{number}"


def host_number(name: str) -> int:
    """Return the number in a host's name.

    Raises:
        LabError: No lab host can have this name.
    """
    match = _HOST.fullmatch(name)
    if not match or int(match[1]) > MAX_HOSTS:
        raise LabError(
            f"{name!r} is not a lab host: expected host1 to host{MAX_HOSTS}",
            code=BAD_SPEC,
            hint="`bastide lab status` lists the hosts",
        )
    return int(match[1])


def _network(lab: str) -> str:
    """Return the first three bytes of a lab's addresses.

    The default lab has a fixed one. Two labs whose names fall on the same one do not disturb each
    other: nothing routes between labs; distinct ones only keep logs apart.
    """
    if lab == DEFAULT_NAME:
        return "10.213.0"
    third = 1 + int.from_bytes(hashlib.sha256(lab.encode()).digest()[:4]) % 254
    return f"10.213.{third}"


def control_address(lab: str) -> str:
    """Return the IPv4 address of the lab's control node."""
    return f"{_network(lab)}.1"


def host_address(lab: str, host: str) -> str:
    """Return the IPv4 address of a host; its network is a /24."""
    return f"{_network(lab)}.{_FIRST_HOST + host_number(host)}"


def floating_address(lab: str) -> str:
    """Return an IPv4 address that no host of the lab has, for gateways to share."""
    return f"{_network(lab)}.250"


def namespace_prefix(lab: str) -> str:
    """Return what all network namespaces of a lab begin with, dash included."""
    return f"bastide-{lab}-"


def control_namespace(lab: str) -> str:
    """Return the network namespace that stands for the control node."""
    return f"{namespace_prefix(lab)}control"


def host_namespace(lab: str, host: str) -> str:
    """Return the network namespace of a host."""
    return f"{namespace_prefix(lab)}{host}"


def owns_namespace(lab: str, namespace: str) -> bool:
    """Return whether a namespace is of this very lab, not of one whose name merely begins so."""
    prefix = namespace_prefix(lab)
    rest = namespace.removeprefix(prefix)
    return namespace.startswith(prefix) and (rest == "control" or bool(_HOST.fullmatch(rest)))


def hosts_file(lab: str, hosts: tuple[str, ...]) -> str:
    """Return ``/etc/hosts`` for every node: there is no other name resolution in a lab."""
    lines = [
        "127.0.0.1 localhost",
        "::1 localhost ip6-localhost ip6-loopback",
        f"{control_address(lab)} control",
        *(f"{host_address(lab, host)} {host}" for host in hosts),
    ]
    return "\n".join(lines) + "\n"
