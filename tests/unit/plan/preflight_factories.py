"""A fit host's condition and a fit control node's, and what a check says when one is changed."""

from __future__ import annotations

import dataclasses
from typing import Any

import plan_factories as make

from bastide.plan.inputs import PlanInputs
from bastide.plan.preflight import Finding, Outcome, PreflightInputs, evaluate
from bastide.plan.preflight.places import MODES
from bastide.schema.condition import ControlCondition, HostCondition, Place
from bastide.schema.facts import SiteFacts

NOW = 1_800_000_000
GREETING = "bastide-preflight 1234"
FLAGS = ("cx16", "lahf_lm", "popcnt", "sse4_1", "sse4_2", "ssse3", "avx2", "fma", "f16c", "bmi2")
OTHER_PLACES = ("/usr", "/usr/sbin", "/var/lib/dpkg", "/etc/systemd/system", "/tmp", "/run")


def make_place(path: str, **changes: Any) -> Place:
    values: dict[str, Any] = {
        "path": path,
        "kind": "folder",
        "owner": 0,
        "mode": MODES.get(path, 0o755),
        "device": "vda1",
        "file_system": "ext4",
        "free_bytes": 20 * make.GIB,
        "size_bytes": 40 * make.GIB,
        "free_inodes": 1_000_000,
    }
    return Place.model_validate({**values, **changes})


def make_condition(
    place: tuple[str, dict[str, Any]] | None = None, **changes: Any
) -> HostCondition:
    where, different = place or ("", {})
    values: dict[str, Any] = {
        "cpu_flags": FLAGS, "numa_nodes": 1, "load": 0.1, "memory_available": 8 * make.GIB,
        "swap_bytes": 0, "swap_free": 0, "commit_limit": 9 * make.GIB, "committed": 0,
        "overcommit": 0, "kernel": "6.1.0-25-amd64", "cgroup": "unified", "entropy": 256,
        "threads_max": 60_000, "map_count": 65_530, "open_files": 524_288,
        "port_range": (32_768, 60_999), "unprivileged_port": 1024, "synchronised": True,
        "init": "systemd", "system_state": "running", "failed_units": (), "uid": 0,
        "capabilities_missing": (), "selinux": "", "apparmor": (), "allow_listing": False,
        "fips": False, "machine_id": "a" * 32, "boot_id": "b", "localhost": "127.0.0.1",
        "modules_missing": (), "programs_missing": (), "tls_fault": "",
        "places": [
            make_place(path, **(different if path == where else {}))
            for path in (*MODES, *OTHER_PLACES)
        ],
        "packages_broken": {}, "packages_held": (), "packages_interrupted": False,
        "packages_database": "", "packages_locks": {}, "pins": {}, "apt_fault": "",
        "policy_left": False, "users": {}, "groups": {}, "unit_files": (), "drop_ins": (),
        "haproxy_unit": "", "rivals": {}, "current_kind": "missing", "current_target": "",
        "current_exists": False, "record_damaged": False, "environment_fault": "",
        "backends_dangling": False, "model_ends": {}, "strangers": (), "agent_busy": "",
        "fence_since": None, "has_address": True, "mtu": 1500, "depot_greeting": GREETING,
        "peers": {},
    }  # fmt: skip
    return HostCondition.model_validate({**values, **changes})


def make_control(**changes: Any) -> ControlCondition:
    values: dict[str, Any] = {
        "address_is_here": True, "depot_fault": "", "depot_greeting": GREETING,
        "authority_from": NOW - 10**6, "authority_until": NOW + 10**8, "authority_fault": "",
        "secrets_fault": "", "secrets_hint": "", "blobs": (), "model_ends": {},
        "site_free": 10 * make.GIB, "site_free_inodes": 10**6, "site_writable": True,
        "lock_holder": "", "plan_stale": "", "home_writable": True, "programs_missing": (),
        "key_mode": 0o600,
    }  # fmt: skip
    return ControlCondition.model_validate({**values, **changes})


def outcomes(
    plan: PlanInputs | None = None,
    conditions: dict[str, HostCondition] | None = None,
    control: ControlCondition | None = None,
) -> tuple[Outcome, ...]:
    plan = plan or make.make_inputs()
    conditions = conditions or {name: make_condition() for name in plan.facts.hosts}
    hosts = {n: f.replace(condition=conditions.get(n)) for n, f in plan.facts.hosts.items()}
    plan = dataclasses.replace(plan, facts=SiteFacts(hosts=hosts))
    return evaluate(
        PreflightInputs(plan, make.make_target(), make.make_cards(), NOW, control or make_control())
    )


def findings(*args: Any, **kwargs: Any) -> tuple[Finding, ...]:
    return tuple(each for outcome in outcomes(*args, **kwargs) for each in outcome.findings)
