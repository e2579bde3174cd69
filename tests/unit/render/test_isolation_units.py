"""What the rendered units and files do for isolation: switches, allow lists, limits."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import rendered

from bastide.schema.phone_home import SWITCHES, Switch

DOCS = Path(__file__).resolve().parents[3] / "docs/isolation.md"
PYTHON_UNITS = ("llm", "embeddings", "vectordb")


def files() -> dict[str, str]:
    found = {}
    for tree in rendered.trees(rendered.one_host()).values():
        found.update({path: file.content.decode() for path, file in tree.files.items()})
    return found


def lines(text: str) -> list[str]:
    """Return what counts in a file: no comments."""
    return [line for line in text.splitlines() if not line.lstrip().startswith("#")]


@pytest.mark.parametrize("switch", SWITCHES, ids=lambda each: f"{each.component}:{each.text}")
def test_every_way_out_is_closed(switch: Switch) -> None:
    every = files()
    places = [switch.file]
    if switch.file == "unit":
        places = [f"units/bastide-{group}.service" for group in PYTHON_UNITS]
    for place in places:
        held = any(switch.text in line for line in lines(every[place]))
        assert held is not switch.absent, place


@pytest.mark.parametrize("switch", SWITCHES, ids=lambda each: f"{each.component}:{each.text}")
def test_the_docs_have_every_switch(switch: Switch) -> None:
    row = f"| {switch.component} | {switch.would} | "
    rows = [line for line in DOCS.read_text().splitlines() if line.startswith(row)]
    assert len(rows) == 1
    assert f"`{switch.text}`" in rows[0]
    assert switch.source in rows[0]


def allowed(unit: str) -> list[str]:
    return re.findall(r"^IPAddressAllow=(.+)$", unit, re.MULTILINE)


def test_units_may_talk_to_whom_their_flows_name() -> None:
    trees = rendered.trees(rendered.two_hosts(isolation={"clients": ["10.7.0.0/16"]}))
    units = {
        name: file.content.decode()
        for tree in trees.values()
        for name, file in tree.files.items()
        if name.startswith("units/")
    }
    assert allowed(units["units/bastide-vectordb.service"]) == [
        "localhost", "10.77.0.11", "10.77.0.12",
    ]  # fmt: skip
    assert allowed(units["units/bastide-gateway.service"]) == [
        "localhost", "10.7.0.0/16", "10.77.0.1", "10.77.0.11", "10.77.0.12",
    ]  # fmt: skip
    assert allowed(units["units/bastide-firewall.service"]) == []
    assert all("IPAddressDeny=any" in lines(text) for text in units.values())


def test_on_a_single_host_services_talk_to_nobody_else() -> None:
    every = files()
    for group in PYTHON_UNITS:
        assert allowed(every[f"units/bastide-{group}.service"]) == ["localhost"]


@pytest.mark.parametrize("limit", ["MemoryMax=", "TasksMax="])
def test_every_unit_has_limits(limit: str) -> None:
    for path, text in files().items():
        if path.startswith("units/"):
            assert any(line.startswith(limit) for line in lines(text)), path


def test_a_release_without_nftables_has_no_filter_and_no_user_for_it() -> None:
    (tree,) = rendered.trees(rendered.one_host(), nftables=False).values()
    assert not [path for path in tree.files if "firewall" in path or "nftables" in path]
    assert b"bastide-firewall" not in tree.files["etc/sysusers.conf"].content
    (tree,) = rendered.trees(rendered.one_host(isolation={"firewall": False})).values()
    assert not [path for path in tree.files if "firewall" in path or "nftables" in path]


def test_the_filter_comes_before_the_network_and_as_no_root() -> None:
    unit = lines(files()["units/bastide-firewall.service"])
    assert "Before=network-pre.target basic.target" in unit
    assert "User=bastide-firewall" in unit
    assert [line for line in unit if line.startswith("CapabilityBoundingSet=")] == [
        "CapabilityBoundingSet=CAP_NET_ADMIN"
    ]
