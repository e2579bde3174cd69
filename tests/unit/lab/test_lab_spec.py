"""Names and addresses that follow from what a lab is asked to be."""

from __future__ import annotations

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bastide.lab import spec
from bastide.lab.errors import LabError

LAB_NAMES = st.from_regex(r"\A[a-z]([a-z0-9-]{0,14}[a-z0-9])?\Z")
NUMBERS = st.integers(1, spec.MAX_HOSTS)


def test_default_lab_has_the_documented_addresses() -> None:
    assert spec.control_address("lab") == "10.213.0.1"
    assert spec.host_address("lab", "host1") == "10.213.0.11"
    assert spec.host_address("lab", "host40") == "10.213.0.50"


@given(LAB_NAMES, st.sets(NUMBERS, min_size=2))
def test_addresses_of_a_lab_differ_and_share_one_private_network(
    lab: str, numbers: set[int]
) -> None:
    hosts = [spec.host_name(number) for number in numbers]
    addresses = [spec.control_address(lab), *(spec.host_address(lab, host) for host in hosts)]
    assert len(set(addresses)) == len(addresses)
    network = ipaddress.IPv4Network(f"{addresses[0]}/24", strict=False)
    assert network.subnet_of(ipaddress.IPv4Network("10.213.0.0/16"))
    assert all(ipaddress.ip_address(address) in network for address in addresses)


@given(LAB_NAMES, NUMBERS)
def test_a_lab_owns_its_namespaces(lab: str, number: int) -> None:
    assert spec.owns_namespace(lab, spec.control_namespace(lab))
    assert spec.owns_namespace(lab, spec.host_namespace(lab, spec.host_name(number)))


def test_a_lab_does_not_own_those_of_a_longer_name() -> None:
    assert not spec.owns_namespace("lab", spec.control_namespace("lab-two"))
    assert not spec.owns_namespace("lab", spec.host_namespace("lab-two", "host1"))
    assert not spec.owns_namespace("lab", "somebody-elses")
    assert not spec.owns_namespace("lab", "bastide-lab-hostile")


@given(NUMBERS)
def test_link_names_fit_the_kernel(number: int) -> None:
    assert len(spec.host_name(number)) <= 15  # IFNAMSIZ - 1


@pytest.mark.parametrize(
    "name", ["", "Lab", "1lab", "lab_", "../x", "lab-", "a" * 17, "la b", "x\n"]
)
def test_bad_lab_names_are_refused(name: str) -> None:
    with pytest.raises(LabError) as caught:
        spec.LabSpec(name=name)
    assert caught.value.code == "BAS-1018"


@pytest.mark.parametrize("hosts", [0, -1, 41])
def test_a_number_of_hosts_out_of_range_is_refused(hosts: int) -> None:
    with pytest.raises(LabError, match="1 to 40"):
        spec.LabSpec(hosts=hosts)


def test_an_unknown_release_is_refused_with_the_known_ones() -> None:
    with pytest.raises(LabError) as caught:
        spec.LabSpec(release="sarge")
    assert "bookworm" in caught.value.hint


@given(st.text(max_size=12))
def test_only_lab_host_names_have_a_number(text: str) -> None:
    try:
        number = spec.host_number(text)
    except LabError:
        return
    assert text == spec.host_name(number)


def test_hosts_file_knows_every_node_and_nothing_else() -> None:
    assert spec.hosts_file("lab", ("host1", "host2")) == (
        "127.0.0.1 localhost\n"
        "::1 localhost ip6-localhost ip6-loopback\n"
        "10.213.0.1 control\n"
        "10.213.0.11 host1\n"
        "10.213.0.12 host2\n"
    )
