"""Every host says by itself what it is, so that nobody has to guess."""

from __future__ import annotations

import json

import pytest

from bastide.schema.expectations import Expectations
from bastide.verify.suite import Machine, Saw

pytestmark = pytest.mark.area("Identity")


def test_host_knows_its_release(machine: Machine, expected: Expectations, saw: Saw) -> None:
    """The host carries the record of the expected release and models"""
    record = json.loads(machine.host.check_output("cat /etc/bastide/release.json"))
    found = f"{record['name']}-{record['version']}"
    saw(f"release {found}")
    assert found == expected.release, f"expected {expected.release}, found {found}"
    recorded = {model["sha256"] for model in record["models"].values()}
    missing = [each.name for each in machine.expected.models if each.sha256 not in recorded]
    assert not missing, f"the record does not name {', '.join(missing)}"


def test_host_knows_its_place(machine: Machine, expected: Expectations, saw: Saw) -> None:
    """The host knows its site, its name and its groups"""
    record = json.loads(machine.host.check_output("cat /etc/bastide/host.json"))
    saw(f"{record['host']} of {record['site']}: {', '.join(record['groups'])}")
    assert (record["site"], record["host"]) == (expected.site, machine.name)
    assert set(record["groups"]) == {str(group) for group in machine.expected.groups}


def test_host_knows_where_it_came_from(machine: Machine) -> None:
    """The host carries its upgrade manifest"""
    manifest = machine.host.file("/etc/bastide/upgrade-manifest.yaml")
    assert manifest.is_file
    assert "upgrade" in manifest.content_string


def test_one_generation_is_current(machine: Machine, expected: Expectations, saw: Saw) -> None:
    """A complete generation is current, made from the expected bundle or of the same content"""
    target = machine.host.check_output("readlink -f /opt/bastide/current")
    record = json.loads(machine.host.check_output("cat %s", f"{target}/generation.json"))
    saw(f"generation {record['number']}")
    assert target == f"/opt/bastide/generations/{record['number']}"
    # Of a bundle built anew, an apply leaves hosts alone for which nothing is different.
    wanted = {("bundle", expected.bundle), ("digest", machine.expected.generation)}
    assert wanted & {("bundle", record["bundle"]), ("digest", record["digest"])}, (
        f"expected a generation of bundle {expected.bundle}, found one of {record['bundle']}"
    )
