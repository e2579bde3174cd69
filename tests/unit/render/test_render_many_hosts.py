"""Trees of sites with any number of hosts agree with each other and with the site."""

from __future__ import annotations

import json
import re
from ipaddress import ip_address

import pytest
from a_site import a_site
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from bastide import resources
from bastide.bundle.catalogue import Catalogue
from bastide.errors import ConfigError
from bastide.plan.floating import UNIT
from bastide.plan.ports import bind_address, service_ports
from bastide.plan.services import components_on, units_of
from bastide.render.trees import HostTree, render_trees
from bastide.schema.artifact import Artifact, ArtifactKind, Component, Manifest
from bastide.schema.base import Value
from bastide.schema.site import SERVING, Group, Site
from bastide.site.pki import gateway_names

VIP = "10.0.0.250"
RELEASE = Catalogue(resources.catalogue()).release("starter").value
QUICK = (Phase.explicit, Phase.reuse, Phase.generate)  # an example says it without being shrunk
GROUPS = (Group.LLM, Group.EMBEDDINGS, Group.GATEWAY)


def _artifact(name: str, kind: ArtifactKind, component: Component, number: int) -> Artifact:
    return Artifact(
        name=name, kind=kind, version="1", filename=f"{name}.bin", size=5,
        sha256=f"{number}" * 64, platform="any", licence="MIT", components=(component,),
        source="here",
    )  # fmt: skip


def manifest(*, keepalived: bool = True) -> Manifest:
    model, package = ArtifactKind.MODEL, ArtifactKind.OS_PACKAGE
    found = [
        _artifact("chat", model, Component.LLM, 1),
        _artifact("embed", model, Component.EMBEDDINGS, 2),
    ]
    if keepalived:
        found.append(_artifact("keepalived", package, Component.KEEPALIVED, 3))
    return Manifest(
        release="starter-2026.12.0", target="debian12-x86_64", lock="0" * 64, artifacts=tuple(found)
    )


def make_site(hosts: dict[str, tuple[Group, ...]], **network: object) -> Site:
    placed = {n: (f"10.0.0.{11 + number}", g) for number, (n, g) in enumerate(hosts.items())}
    return a_site(placed, network)


@st.composite
def sites(draw: st.DrawFn) -> Site:
    count = draw(st.integers(1, 9))
    hosts = {
        f"host{number}": set(draw(st.sets(st.sampled_from(GROUPS), min_size=1)))
        for number in range(count)
    }
    names = st.sampled_from(sorted(hosts))
    watched = (Group.MONITORING,) if draw(st.booleans()) else ()
    for group in (*SERVING, *watched):  # each has a host, the vector DB and monitoring one only
        if group not in GROUPS or not any(group in each for each in hosts.values()):
            hosts[draw(names)].add(group)
    floating = {"gateway_address": VIP} if draw(st.booleans()) else {}
    ordered = {name: tuple(sorted(groups)) for name, groups in hosts.items()}
    return make_site(ordered, **floating)


def rendered(site: Site) -> dict[str, HostTree]:
    return render_trees(site, RELEASE, manifest(), {"chat": _Card(), "embed": _Card()})


class _Card(Value):
    context_window: int = 512


def text(tree: HostTree, path: str) -> str:
    return tree.files[path].content.decode()


@settings(max_examples=30, deadline=None, phases=QUICK)
@given(sites())
def test_every_hosts_files_agree_with_the_site(site: Site) -> None:
    ports = service_ports(site)
    for name, tree in rendered(site).items():
        groups = site.hosts[name].groups
        own = {unit for part in components_on(site, name) for unit in units_of(part)}
        floats = Group.GATEWAY in groups and site.network.gateway_address is not None
        assert set(tree.units) == own | ({UNIT} if floats else set())
        services = json.loads(text(tree, "etc/host.json"))["services"]
        assert set(services) == set(tree.units)
        if Group.GATEWAY not in groups:
            continue
        config = text(tree, "etc/haproxy.cfg")
        for group in (Group.LLM, Group.EMBEDDINGS, Group.VECTORDB):
            backend = config.partition(f"\nbackend {group}\n")[2].partition("\n\n")[0]
            found = re.findall(r"^    server (\S+) (\S+):(\d+) check", backend, re.MULTILINE)
            wanted = [
                (each, bind_address(site, group, each), str(ports[group]))
                for each in site.hosts_in(group)
            ]
            assert found == wanted
        binds = set(re.findall(r"^    bind (\S+):8443 ", config, re.MULTILINE))
        assert binds == {str(site.hosts[name].address)} | ({VIP} if floats else set())


