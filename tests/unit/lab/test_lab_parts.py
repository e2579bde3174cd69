"""The lab's judgements: air gap, cache key, requirements, what is mounted, who owns what."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from bastide.lab import (
    air_gap,
    control_groups,
    disks,
    ownership,
    process_record,
    requirements,
    rootfs,
    trees,
    wait,
)
from bastide.lab.errors import LabError
from bastide.layout import LabFolder

INSIDE = "10.213.0.1"
LINKS = frozenset({"lo", "host0"})
SEALED = dict.fromkeys(air_gap.OUTSIDE, "ENETUNREACH")


def make_finding(**changes: object) -> air_gap.Finding:
    fields: dict[str, object] = {
        "node": "host1",
        "links": LINKS,
        "default_routes": (),
        "knocks": {**SEALED, INSIDE: "ECONNREFUSED"},
    }
    return air_gap.Finding(**{**fields, **changes})  # type: ignore[arg-type]


def test_a_sealed_node_is_found_sealed() -> None:
    assert air_gap.judge(make_finding(), LINKS, INSIDE) == ()


def test_a_packet_filter_of_the_node_may_be_what_answers() -> None:
    changes = {"knocks": {**SEALED, INSIDE: "EHOSTUNREACH"}}
    assert air_gap.judge(make_finding(**changes, filtered=True), LINKS, INSIDE) == ()
    assert air_gap.judge(make_finding(**changes), LINKS, INSIDE)


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"default_routes": ("eth0",)}, "default route"),
        ({"links": LINKS | {"eth0"}}, "link eth0"),
        ({"knocks": {**SEALED, air_gap.OUTSIDE[0]: "ETIMEDOUT", INSIDE: "connected"}}, "ETIMEDOUT"),
        ({"knocks": {**SEALED, air_gap.OUTSIDE[1]: "connected", INSIDE: "connected"}}, "connected"),
        ({"knocks": {INSIDE: "connected"}}, "not tried"),
        ({"knocks": {**SEALED, INSIDE: "ENETUNREACH"}}, "control of the probe"),
        ({"knocks": SEALED}, "control of the probe"),
    ],
)
def test_every_hole_and_every_blind_probe_is_found(
    changes: dict[str, object], expected: str
) -> None:
    problems = air_gap.judge(make_finding(**changes), LINKS, INSIDE)
    assert any(expected in problem.what for problem in problems)


def test_the_probe_sees_that_a_listener_answers() -> None:
    # The same program that runs on hosts, here against loopback only.
    argv = [sys.executable, "-c", air_gap.PROBE, "9", "1", "127.0.0.1"]
    done = subprocess.run(argv, check=True, capture_output=True, text=True)
    assert '"127.0.0.1": "ECONNREFUSED"' in done.stdout


def test_equal_recipes_have_equal_keys_and_others_other_ones() -> None:
    key = rootfs.content_key("bookworm")
    assert key == rootfs.content_key("bookworm")
    others = {
        rootfs.content_key("trixie"),
        rootfs.content_key("bookworm", "http://mirror.example/debian"),
        rootfs.content_key("bookworm", machine="sparc64"),
    }
    assert len(others | {key}) == 4


def test_a_changed_package_list_makes_another_key(monkeypatch: pytest.MonkeyPatch) -> None:
    before = rootfs.content_key("bookworm")
    monkeypatch.setattr(rootfs, "PACKAGES", (*rootfs.PACKAGES, "cowsay"))
    assert rootfs.content_key("bookworm") != before


def test_a_host_brings_nothing_that_the_bundle_must_bring() -> None:
    assert not {"python3-venv", "haproxy", "nftables", "libgomp1"} & set(rootfs.PACKAGES)


def test_the_build_dies_with_us_and_names_the_mirror_last() -> None:
    argv = rootfs.build_argv("bookworm", Path("/x/root"), "http://mirror.example/debian")
    assert argv[:3] == ["setpriv", "--pdeathsig", "KILL"]
    assert argv[-3:] == ["bookworm", "/x/root", "http://mirror.example/debian"]
    assert rootfs.build_argv("bookworm", Path("/x/root"))[-1] == "/x/root"


def test_too_little_space_is_said_with_both_figures(tmp_path: Path) -> None:
    with pytest.raises(LabError, match=r"GB free, the lab needs 1000000000\.0 GB") as caught:
        rootfs.check_space(tmp_path, 10**18)
    assert caught.value.code == "BAS-1019"


def test_missing_tools_are_said_with_the_line_that_installs_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(shutil, "which", lambda *_, **__: None)
    with pytest.raises(LabError) as caught:
        requirements.check()
    assert caught.value.code == "BAS-1012"
    assert "mmdebstrap" in str(caught.value)
    assert "apt-get install" in caught.value.hint
    assert "systemd-container" in caught.value.hint


def test_without_root_the_lab_says_so_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with pytest.raises(LabError) as caught:
        requirements.check()
    assert caught.value.code == "BAS-1011"


def test_mounts_are_undone_from_the_inside_out() -> None:
    mountinfo = "\n".join(
        f"{number} 1 0:1 / {point} rw - tmpfs tmpfs rw"
        for number, point in enumerate(["/", "/a", "/a/b", "/a/b/c\\040d", "/ab", "/other/a"])
    )
    assert trees.mounts_below(Path("/a/b"), mountinfo) == ("/a/b/c d", "/a/b")
    assert trees.mounts_below(Path("/nothing"), mountinfo) == ()


def test_lines_are_added_once_and_none_is_lost() -> None:
    before = "127.0.0.1 localhost\n10.0.0.9 gateway.site\n"
    after = disks.with_lines(before, "127.0.0.1 localhost\n10.213.0.12 host2\n")
    assert after == before + "10.213.0.12 host2\n"
    assert disks.with_lines(after, "10.213.0.12 host2\n") == after
    assert disks.with_lines("no newline at its end", "x\n") == "no newline at its end\nx\n"


def test_a_lab_of_another_home_is_left_alone(tmp_path: Path) -> None:
    owner = tmp_path / "owner"
    mine, other = LabFolder(tmp_path / "mine/lab/x"), LabFolder(tmp_path / "other/lab/x")
    ownership.check(owner, mine)  # nobody's yet
    owner.write_text(f"{other.root}\n")
    ownership.check(owner, mine)  # that home is gone: what is left of it may be taken over
    other.root.mkdir(parents=True)
    with pytest.raises(LabError) as caught:
        ownership.check(owner, mine)
    assert caught.value.code == "BAS-1021"
    assert f"BASTIDE_HOME={tmp_path / 'other'}" in caught.value.hint
    ownership.check(owner, other)


def test_a_process_and_all_below_it_are_found_and_ended() -> None:
    script = "sleep 600 & sleep 600 & echo ready; wait"
    with subprocess.Popen(["sh", "-c", script], stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        child.stdout.readline()
        found = process_record.lookup(child.pid)
        assert found is not None
        below = process_record.descendants(found)
        assert len(below) == 2
        for process in (found, *below):
            process_record.send(process, signal.SIGKILL)
        assert wait.until(lambda: not any(map(process_record.running, (found, *below))), 10)


def test_a_reused_id_is_not_signalled() -> None:
    own = process_record.lookup(os.getpid())
    assert own is not None
    stranger = process_record.Process(own.pid, own.started - 1)
    process_record.send(stranger, signal.SIGKILL)  # would end this very test


def test_waiting_ends_at_its_deadline() -> None:
    assert wait.until(lambda: True, 0)
    assert not wait.until(lambda: False, 0)


@pytest.mark.parametrize(("cpus", "quota"), [(0, -1), (0.5, 10_000), (2, 40_000), (0.001, 1_000)])
def test_a_share_of_the_processors_is_a_quota_of_each_period(cpus: float, quota: int) -> None:
    assert control_groups.quota(cpus) == quota


def test_a_bound_is_written_where_either_version_of_control_groups_reads_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(control_groups, "_SYSTEMD_RUNS", tmp_path / "none")
    old, new = tmp_path / "v1", tmp_path / "v2"
    for hierarchy in ("cpu", "memory"):
        (old / hierarchy).mkdir(parents=True)
        (old / hierarchy / "cgroup.procs").touch()
    new.mkdir()
    (new / "cgroup.procs").touch()
    for root in (old, new):
        monkeypatch.setattr(control_groups, "_ROOT", root)
        control_groups.make("one")
        if root is old:
            (old / "cpu/one/cpu.cfs_quota_us").touch()
        control_groups.bound("one", 0.5)
    assert (old / "cpu/one/cpu.cfs_quota_us").read_text() == "10000"
    assert (old / "cpu/one/cpu.cfs_period_us").read_text() == "20000"
    assert not [*(old / "memory/one").iterdir()]
    assert (new / "one/cpu.max").read_text() == "10000 20000"
    assert (new / "cgroup.subtree_control").read_text() == "+cpu"


def test_control_groups_may_go_while_they_are_looked_through(tmp_path: Path) -> None:
    (tmp_path / "cgroup.procs").write_text("1\n")
    stop = threading.Event()

    def come_and_go() -> None:  # as systemd's do while a host is killed
        while not stop.is_set():
            for number in range(20):
                (tmp_path / f"slice/{number}/service").mkdir(parents=True)
            for number in range(20):
                (tmp_path / f"slice/{number}/service").rmdir()
                (tmp_path / f"slice/{number}").rmdir()

    systemd = threading.Thread(target=come_and_go)
    systemd.start()
    try:
        for _ in range(300):
            assert set(control_groups.members((tmp_path,))) == {1}
    finally:
        stop.set()
        systemd.join()
    (tmp_path / "cgroup.procs").unlink()
    control_groups.remove((tmp_path,))
    assert not tmp_path.exists()
