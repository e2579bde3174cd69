"""Everything that changed was planned, and everything planned has happened: with made-up hosts."""

from __future__ import annotations

from typing import Any

import plan_factories as make
import pytest

from bastide.plan.fidelity import Unfulfilled, Unplanned, unfulfilled, unplanned
from bastide.schema.inventory import Entry, Inventory, UnitState
from bastide.schema.plan import HostPlan

FOLDER = Entry("d", "0755", "0:0", "")
GATEWAY = "bastide-gateway.service"


def file(content: str, package: str = "") -> Entry:
    return Entry("f", "0644", "0:0", make.sha(content), package)


def link(target: str) -> Entry:
    return Entry("l", "0777", "0:0", target)


def make_host_plan(**changes: Any) -> HostPlan:
    values: dict[str, Any] = {
        "host": "host1",
        "address": "10.0.0.11",
        "groups": ["gateway"],
        "generation_before": 1,
        "generation_after": 2,
        "generation_digest": make.sha("generation"),
        "tree_sha256": make.sha("tree"),
        "packages": [{"name": "haproxy", "before": "2.0", "after": "2.1"}],
        "files": [
            {"path": "etc/haproxy.cfg", "action": "update", "sha256": make.sha("new")},
            {"path": "etc/old.cfg", "action": "remove"},
        ],
        "units": [{"name": GATEWAY, "action": "restart"}],
        "users": [{"name": "bastide-gateway", "action": "create"}],
        "ports": [{"port": 8443, "address": "10.0.0.11", "unit": GATEWAY, "action": "open"}],
        "secrets": [
            {"path": "/etc/bastide/secrets/gateway.pem", "fingerprint": "", "action": "update"}
        ],
        "pulls": [
            {
                "name": "tree",
                "filename": "tree.tar",
                "sha256": make.sha("tree"),
                "size": 5,
                "destination": "/var/lib/bastide/artifacts/sha256/ab/abc",
            }
        ],
        "paths": [
            {"path": "/opt/bastide/current", "why": "link"},
            {"path": "/etc/passwd", "why": "accounts"},
            {"path": "/opt/bastide/cache", "why": "uv", "whole": True, "certain": False},
            {"path": "/var/lib/bastide/started/x", "why": "mark", "certain": False},
        ],
    }
    return HostPlan.model_validate({**values, **changes})


def before() -> Inventory:
    return Inventory(
        files={
            "/etc/passwd": file("passwd"),
            "/etc/hostname": file("host1"),
            "/etc/bastide/secrets/gateway.pem": file("old key"),
            "/opt/bastide/current": link("generations/1"),
            "/opt/bastide/generations/1/etc/haproxy.cfg": file("old"),
            "/usr/sbin/haproxy": file("haproxy 2.0", "haproxy"),
            "/usr/bin/env": file("env", "coreutils"),
            "/var/log/journal/1/system.journal": file("journal"),
        },
        users={"root": "0:0"},
        groups={"root": "0"},
        packages={"haproxy": "2.0", "coreutils": "9"},
        units={
            GATEWAY: UnitState("active", "1", "enabled"),
            "ssh.service": UnitState("active", "7", "enabled"),
            "user@0.service": UnitState("active", "8", "static"),
        },
        sockets=("0.0.0.0:22 ssh.service",),
        firewall="table inet filter",
        mounts=("tmpfs /tmp tmpfs",),
    )


def after() -> Inventory:
    held = before()
    files = {
        **held.files,
        "/etc/passwd": file("passwd and one more"),
        "/etc/bastide/secrets/gateway.pem": file("new key"),
        "/opt/bastide/cache/archive/x": file("x"),
        "/opt/bastide/cache/archive": FOLDER,
        "/opt/bastide/current": link("generations/2"),
        "/opt/bastide/generations/2": FOLDER,
        "/opt/bastide/generations/2/etc/haproxy.cfg": file("new"),
        "/usr/sbin/haproxy": file("haproxy 2.1", "haproxy"),
        "/var/lib/bastide/artifacts/sha256/ab": FOLDER,
        "/var/lib/bastide/artifacts/sha256/ab/abc": file("tree"),
        "/var/log/journal/1/system.journal": file("more journal"),
    }
    units = {
        **held.units,
        GATEWAY: UnitState("active", "2", "enabled"),
        "user@0.service": UnitState("inactive", "", "static"),
    }
    return held.replace(
        files=files,
        users={**held.users, "bastide-gateway": "997:997"},
        groups={**held.groups, "bastide-gateway": "997"},
        packages={**held.packages, "haproxy": "2.1"},
        units=units,
        sockets=(*held.sockets, f"10.0.0.11:8443 {GATEWAY}"),
    )


