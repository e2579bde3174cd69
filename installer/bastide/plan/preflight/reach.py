"""Checks of the way to a host: it is up, lets us in, and can be asked."""

from __future__ import annotations

from collections.abc import Iterator

from bastide.plan.preflight.check import Call, Subject, Trouble, checks_in, refuses

UNREACHABLE = "BAS-5003"
REFUSED = "BAS-5004"
NO_AGENT = "BAS-5011"
REACH = Subject.REACH


@refuses(
    REACH,
    UNREACHABLE,
    "the host can be reached",
    "A host cannot be reached",
    "check that it is up, its address in `site.yaml`, and the network between",
)
def reachable(call: Call) -> Iterator[Trouble]:
    """Say why there was no connection."""
    if call.lost and call.lost.kind == "unreachable":
        address, port = call.site.hosts[call.name].address, call.site.ssh.port
        yield Trouble(
            f"cannot be reached at {address} port {port}: {call.lost.reason}",
            "check that it is up, its address in site.yaml, and the network between",
        )


@refuses(
    REACH,
    REFUSED,
    "the host lets us in, and is the known one",
    "A host refuses the login, or its host key is not the known one",
    "put the public key into its `authorized_keys`; correct `known_hosts`",
)
def login(call: Call) -> Iterator[Trouble]:
    """Say why there was no login."""
    if call.lost and call.lost.kind == "denied":
        ssh = call.site.ssh
        yield Trouble(
            f"refuses the login of {ssh.user} with key {ssh.private_key}: {call.lost.reason}",
            f"put {ssh.private_key}.pub into {ssh.user}'s authorized_keys on {call.name}; "
            f"if its host key changed, correct {ssh.known_hosts}",
        )


@refuses(
    REACH,
    NO_AGENT,
    "the host answers questions",
    "A host answers, but could not be asked (no Python 3, no root rights)",
    "install `python3`; log in as root, or as a user with sudo",
)
def agent(call: Call) -> Iterator[Trouble]:
    """Say why there were no facts."""
    if call.lost and call.lost.kind == "failed":
        yield Trouble(
            f"answers, but could not be asked: {call.lost.reason}",
            "/usr/bin/python3 must be there, and the user must be root or have sudo",
        )


CHECKS = checks_in(globals())
