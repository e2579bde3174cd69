from __future__ import annotations

import xml.etree.ElementTree as ET
from typing import Any

import plan_factories as make
import preflight_factories as made
import pytest

from bastide.plan.planner import make_plan
from bastide.plan.preflight import CHECKS, Severity, counts, junit
from bastide.schema.artifact import ArtifactKind
from bastide.schema.audit import Audit
from bastide.schema.facts import Transition
from bastide.schema.site import SERVING, Group

REFUSE, WARN = Severity.REFUSE, Severity.WARN
UNITS = "/etc/systemd/system/"


def test_a_fit_site_passes_every_check() -> None:
    found = made.outcomes()
    assert {outcome.result for outcome in found} == {"passed"}
    assert counts(found)["checks"] == len(CHECKS)


CONDITIONS: tuple[tuple[str, Severity, dict[str, Any], str], ...] = (
    ("BAS-5100", REFUSE, {"cpu_flags": made.FLAGS[1:]}, "cx16"),
    ("BAS-5101", WARN, {"cpu_flags": made.FLAGS[:7]}, "bmi2, f16c, fma"),
    ("BAS-5102", REFUSE, {"kernel": "4.15.0"}, "4.15.0"),
    ("BAS-5103", WARN, {"memory_available": 1000}, "1000 bytes"),
    ("BAS-5104", REFUSE, {"overcommit": 2, "commit_limit": 5, "committed": 4}, "promised"),
    ("BAS-5105", WARN, {"swap_bytes": 4 * make.GIB, "swap_free": make.GIB}, "swapped out"),
    ("BAS-5106", WARN, {"load": 9.0}, "load is 9.0"),
    ("BAS-5107", WARN, {"numa_nodes": 2}, "2 NUMA nodes"),
    ("BAS-5109", WARN, {"open_files": 1024}, "1024"),
    ("BAS-5110", REFUSE, {"threads_max": 100}, "100"),
    ("BAS-5111", REFUSE, {"map_count": 100}, "65530"),
    ("BAS-5111", WARN, {"map_count": 30_000}, "65530"),
    ("BAS-5112", WARN, {"entropy": 5}, "5 bits"),
    ("BAS-5113", WARN, {"port_range": (8443, 9000)}, "gateway_port 8443"),
    ("BAS-5114", REFUSE, {"unprivileged_port": 6400}, "vectordb_port is 6333"),
    ("BAS-5115", REFUSE, {"init": "bash"}, "bash"),
    ("BAS-5116", REFUSE, {"system_state": "stopping"}, "stopping"),
    ("BAS-5117", WARN, {"failed_units": ("x.service",)}, "x.service"),
    ("BAS-5118", REFUSE, {"uid": 1000}, "user 1000"),
    ("BAS-5118", REFUSE, {"capabilities_missing": ("CHOWN",)}, "CHOWN"),
    ("BAS-5119", REFUSE, {"modules_missing": ("zlib",)}, "zlib"),
    ("BAS-5120", REFUSE, {"tls_fault": "no cipher is allowed"}, "no cipher"),
    ("BAS-5121", REFUSE, {"programs_missing": ("dpkg",)}, "dpkg"),
    ("BAS-5122", WARN, {"cgroup": "legacy"}, "legacy"),
    ("BAS-5123", WARN, {"selinux": "enforcing"}, "enforcing"),
    ("BAS-5124", WARN, {"apparmor": ("/usr/sbin/haproxy",)}, "/usr/sbin/haproxy"),
    ("BAS-5125", REFUSE, {"allow_listing": True}, "fapolicyd"),
    ("BAS-5126", REFUSE, {"machine_id": ""}, "empty"),
    ("BAS-5128", WARN, {"synchronised": False}, "no time service"),
    ("BAS-5129", WARN, {"localhost": "10.1.1.1"}, "10.1.1.1"),
    ("BAS-5131", REFUSE, {"place": ("/tmp", {"read_only": True})}, "/tmp"),
    ("BAS-5132", REFUSE, {"place": ("/opt/bastide", {"noexec": True})}, "/opt/bastide"),
    ("BAS-5133", REFUSE, {"place": ("/opt/bastide", {"free_inodes": 9})}, "9 free"),
    ("BAS-5134", REFUSE, {"place": ("/var/lib/bastide", {"file_system": "nfs4"})}, "nfs4"),
    ("BAS-5135", REFUSE, {"place": ("/opt/bastide", {"file_system": "tmpfs"})}, "reboot"),
    ("BAS-5136", REFUSE, {"place": ("/opt/bastide", {"kind": "link", "target": "/srv"})}, "/srv"),
    ("BAS-5137", REFUSE, {"place": ("/etc/bastide", {"owner": 33})}, "user 33"),
    ("BAS-5138", REFUSE, {"place": ("/etc/bastide/secrets", {"mode": 0o755})}, "not 0700"),
    ("BAS-5139", REFUSE, {"place": ("/etc/systemd/system", {"locked": True})}, "immutable"),
    ("BAS-5141", WARN, {"place": ("/var/lib/bastide", {"size_bytes": 900 * make.GIB})}, "free of"),
    ("BAS-5142", REFUSE, {"place": ("/run", {"free_bytes": 5})}, "/run has 5 bytes"),
    ("BAS-5143", REFUSE, {"packages_database": "status is empty"}, "empty"),
    ("BAS-5144", REFUSE, {"packages_broken": {"vim": "unpacked"}}, "vim (unpacked)"),
    ("BAS-5145", REFUSE, {"packages_interrupted": True}, "updates"),
    ("BAS-5146", REFUSE, {"packages_locks": {"/l": "apt (7)"}}, "apt (7)"),
    ("BAS-5147", REFUSE, {"packages_held": ("haproxy",)}, "haproxy is held"),
    ("BAS-5148", REFUSE, {"pins": {"hap*": -1}}, "'hap*' is pinned to -1"),
    ("BAS-5149", REFUSE, {"apt_fault": "E: Syntax error"}, "Syntax error"),
    ("BAS-5150", WARN, {"policy_left": True}, "policy-rc.d"),
    ("BAS-5151", REFUSE, {"haproxy_unit": "own"}, "own"),
    ("BAS-5151", REFUSE, {"rivals": {"haproxy": "haproxy.service"}}, "something else"),
    ("BAS-5152", WARN, {"rivals": {"qdrant": "q.service"}}, "q.service"),
    ("BAS-5153", REFUSE, {"users": {"bastide-llm": {"uid": 1001, "gid": 9, "shell": "/bin/false"}}},
     "1001"),
    ("BAS-5153", REFUSE, {"users": {"bastide-llm": {"uid": 9, "gid": 9, "shell": "/bin/sh"}}},
     "/bin/sh"),
    ("BAS-5154", REFUSE, {"groups": {"bastide-llm": {"gid": 9, "members": ["eve"]}}}, "eve"),
    ("BAS-5155", REFUSE, {"unit_files": [{"path": UNITS + "bastide-llm.service"}]}, "of its own"),
    ("BAS-5155", REFUSE, {"unit_files": [{"path": "/run/systemd/system/bastide-llm.service"}]},
     "/run/"),
    ("BAS-5156", REFUSE,
     {"unit_files": [{"path": UNITS + "bastide-llm.service", "target": "/dev/null"}]}, "masked"),
    ("BAS-5157", REFUSE, {"drop_ins": ("/etc/x.conf",)}, "/etc/x.conf"),
    ("BAS-5158", REFUSE, {"strangers": ("theirs",)}, "theirs"),
    ("BAS-5159", REFUSE, {"current_kind": "other"}, "not a link"),
    ("BAS-5159", REFUSE, {"current_kind": "link", "current_target": "/srv"}, "/srv"),
    ("BAS-5159", REFUSE, {"current_kind": "link", "current_target": "generations/3"}, "gone"),
    ("BAS-5160", REFUSE, {"record_damaged": True}, "generation.json"),
    ("BAS-5161", REFUSE, {"environment_fault": "x is missing"}, "x is missing"),
    ("BAS-5162", REFUSE, {"backends_dangling": True}, "nowhere"),
    ("BAS-5165", REFUSE, {"agent_busy": "python3 (8)"}, "python3 (8)"),
    ("BAS-5167", WARN, {"fence_since": "2026"}, "2026"),
    ("BAS-5169", REFUSE, {"has_address": False}, "10.0.0.11"),
    ("BAS-5170", WARN, {"mtu": 576}, "576"),
    ("BAS-5171", REFUSE, {"depot_greeting": "!no answer in 3 s"}, "no answer"),
    ("BAS-5171", REFUSE, {"depot_greeting": "SSH-2.0"}, "another machine"),
    ("BAS-5172", REFUSE, {"peers": {"10.0.0.12 port 8081": "No route"}}, "10.0.0.12 port 8081"),
)  # fmt: skip


