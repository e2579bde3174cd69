"""The state file that others read, and the commands made from it."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bastide.lab import disks, machine, manager, process_record, state
from bastide.lab.errors import LabError
from bastide.lab.spec import LabSpec
from bastide.lab.state import LabState
from bastide.layout import Home, LabFolder


def make_state(root: Path, hosts: int = 2, name: str = "lab") -> LabState:
    folder = LabFolder(root / "lab" / name)
    return manager.describe(LabSpec(name=name), folder, hosts)


def test_state_survives_a_round_trip(tmp_path: Path) -> None:
    written = make_state(tmp_path)
    written.folder.mkdir(parents=True)
    state.save(written)
    assert state.load(Home(tmp_path), "lab") == written


def test_alive_is_asked_anew_not_believed(tmp_path: Path) -> None:
    written = make_state(tmp_path)
    written.folder.mkdir(parents=True)
    state.save(written.replace(hosts=tuple(h.replace(alive=True) for h in written.hosts)))
    own = LabFolder(written.folder).host("host2")
    own.root.mkdir(parents=True)
    boot = Path("/proc/sys/kernel/random/boot_id").read_text()
    own.process.write_text(boot + Path("/proc/self/stat").read_text())
    assert [host.alive for host in state.load(Home(tmp_path), "lab").hosts] == [False, True]


def test_no_lab_says_how_to_raise_one(tmp_path: Path) -> None:
    assert state.find(Home(tmp_path), "lab") is None
    with pytest.raises(LabError) as caught:
        state.load(Home(tmp_path), "mine")
    assert caught.value.code == "BAS-1017"
    assert "lab up --name mine" in caught.value.hint


@pytest.mark.parametrize("content", ["", "{", "[]", '{"format": "bastide.lab/2"}'])
def test_a_damaged_state_says_how_to_get_rid_of_it(tmp_path: Path, content: str) -> None:
    folder = state.folder_of(Home(tmp_path), "lab")
    folder.root.mkdir(parents=True)
    folder.state.write_text(content)
    with pytest.raises(LabError, match="not a lab's state") as caught:
        state.load(Home(tmp_path), "lab")
    assert "lab down" in caught.value.hint


def test_a_folder_outside_the_home_is_refused(tmp_path: Path) -> None:
    with pytest.raises(LabError):
        state.folder_of(Home(tmp_path), "../elsewhere")


def test_an_unknown_host_is_answered_with_the_known_ones(tmp_path: Path) -> None:
    with pytest.raises(LabError, match="host1, host2"):
        manager.exec_argv(make_state(tmp_path), ["true"], "host3")


def test_a_command_on_the_control_node_is_passed_as_it_is(tmp_path: Path) -> None:
    command = ["bastide", "apply", "--flag", "a b"]
    argv = manager.exec_argv(make_state(tmp_path), command)
    assert argv == ["ip", "netns", "exec", "bastide-lab-control", *command]


@given(st.lists(st.text(st.characters(exclude_characters="\0"), max_size=8), min_size=1))
def test_a_hosts_shell_sees_the_very_same_words(words: list[str]) -> None:
    argv = manager.exec_argv(make_state(Path("/home")), words, "host1")
    assert argv[:5] == ["ip", "netns", "exec", "bastide-lab-control", "ssh"]
    assert argv[-3:-1] == ["host1", "--"]
    assert shlex.split(argv[-1]) == words


def test_a_terminal_is_asked_for_only_if_there_is_one(tmp_path: Path) -> None:
    lab = make_state(tmp_path)
    assert "-t" in manager.exec_argv(lab, ["top"], "host1", terminal=True)
    assert "-t" not in manager.exec_argv(lab, ["top"], "host1")
    assert manager.exec_argv(lab, [], "host1")[-1] == "host1"  # a login shell


def test_ssh_trusts_nothing_but_pinned_keys(tmp_path: Path) -> None:
    text = disks.ssh_config(make_state(tmp_path))
    assert "StrictHostKeyChecking yes" in text
    assert "GlobalKnownHostsFile /dev/null" in text
    assert "Host host2\n    HostName 10.213.0.12" in text


def test_a_host_boots_in_its_own_namespace_with_what_it_needs(tmp_path: Path) -> None:
    lab = make_state(tmp_path, name="e2e")
    argv = machine.nspawn_argv("e2e", lab.hosts[1], tmp_path / "disk")
    assert "--network-namespace-path=/run/netns/bastide-e2e-host2" in argv
    assert "--hostname=host2" in argv
    assert "--machine=bastide-e2e-host2" in argv
    assert any(one.startswith("--capability=") and "CAP_NET_ADMIN" in one for one in argv)
    # Without version 2 and bpf, IPAddressDeny would be accepted and would do nothing.
    assert "SYSTEMD_NSPAWN_UNIFIED_HIERARCHY=1" in argv
    assert "--system-call-filter=bpf" in argv


@given(
    st.integers(1, 2**22),
    st.text(st.characters(exclude_characters="\n\r", codec="utf-8"), max_size=15),
    st.integers(0, 2**63),
    st.integers(0, 2**22),
)
def test_stat_lines_are_read_whatever_the_name(
    pid: int, name: str, started: int, parent: int
) -> None:
    rest = " ".join(["0"] * 17)
    stat = process_record.parse_stat(f"{pid} ({name}) S {parent} {rest} {started} 1 2")
    assert stat.process == process_record.Process(pid, started)
    assert (stat.state, stat.parent) == ("S", parent)


@given(st.text(max_size=40))
def test_other_lines_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        process_record.parse_stat(text)


def test_a_record_of_an_earlier_boot_or_process_is_of_nobody(tmp_path: Path) -> None:
    record = tmp_path / "process"
    assert process_record.read(record) is None
    own = Path("/proc/self/stat").read_text()
    record.write_text("00000000-0000-0000-0000-000000000000\n" + own)
    assert process_record.read(record) is None
    boot = Path("/proc/sys/kernel/random/boot_id").read_text()
    record.write_text(boot + own)
    assert process_record.alive(record)
    head, _, tail = own.rpartition(")")
    fields = tail.split()
    fields[19] = str(int(fields[19]) - 1)  # the id was used before, by a process that is gone
    record.write_text(f"{boot}{head}) {' '.join(fields)}")
    assert not process_record.alive(record)