def test_a_faithful_apply_has_no_findings() -> None:
    assert unplanned(before(), after(), make_host_plan()) == ()
    assert unfulfilled(before(), after(), make_host_plan()) == ()


# --- negative controls: every kind of stray change is found ----------------------------------
STRAYS: list[tuple[str, object, Unplanned]] = [
    ("files", {"/etc/cron.d/stray": file("x")}, Unplanned("path", "/etc/cron.d/stray", "created")),
    ("files", {"/etc/hostname": file("y")}, Unplanned("path", "/etc/hostname", "changed")),
    ("files", {"/etc/hostname": None}, Unplanned("path", "/etc/hostname", "removed")),
    (
        "files",
        {"/etc/hostname": Entry("f", "0777", "0:0", make.sha("host1"))},
        Unplanned("path", "/etc/hostname", "changed"),
    ),
    (
        "files",
        {"/usr/bin/env": file("other", "coreutils")},
        Unplanned("path", "/usr/bin/env", "changed (of OS package coreutils)"),
    ),
    (
        "files",
        {"/opt/bastide/generations/1/etc/haproxy.cfg": file("touched")},
        Unplanned("path", "/opt/bastide/generations/1/etc/haproxy.cfg", "changed"),
    ),
    (
        "files",
        {"/opt/bastide/cache-not": file("x")},
        Unplanned("path", "/opt/bastide/cache-not", "created"),
    ),
    (
        "files",
        {"/etc/passwd/below": file("x")},
        Unplanned("path", "/etc/passwd/below", "created"),
    ),
    ("users", {"mallory": "0:0"}, Unplanned("user", "mallory", "created")),
    ("groups", {"wheel": "9"}, Unplanned("group", "wheel", "created")),
    ("packages", {"nc": "1"}, Unplanned("package", "nc", "not installed -> 1")),
    ("packages", {"haproxy": "2.2"}, Unplanned("package", "haproxy", "2.0 -> 2.2")),
    (
        "units",
        {"stray.service": UnitState("active", "1", "")},
        Unplanned("unit", "stray.service", "gone -> active"),
    ),
    (
        "units",
        {"ssh.service": UnitState("active", "9", "enabled")},
        Unplanned("unit", "ssh.service", "restarted or reloaded"),
    ),
    (
        "units",
        {"ssh.service": UnitState("active", "7", "disabled")},
        Unplanned("unit", "ssh.service", "enabled -> disabled"),
    ),
]


@pytest.mark.parametrize(("name", "change", "found"), STRAYS, ids=[str(s[2]) for s in STRAYS])
def test_a_stray_change_is_found(name: str, change: dict[str, Any], found: Unplanned) -> None:
    merged = {**getattr(after(), name), **change}
    host = after().replace(**{name: {k: v for k, v in merged.items() if v is not None}})
    assert unplanned(before(), host, make_host_plan()) == (found,)


@pytest.mark.parametrize(
    ("package", "state", "found"),
    [
        ("haproxy", UnitState("inactive", "", "disabled"), ()),
        ("haproxy", UnitState("inactive", "", "static"), ()),
        ("haproxy", UnitState("inactive", "", "enabled"),
         (Unplanned("unit", "extra.service", "unknown -> enabled"),)),
        ("haproxy", UnitState("active", "5", "disabled"),
         (Unplanned("unit", "extra.service", "unknown -> disabled"),)),
        ("other", UnitState("inactive", "", "disabled"),
         (Unplanned("path", "/usr/lib/systemd/system/extra.service",
                    "created (of OS package other)"),
          Unplanned("unit", "extra.service", "unknown -> disabled"))),
    ],
)  # fmt: skip
def test_a_planned_package_may_bring_a_unit_that_sleeps(
    package: str, state: UnitState, found: tuple[Unplanned, ...]
) -> None:
    files = {**after().files, "/usr/lib/systemd/system/extra.service": file("unit", package)}
    host = after().replace(files=files, units={**after().units, "extra.service": state})
    assert unplanned(before(), host, make_host_plan()) == found