@pytest.mark.parametrize(("code", "severity", "changes", "words"), CONDITIONS)
def test_a_hosts_condition(
    code: str, severity: Severity, changes: dict[str, Any], words: str
) -> None:
    (found,) = made.findings(conditions={"host1": made.make_condition(**changes)})
    assert (found.code, found.severity) == (code, severity)
    assert found.problem.where == "host1"
    assert words in found.problem.what
    assert found.problem.hint
    assert found.problem.code == code


CONTROLS: tuple[tuple[str, Severity, dict[str, Any], str], ...] = (
    ("BAS-5173", REFUSE, {"address_is_here": False, "depot_fault": "x"}, "10.0.0.1"),
    ("BAS-5060", REFUSE, {"depot_fault": "Address already in use"}, "port 8740"),
    ("BAS-5064", REFUSE, {"blobs": [("a", "missing")]}, "lacks a"),
    ("BAS-5174", REFUSE, {"blobs": [("a", "size")]}, "another size"),
    ("BAS-5175", REFUSE, {"blobs": [(n, "content") for n in "abcde"]}, "a, b, c and 2 more"),
    ("BAS-5176", REFUSE, {"secrets_fault": "lost", "secrets_hint": "find it"}, "lost"),
    ("BAS-5177", REFUSE, {"authority_fault": "not a certificate"}, "not a certificate"),
    ("BAS-5178", REFUSE, {"authority_until": made.NOW - 1}, "ended on 2027-01-15"),
    ("BAS-5178", REFUSE, {"authority_from": made.NOW + 10**6}, "begins on"),
    ("BAS-5179", WARN, {"authority_until": made.NOW + 10**6}, "ends on"),
    ("BAS-5180", REFUSE, {"site_free": 5}, "5 bytes"),
    ("BAS-5180", REFUSE, {"site_free_inodes": 5}, "5 free"),
    ("BAS-5181", REFUSE, {"site_writable": False}, "site's folder"),
    ("BAS-5181", REFUSE, {"home_writable": False}, "BASTIDE_HOME"),
    ("BAS-5182", REFUSE, {"programs_missing": ("ssh",)}, "ssh"),
    ("BAS-5183", REFUSE, {"key_mode": 0o644}, "0644"),
    ("BAS-5184", WARN, {"lock_holder": "process 5"}, "process 5"),
    ("BAS-5185", WARN, {"plan_stale": "another bundle"}, "another bundle"),
)


