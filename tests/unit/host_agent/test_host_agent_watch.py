"""Which packets the recorder's filter lets through, and what is read in them."""

from __future__ import annotations

import ipaddress
import struct

import pytest
from bastide_host.watch_packets import (
    ARP,
    IPV4,
    IPV6,
    NAME_PORTS,
    OUTGOING,
    TCP,
    UDP,
    Network,
    asked_name,
    log_orders,
    log_rules,
    read_log,
    read_packet,
    wire_filter,
)
from hypothesis import given, settings
from hypothesis import strategies as st


# --- a machine for the kernel's classic filter programs, as linux/filter.h describes them ----
def accepts(steps: list[tuple[int, int, int, int]], kind: int, protocol: int, data: bytes) -> bool:
    place, value, index = 0, 0, 0
    while True:
        code, yes, no, operand = steps[place]
        place += 1
        if code == 0x06:
            return operand > 0
        if code == 0x05:
            place += operand
        elif code == 0x15:
            place += yes if value == operand else no
        elif code == 0x54:
            value &= operand
        elif code == 0xB1:
            index = 4 * (data[operand] & 15)
        elif code == 0x20 and operand >= 0xFFFFF000:
            value = kind
        elif code == 0x28 and operand >= 0xFFFFF000:
            value = protocol
        else:
            size, offset = {0x20: 4, 0x28: 2, 0x30: 1, 0x48: 2}[code], operand
            offset += index if code == 0x48 else 0
            if offset + size > len(data):
                return False  # the kernel drops what is too short
            value = int.from_bytes(data[offset : offset + size], "big")


def packet(source: str, target: str, kind: int = UDP, ports: tuple[int, int] = (4000, 9),
           rest: bytes = b"") -> tuple[int, bytes]:  # fmt: skip
    here, there = ipaddress.ip_address(source).packed, ipaddress.ip_address(target).packed
    head = struct.pack(">HH", *ports) + (b"\0\x08\0\0" if kind == UDP else b"\0" * 16) + rest
    if len(here) == 4:
        return IPV4, struct.pack(">BBHHHBBH", 0x45, 0, 20 + len(head), 1, 0, 64, kind, 0) + here + there + head  # fmt: skip  # noqa: E501
    return IPV6, struct.pack(">IHBB", 6 << 28, len(head), kind, 64) + here + there + head


def takes(networks: list[Network], protocol: int, data: bytes, kind: int = OUTGOING) -> bool:
    return accepts(wire_filter(networks).steps, kind, protocol, data)


ADDRESSES = st.ip_addresses()
NETWORKS = st.builds(
    lambda address, cut: ipaddress.ip_network((address, min(cut, address.max_prefixlen)), False),
    ADDRESSES,
    st.integers(1, 128),
)


@settings(max_examples=300, deadline=None)
@given(st.lists(NETWORKS, max_size=8), ADDRESSES, st.sampled_from([TCP, UDP, 1, 58]), st.data())
def test_the_filter_takes_what_is_outside_and_name_lookups(
    networks: list[Network], target: ipaddress.IPv4Address | ipaddress.IPv6Address, kind: int,
    data: st.DataObject,
) -> None:  # fmt: skip
    inside: bool = data.draw(st.booleans())
    if networks and inside:  # random addresses hardly ever are in a network
        chosen = data.draw(st.sampled_from(networks))
        target = chosen[data.draw(st.integers(0, min(chosen.num_addresses - 1, 1 << 30)))]
    port = data.draw(st.sampled_from([9, 443, *NAME_PORTS]))
    source = "10.0.0.1" if target.version == 4 else "fd00::1"
    protocol, content = packet(source, str(target), kind, (4000, port))
    outside = not any(
        target in network for network in networks if network.version == target.version
    )
    looked_up = kind in {TCP, UDP} and port in NAME_PORTS
    assert takes(networks, protocol, content) == (outside or looked_up)
    assert not takes(networks, protocol, content, kind=0), "what comes in is not looked at"


