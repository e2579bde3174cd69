"""A site of production and the same site on lab hosts: what stays, what changes."""

from __future__ import annotations

import pytest
from a_site import a_site
from hypothesis import given
from hypothesis import strategies as st

from bastide.errors import ConfigError
from bastide.lab.spec import control_address, floating_address
from bastide.rehearsal.scene import (
    bounded,
    lab_release,
    memory_of,
    set_scene,
    site_in_lab,
    size_differences,
    tree_in_lab,
)
from bastide.render.trees import HostTree, TreeFile
from bastide.schema.site import SERVING, Group, Site, Ssh

LAB_SSH = Ssh(private_key="/lab/key", known_hosts="/lab/known_hosts")
MANY = (Group.LLM, Group.EMBEDDINGS)


@st.composite
def sites(draw: st.DrawFn, most: int = 40) -> Site:
    """Sites of every shape that ``site.yaml`` allows."""
    names = draw(
        st.lists(
            st.from_regex(r"[a-z][a-z0-9-]{0,8}[a-z0-9]", fullmatch=True),
            min_size=1,
            max_size=most,
            unique=True,
        )
    )
    numbers = draw(st.permutations(range(2, 2 + len(names))))
    single = {group: draw(st.sampled_from(names)) for group in (Group.VECTORDB, Group.GATEWAY)}
    floating = {"gateway_address": "10.20.0.254"} if draw(st.booleans()) else {}
    hosts = {}
    for name, number in zip(names, numbers, strict=True):
        groups = set(draw(st.sets(st.sampled_from(MANY), min_size=1)))
        groups |= {group for group, host in single.items() if host == name}
        if name == names[0]:
            groups |= set(MANY)
        hosts[name] = (f"10.20.{number // 250}.{number % 250 + 1}", groups)
    return a_site(
        hosts,
        {
            "control_address": "10.20.0.1",
            **floating,
            "gateway_port": draw(st.integers(1024, 2000)),
            "llm_port": draw(st.integers(2001, 3000)),
        },
        ssh={"private_key": "k", "known_hosts": "h", "user": "admin", "port": 2222},
        sizes={"llm": {"parallel": draw(st.integers(1, 256))}},
    )


@given(wanted=sites(most=20), present=st.none() | sites(most=20))
def test_every_host_is_played_by_one_of_its_own(wanted: Site, present: Site | None) -> None:
    scene = set_scene("rehearsal", wanted, present)
    hosts = set(wanted.hosts) | set(present.hosts if present else ())
    assert {pair.host for pair in scene.hosts} == hosts
    assert len(scene.hosts) == len(hosts)
    assert len({pair.lab_host for pair in scene.hosts}) == len(hosts)
    assert len({pair.lab_address for pair in scene.hosts}) == len(hosts)


@given(sites())
def test_groups_counts_ports_and_models_stay(site: Site) -> None:
    scene = set_scene("rehearsal", site, None)
    lab = site_in_lab(site, scene, LAB_SSH)
    assert list(lab.hosts) == list(site.hosts)
    for group in Group:
        assert lab.hosts_in(group) == site.hosts_in(group)
    own = {"address"}
    for name, host in lab.hosts.items():
        assert host.model_dump(exclude=own) == site.hosts[name].model_dump(exclude=own)
        assert str(host.address) == scene.pair(name).lab_address
    network = {"control_address", "gateway_address"}
    assert lab.network.model_dump(exclude=network) == site.network.model_dump(exclude=network)
    assert str(lab.network.control_address) == control_address("rehearsal")
    assert lab.ssh == LAB_SSH  # port and user, too, are the lab's
    rest = {"hosts", "network", "ssh"}
    assert lab.model_dump(exclude=rest) == site.model_dump(exclude=rest)


@given(sites(most=8), st.integers(0, 2**36), st.integers(1, 64))
def test_sizes_only_shrink_and_fit(site: Site, room: int, cpus: int) -> None:
    try:
        small = bounded(site, {}, room, cpus)
    except ConfigError:
        return  # the smallest sizes do not fit either
    assert memory_of(small, {}) <= room
    for group in ("llm", "embeddings"):
        before, after = getattr(site.sizes, group), getattr(small.sizes, group)
        for name in type(before).model_fields:
            assert getattr(after, name) <= getattr(before, name)
    changed = small.sizes != site.sizes
    assert bool(size_differences(site, small, "wanted")) is changed  # nothing shrinks in silence


def test_more_hosts_than_a_lab_has_are_refused() -> None:
    hosts = {f"h{n}": (f"10.9.0.{n + 1}", MANY if n else SERVING) for n in range(41)}
    site = a_site(hosts, {"control_address": "10.9.1.1"})
    with pytest.raises(ConfigError, match="41 hosts"):
        set_scene("rehearsal", site, None)


@given(sites(most=2))
def test_only_debian_can_be_played(site: Site) -> None:
    assert lab_release(site, "debian", "12") == "bookworm"
    with pytest.raises(ConfigError, match="cannot play"):
        lab_release(site, "rhel", "9")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("server 10.0.0.1:8081", "server 10.213.1.11:8081"),
        ("10.0.0.11 is another", "10.213.1.12 is another"),
        ("110.0.0.1 and 10.0.0.12 and 10.0.0.1.5", "110.0.0.1 and 10.0.0.12 and 10.0.0.1.5"),
        ("allow=10.0.0.1/32", "allow=10.213.1.11/32"),
        ("at 10.0.0.1.", "at 10.213.1.11."),
        ("[fd00::7]:6333", "10.213.1.13:6333"),
        ("fd00::77", "fd00::77"),
        # What takes an address's place is never looked at again.
        ("10.213.1.11 10.0.0.1", "10.9.9.9 10.213.1.11"),
    ],
)
def test_addresses_in_files_are_replaced_whole(text: str, expected: str) -> None:
    addresses = {
        "10.0.0.1": "10.213.1.11",
        "10.0.0.11": "10.213.1.12",
        "fd00::7": "10.213.1.13",
        "10.213.1.11": "10.9.9.9",
    }
    tree = HostTree("host1", {"etc/a": TreeFile(text.encode(), 0o600)})
    found = tree_in_lab(tree, addresses).files["etc/a"]
    assert (found.content.decode(), found.mode) == (expected, 0o600)


def test_bytes_that_are_no_text_stay() -> None:
    content = b"\xff\x00 10.0.0.1 \xfe"
    tree = HostTree("host1", {"etc/a": TreeFile(content, 0o644)})
    found = tree_in_lab(tree, {"10.0.0.1": "10.213.1.11"}).files["etc/a"]
    assert found.content == b"\xff\x00 10.213.1.11 \xfe"


def test_the_gateways_shared_address_is_one_of_the_labs() -> None:
    site = a_site(
        {"a": ("10.20.0.2", Group), "b": ("10.20.0.3", ["gateway"])},
        {"control_address": "10.20.0.1", "gateway_address": "10.20.0.9"},
    )
    scene = set_scene("plant", site, None)
    there = site_in_lab(site, scene, LAB_SSH).network.gateway_address
    assert str(there) == floating_address("plant")
    tree = HostTree("a", {"etc/haproxy.cfg": TreeFile(b"bind 10.20.0.9:8443 ssl", 0o644)})
    inside = tree_in_lab(tree, scene.addresses).files["etc/haproxy.cfg"].content.decode()
    assert inside == f"bind {there}:8443 ssl"