@pytest.mark.parametrize(("code", "severity", "changes", "words"), CONTROLS)
def test_the_control_nodes_condition(
    code: str, severity: Severity, changes: dict[str, Any], words: str
) -> None:
    if "blobs" in changes:
        faults = [{"name": n, "sha256": make.sha(n), "fault": f} for n, f in changes["blobs"]]
        changes = {"blobs": faults}
    (found,) = made.findings(control=made.make_control(**changes))
    assert (found.code, found.severity) == (code, severity)
    assert found.problem.where == "control node"
    assert words in found.problem.what


def test_every_check_but_those_of_facts_has_a_case_here() -> None:
    cases = {code for code, *_ in (*CONDITIONS, *CONTROLS)}
    elsewhere = {"BAS-5108", "BAS-5127", "BAS-5130", "BAS-5140", "BAS-5163", "BAS-5164"}
    elsewhere |= {"BAS-5166", "BAS-5168", "BAS-5192", "BAS-5193", "BAS-5194", "BAS-5195"}
    ours = {check.code for check in CHECKS if check.code >= "BAS-5100"}
    assert ours == (cases | elsewhere) - {"BAS-5060", "BAS-5064"}


def test_apt_is_no_reason_where_nothing_is_to_be_installed() -> None:
    plan = make.make_inputs()
    done = make.applied(plan, make_plan(plan))
    condition = made.make_condition(packages_broken={"vim": "unpacked"}, apt_fault="E: no")
    found = made.findings(done, {"host1": condition})
    assert {(each.code, each.severity) for each in found} == {
        ("BAS-5144", WARN),
        ("BAS-5149", WARN),
    }