@settings(max_examples=30, deadline=None, phases=QUICK)
@given(sites())
def test_gateways_that_share_an_address_know_each_other(site: Site) -> None:
    trees = rendered(site)
    gateways = {name: str(site.hosts[name].address) for name in site.hosts_in(Group.GATEWAY)}
    for name, tree in trees.items():
        if UNIT not in tree.units:
            assert "etc/keepalived.conf" not in tree.files
            continue
        config = text(tree, "etc/keepalived.conf")
        peers = config.partition("unicast_peer {")[2].partition("}")[0].split()
        assert set(peers) == set(gateways.values()) - {gateways[name]}
        assert f"unicast_src_ip {gateways[name]}\n" in config
        assert "nopreempt" in config
        unit = text(tree, f"units/{UNIT}")
        allowed = set(re.findall(r"^IPAddressAllow=(.+)$", unit, re.MULTILINE))
        assert allowed == {"localhost", *gateways.values()}


@settings(max_examples=20, deadline=None, phases=QUICK)
@given(sites())
def test_the_certificate_is_for_every_address_that_clients_use(site: Site) -> None:
    names = gateway_names(site)
    assert names[0] == "bastide.internal"
    assert names[1:] == tuple(str(each) for each in site.gateway_addresses())
    assert (VIP in names) == (site.network.gateway_address is not None)


TWO = {"a": (Group.LLM, Group.VECTORDB, Group.GATEWAY), "b": (Group.EMBEDDINGS, Group.GATEWAY)}


def test_a_release_without_keepalived_cannot_hold_an_address() -> None:
    site = make_site(TWO, gateway_address=VIP)
    with pytest.raises(ConfigError) as caught:
        render_trees(site, RELEASE, manifest(keepalived=False), {"chat": _Card(), "embed": _Card()})
    assert caught.value.code == "BAS-2150"


@pytest.mark.parametrize("address", ["10.0.0.11", "10.0.0.1", "fd00::1"])
def test_a_floating_address_must_be_free_and_of_one_kind(address: str) -> None:
    with pytest.raises(ValidationError):
        make_site(TWO, gateway_address=address)


def test_clients_are_told_the_floating_address_first() -> None:
    site = make_site(TWO, gateway_address=VIP)
    assert site.gateway_addresses() == tuple(map(ip_address, (VIP, "10.0.0.11", "10.0.0.12")))


@pytest.mark.parametrize("group", [Group.LLM, Group.EMBEDDINGS])
def test_a_new_server_changes_nothing_but_the_gateways_and_restarts_none(group: Group) -> None:
    hosts = {"a": (Group.LLM, Group.EMBEDDINGS), "b": (Group.VECTORDB,), "c": (Group.GATEWAY,)}
    before = rendered(make_site(hosts))
    now = rendered(make_site({**hosts, "new": (group,)}))
    assert [name for name in before if now[name].sha256 != before[name].sha256] == ["c"]
    differing = {
        path for path, file in now["c"].files.items() if file != before["c"].files.get(path)
    }
    assert differing == {"etc/haproxy.cfg"}  # a reload: the unit and its rights are the same


@pytest.mark.parametrize("parallel", [1, 2, 3, 4, 5, 7, 100, 256])
def test_any_number_of_texts_can_be_embedded_at_once(parallel: int) -> None:
    site = a_site(sizes={"embeddings": {"parallel": parallel}})
    model = json.loads(text(rendered(site)["host1"], "etc/embeddings.json"))["model"]
    # The engine shares a batch out evenly: with a remainder it aborts when it starts.
    assert model["n_ubatch"] % parallel == 0
    assert model["n_batch"] == model["n_ubatch"] >= model["n_ctx"] / parallel