@pytest.mark.parametrize(
    ("name", "value", "found"),
    [
        ("sockets", ("0.0.0.0:22 ssh.service", f"10.0.0.11:8443 {GATEWAY}", "0.0.0.0:9 nc"),
         Unplanned("port", "0.0.0.0:9 nc", "opened")),
        ("sockets", (f"10.0.0.11:8443 {GATEWAY}",),
         Unplanned("port", "0.0.0.0:22 ssh.service", "closed")),
        ("firewall", "", Unplanned("firewall", "nftables' rules", "changed")),
        ("mounts", (), Unplanned("mount", "tmpfs /tmp tmpfs", "unmounted")),
    ],
)  # fmt: skip
def test_a_stray_port_rule_or_mount_is_found(name: str, value: object, found: Unplanned) -> None:
    host = after().replace(**{name: value})
    assert unplanned(before(), host, make_host_plan()) == (found,)


# --- promises that were not kept -------------------------------------------------------------
BROKEN: list[tuple[str, dict[str, Any], tuple[str, str]]] = [
    ("files", {"/opt/bastide/current": link("generations/1")}, ("generation", "2")),
    ("files", {"/opt/bastide/generations/2/etc/haproxy.cfg": file("old")},
     ("files", "etc/haproxy.cfg")),
    ("files", {"/opt/bastide/generations/2/etc/old.cfg": file("x")}, ("files", "etc/old.cfg")),
    ("files", {"/var/lib/bastide/artifacts/sha256/ab/abc": None}, ("pulls", "tree")),
    ("files", {"/etc/bastide/secrets/gateway.pem": file("old key")},
     ("secrets", "/etc/bastide/secrets/gateway.pem")),
    ("files", {"/etc/passwd": file("passwd")}, ("paths", "/etc/passwd")),
    ("packages", {"haproxy": "2.0"}, ("packages", "haproxy")),
    ("units", {GATEWAY: UnitState("active", "1", "enabled")}, ("units", GATEWAY)),
    ("units", {GATEWAY: UnitState("failed", "2", "enabled")}, ("units", GATEWAY)),
    ("users", {"bastide-gateway": None}, ("users", "bastide-gateway")),
]  # fmt: skip


@pytest.mark.parametrize(("name", "change", "which"), BROKEN, ids=[str(b[2]) for b in BROKEN])
def test_a_broken_promise_is_found(
    name: str, change: dict[str, Any], which: tuple[str, str]
) -> None:
    merged = {**getattr(after(), name), **change}
    host = after().replace(**{name: {k: v for k, v in merged.items() if v is not None}})
    found = unfulfilled(before(), host, make_host_plan())
    assert which in {(each.kind, each.what) for each in found}


@pytest.mark.parametrize(
    ("promise", "which"),
    [
        ({"collected": [1]}, ("collected", "1")),
        ({"data": [{"kind": "snapshot", "what": "a copy"}]}, ("data", "snapshot")),
        ({"firewall": [{"rule": "in: 443", "action": "add"}]}, ("firewall", "nftables' rules")),
    ],
)
def test_what_was_promised_beside_files_is_looked_for(
    promise: dict[str, Any], which: tuple[str, str]
) -> None:
    plan = make_host_plan(**promise)
    assert [(each.kind, each.what) for each in unfulfilled(before(), after(), plan)] == [which]
    files = {**after().files, "/var/lib/bastide/snapshots/s1/snapshot.json": file("stamp")}
    kept = {path: entry for path, entry in files.items() if "/generations/1" not in path}
    host = after().replace(files=kept, firewall="other rules")
    assert unfulfilled(before(), host, plan) == ()


def test_a_port_that_nobody_listens_on_is_found() -> None:
    host = after().replace(sockets=before().sockets)
    assert unfulfilled(before(), host, make_host_plan()) == (
        Unfulfilled("ports", f"10.0.0.11:8443 {GATEWAY}", "nothing listens there"),
    )