def test_who_has_an_address_outside_is_asked_by_somebody_who_wants_to_talk_to_it() -> None:
    def question(target: str) -> bytes:
        return bytes(14) + ipaddress.ip_address("10.0.0.1").packed + bytes(6) + ipaddress.ip_address(target).packed  # fmt: skip  # noqa: E501

    own: list[Network] = [ipaddress.ip_network("10.0.0.0/24")]
    assert takes(own, ARP, question("192.0.2.1"))
    assert not takes(own, ARP, question("10.0.0.7"))
    assert not takes(own, 0x88CC, bytes(60)), "the link layer's own talk"


def query(name: str) -> bytes:
    labels = b"".join(bytes([len(part)]) + part.encode() for part in name.split("."))
    return struct.pack(">6H", 7, 0x100, 1, 0, 0, 0) + labels + b"\0\0\1\0\1"


def test_ports_addresses_and_names_are_read() -> None:
    seen = read_packet(*packet("10.0.0.1", "192.0.2.1", UDP, (4000, 53), query("a.example")))
    assert seen
    assert (seen.protocol, seen.source_port, seen.target, seen.target_port, seen.lookup) == (
        "udp", 4000, "192.0.2.1", 53, "a.example",
    )  # fmt: skip
    six = read_packet(*packet("fd00::1", "2001:db8::1", TCP, (4000, 443)))
    assert six
    assert (six.protocol, six.target, six.target_port) == ("tcp", "2001:db8::1", 443)


def test_a_header_more_does_not_hide_the_ports() -> None:
    protocol, plain = packet("fd00::1", "2001:db8::1", UDP, (4000, 53), query("a.example"))
    longer = plain[:6] + bytes([60]) + plain[7:40] + bytes([UDP, 0]) + bytes(6) + plain[40:]
    seen = read_packet(protocol, longer)
    assert seen
    assert (seen.target_port, seen.lookup) == (53, "a.example")


def test_a_later_fragment_has_no_ports() -> None:
    protocol, plain = packet("10.0.0.1", "192.0.2.1")
    seen = read_packet(protocol, plain[:6] + b"\0\x01" + plain[8:])
    assert seen
    assert (seen.source_port, seen.target_port) == (0, 0)


@given(st.sampled_from([IPV4, IPV6, ARP, 0]), st.binary(max_size=80))
def test_nothing_that_is_sent_stops_the_recorder(protocol: int, content: bytes) -> None:
    read_packet(protocol, content)
    read_log(content)
    assert asked_name(content).isprintable()


def test_a_name_cannot_bring_markup_along() -> None:
    assert asked_name(query("<b>.x")) == "?b?.x"


def test_an_answer_asks_for_nothing() -> None:
    message = bytearray(query("a.example"))
    message[2] |= 0x80
    assert asked_name(bytes(message)) == ""


def attribute(kind: int, content: bytes) -> bytes:
    length = 4 + len(content)
    return struct.pack("=HH", length, kind) + content + bytes(-length % 4)


@pytest.mark.parametrize(("user", "wanted"), [(None, -1), (65534, 65534)])
def test_a_logged_packet_has_its_user(user: int | None, wanted: int) -> None:
    _, content = packet("10.0.0.1", "192.0.2.1")
    body = struct.pack(">BBH", 2, 0, 7060) + attribute(1, struct.pack(">HBB", IPV4, 3, 0))
    body += attribute(11, struct.pack(">I", user)) if user is not None else b""
    body += attribute(9, content)
    message = struct.pack("=IHHII", 16 + len(body), 0x0400, 0, 0, 0) + body
    assert read_log(message) == (IPV4, content, wanted)
    assert read_log(message[:4] + struct.pack("=H", 2) + message[6:]) is None, "an error message"


def test_orders_and_rules_name_the_group() -> None:
    assert all(struct.unpack(">H", order[18:20])[0] == 7060 for order in log_orders(7060))
    rules = log_rules([ipaddress.ip_network("10.0.0.0/24"), ipaddress.ip_network("fd00::/8")], 7060)
    assert "\n" not in rules
    assert "ip daddr { 10.0.0.0/24 } return" in rules
    assert "ip6 daddr { fd00::/8 } return" in rules
    assert "flags owner" in rules
