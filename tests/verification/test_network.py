"""Only the gateway can be reached from outside; everything else is where it should be."""

from __future__ import annotations

import socket
import ssl

import httpx
import pytest

from bastide.schema.expectations import Expectations, ExpectedListener
from bastide.verify.observe import Listening, listening
from bastide.verify.suite import Machine, Saw

pytestmark = pytest.mark.area("Network")

ANSWER = 20.0  # s for a gateway to say how it is
REFUSAL = 3.0  # s to wait for a connection that should not come about


def test_ports_are_bound_where_they_should_be(machine: Machine, saw: Saw) -> None:
    """Each service listens on its own address and on no other"""
    found = listening(machine.host.check_output("ss -Hltnp"))
    wanted: dict[int, list[ExpectedListener]] = {}
    for each in machine.expected.listeners:
        wanted.setdefault(each.port, []).append(each)
    ours: dict[int, list[Listening]] = {port: [] for port in wanted}
    for open_ in found:
        if open_.port in wanted:
            ours[open_.port].append(open_)
        elif not open_.loopback:
            saw(f"also open, not Bastide's: {open_.address} port {open_.port} {open_.process}")
    wrong = []
    for port, listeners in wanted.items():
        service, right = listeners[0].service, sorted(each.address for each in listeners)
        addresses = sorted({open_.address for open_ in ours[port]})
        saw(f"{service}: {', '.join(addresses) or 'nothing'} port {port}")
        if addresses != right:
            wrong.append(
                f"{service} (port {port}): expected {', '.join(right)}, "
                f"found {', '.join(addresses) or 'no listener'}"
            )
    assert not wrong, "; ".join(wrong)


def test_inner_ports_are_closed_to_the_outside(machine: Machine, saw: Saw) -> None:
    """A port that is bound to loopback refuses connections from this machine"""
    # Loopback's: a floating address is there for the outside.
    inner = [e for e in machine.expected.listeners if e.address in {"127.0.0.1", "::1"}]
    if not inner:
        pytest.skip("no service of this host is bound to loopback")
    reached = []
    for each in inner:
        try:
            socket.create_connection((machine.expected.address, each.port), REFUSAL).close()
        except OSError as error:
            saw(f"{each.service} (port {each.port}): {error.strerror or 'no answer'}")
        else:
            reached.append(f"{each.service} (port {each.port})")
    assert not reached, f"reached from outside: {', '.join(reached)}"


def test_every_gateway_answers(expected: Expectations, tls: ssl.SSLContext, saw: Saw) -> None:
    """Every gateway answers at its own address, and one of them at the floating one"""
    gateway = expected.gateway
    wrong = []
    for address in (gateway.address, *gateway.others):
        place = f"[{address}]" if ":" in address else address
        try:
            answer = httpx.get(
                f"https://{place}:{gateway.port}/healthz",
                verify=tls,
                trust_env=False,
                timeout=ANSWER,
            )
            saw(f"{address}: {answer.status_code}")
            ok = answer.status_code == httpx.codes.OK
        except httpx.HTTPError as error:
            saw(f"{address}: {error}")
            ok = False
        wrong += [] if ok else [address]
    assert not wrong, f"no good answer from {', '.join(wrong)}"