def test_one_machine_with_two_addresses_is_refused_and_a_copy_is_told() -> None:
    plan = make.make_inputs(make.make_site({"host1": SERVING, "host2": (Group.LLM,)}))
    same = {name: made.make_condition() for name in ("host1", "host2")}
    assert {(f.code, f.severity) for f in made.findings(plan, same)} == {("BAS-5127", REFUSE)}
    copy = {"host1": made.make_condition(), "host2": made.make_condition(boot_id="c")}
    assert {(f.code, f.severity) for f in made.findings(plan, copy)} == {("BAS-5127", WARN)}


def test_models_are_compared_by_their_ends() -> None:
    plan = make.make_inputs()
    done = make.applied(plan, make_plan(plan))
    chat = next(a for a in make.make_artifacts() if a.name == "chat")
    assert chat.kind is ArtifactKind.MODEL
    control = made.make_control(model_ends={chat.sha256: "good"})
    for end, touched, found in (
        ("good", (), []),
        ("good", (chat.sha256,), []),
        ("bad", (), [("BAS-5163", REFUSE)]),
        ("bad", (chat.sha256,), [("BAS-5164", WARN)]),  # the apply reads it, and fetches it again
    ):
        condition = made.make_condition(model_ends={chat.sha256: end}, models_touched=touched)
        seen = made.findings(done, {"host1": condition}, control)
        assert [(f.code, f.severity) for f in seen] == found


def test_what_apply_mends_is_only_told() -> None:
    plan = make.make_inputs()
    done = make.applied(plan, make_plan(plan))
    chat = next(a for a in make.make_artifacts() if a.name == "chat")
    models = {**done.facts.hosts["host1"].models, chat.sha256: 5}
    under_way = Transition(run="r", before=1, after=2, content=make.sha("c"))
    changed = make.with_facts(
        done, models=models, transition=under_way, units={"bastide-llm.service": "failed"}
    )
    found = made.findings(changed)
    assert {each.code for each in found} == {"BAS-5164", "BAS-5166", "BAS-5168"}
    assert {each.severity for each in found} == {WARN}


def test_texts_that_nobody_deletes_are_told() -> None:
    folder = {"/var/lib/bastide/texts": "folder"}
    for days, host, told in ((None, "host1", True), (30, "host1", False), (30, "host2", True)):
        site = make.make_site({"host1": SERVING, "host2": (Group.EMBEDDINGS,)})
        plan = make.make_inputs(site.replace(audit=Audit(texts_days=days)))
        done = make.applied(plan, make_plan(plan))
        held = {**done.facts.hosts[host].places, **folder}
        found = made.findings(make.with_facts(done, host, places=held))
        found = tuple(each for each in found if each.code != "BAS-5127")
        assert [(f.code, f.severity, f.problem.where) for f in found] == (
            [("BAS-5195", WARN, host)] if told else []
        )


def test_a_snapshot_needs_room_beside_what_comes() -> None:
    plan = make.make_inputs()
    done = make.applied(plan, make_plan(plan))
    later = make.with_facts(done, release="starter-2026.10.0", data_bytes=30 * make.GIB)
    assert [f.code for f in made.findings(later)] == ["BAS-5140"]
    same = make.with_facts(done, release=plan.release, data_bytes=30 * make.GIB)
    assert made.findings(same) == ()


def test_more_threads_than_cpus_and_a_host_without_a_name() -> None:
    site = make.make_site().replace(sizes={"llm": {"threads": 64}})
    plan = make.with_facts(make.make_inputs(site), hostname="localhost")
    assert {f.code for f in made.findings(plan)} == {"BAS-5108", "BAS-5130"}


def test_junit_counts_failures_and_keeps_warnings() -> None:
    condition = made.make_condition(load=99.0, init="bash")
    root = ET.fromstring(junit(made.outcomes(conditions={"host1": condition}), 1.5))  # noqa: S314
    suites = {suite.get("name"): suite for suite in root}
    assert set(suites) == {"control node", "site.yaml", "host1"}
    assert suites["host1"].get("failures") == "1"
    cases = {case.get("name"): case for case in suites["host1"]}
    failure = cases["init"].find("failure")
    assert failure is not None
    assert failure.get("type") == "BAS-5115"
    assert cases["load"].findtext("system-out", "").startswith("BAS-5106 (warning)")
