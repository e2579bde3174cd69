"""The lab on this machine: real hosts, sealed, repaired after whatever happens to them."""

from __future__ import annotations

import contextlib
import json
import os
import pty
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from bastide import layout
from bastide.lab import manager, network, process_record, wait
from bastide.lab.errors import LabError
from bastide.lab.spec import LabSpec
from bastide.lab.state import LabState
from bastide.layout import Home, LabFolder
from bastide.progress import SilentProgress

pytestmark = pytest.mark.e2e

OUTSIDE = "203.0.113.1"  # of documentation; nothing of the lab may even try to send there
BASTIDE = (sys.executable, "-c", "from bastide.cli.main import main; main()")
CONNECT = (
    "import socket,sys\n"
    "probe = socket.socket()\n"
    "probe.settimeout(3)\n"
    "probe.connect((sys.argv[1], int(sys.argv[2])))\n"
    "print('connected')\n"
)
Runner = Callable[..., "subprocess.CompletedProcess[str]"]


def bastide(*arguments: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*BASTIDE, *arguments],
        check=False,
        input=stdin,
        capture_output=True,
        text=True,
        timeout=600,
    )


def result(done: subprocess.CompletedProcess[str]) -> Any:
    assert done.returncode == 0, done.stdout + done.stderr
    return json.loads(done.stdout)["result"]


def own_cgroups(name: str) -> list[Path]:
    root = Path("/sys/fs/cgroup")
    return [*root.glob(f"bastide-{name}-host*"), *root.glob(f"*/bastide-{name}-host*")]


def runners(name: str) -> list[str]:
    """Return the command lines of all systemd-nspawn processes of a lab."""
    lines = []
    for file in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            words = file.read_text(errors="replace").split("\0")
            if any(word.startswith(f"--machine=bastide-{name}-") for word in words):
                lines.append(" ".join(words))
    return lines


def assert_nothing_left(home: Home, name: str) -> None:
    assert not (home.lab / name).exists()
    assert network.namespaces(name) == ()
    assert not [*Path("/etc/netns").glob(f"bastide-{name}-*")]
    assert own_cgroups(name) == []
    assert runners(name) == []


@pytest.fixture
def scratch(lab_tools: None) -> Iterator[str]:  # noqa: ARG001
    """Yield the name of a lab that is gone before and after the test."""
    name, home = "e2e-scratch", layout.Home.default()
    manager.down(home, name, SilentProgress(), abandoned=True)
    yield name
    manager.down(home, name, SilentProgress())


def test_hosts_run_a_whole_systemd(lab: LabState, in_lab: Runner) -> None:
    for host in lab.hosts:
        assert host.alive
        assert in_lab("systemctl", "is-system-running", host=host.name).stdout == "running\n"
        assert in_lab("hostname", host=host.name).stdout == f"{host.name}\n"
    machine_ids = {in_lab("cat", "/etc/machine-id", host=h.name).stdout for h in lab.hosts}
    assert len(machine_ids) == len(lab.hosts)


def test_hosts_have_only_what_a_minimal_server_has(in_lab: Runner) -> None:
    for program in ("haproxy", "nft", "pip", "pip3", "gcc", "curl"):
        assert in_lab("which", program, host="host1", check=False).returncode != 0, program
    assert in_lab("python3", "-c", "import ensurepip", host="host1", check=False).returncode != 0


def test_names_resolve_on_every_node_without_a_name_server(in_lab: Runner) -> None:
    for host in (None, "host1", "host2"):
        for name, address in (("control", ".1"), ("host1", ".11"), ("host2", ".12")):
            found = in_lab("getent", "hosts", name, host=host).stdout.split()[0]
            assert found.endswith(address)
        assert in_lab("getent", "hosts", "deb.debian.org", host=host, check=False).returncode == 2


def test_nothing_leaves_and_the_probe_would_see_it(lab: LabState, in_lab: Runner) -> None:
    for host in (None, "host1", "host2"):
        sealed = in_lab("python3", "-c", CONNECT, OUTSIDE, "80", host=host, check=False)
        assert "Network is unreachable" in sealed.stderr
        opened = in_lab("python3", "-c", CONNECT, lab.hosts[0].address, "22", host=host)
        assert opened.stdout == "connected\n"
        assert in_lab("ip", "route", "show", "default", host=host).stdout == ""


def test_ip_address_deny_is_enforced_not_only_accepted(in_lab: Runner) -> None:
    def connect(*properties: str) -> subprocess.CompletedProcess[str]:
        unit = ("systemd-run", "--quiet", "--wait", "--pipe", *properties)
        command = ("python3", "-c", CONNECT, "127.0.0.1", "22")
        return in_lab(*unit, *command, host="host1", check=False)

    assert "connected" in connect().stdout
    denied = connect("--property=IPAddressDeny=any")
    assert "connected" not in denied.stdout
    assert denied.returncode != 0


def test_one_hosts_services_are_not_anothers(in_lab: Runner) -> None:
    unit = ("systemd-run", "--quiet", "--unit=twin", "sleep", "1000")
    in_lab(*unit, host="host1")
    in_lab(*unit, host="host2")
    in_lab("systemctl", "stop", "twin", host="host1")
    assert in_lab("systemctl", "is-active", "twin", host="host2").stdout == "active\n"
    in_lab("systemctl", "stop", "twin", host="host2")


def test_exec_passes_input_exit_code_folder_and_words(lab: LabState) -> None:
    name = ("--name", lab.name)
    done = bastide("lab", "exec", *name, "--", "sh", "-c", "cat; pwd; exit 7", stdin="in\n")
    assert (done.returncode, done.stdout) == (7, f"in\n{Path.cwd()}\n")
    done = bastide(
        *("lab", "exec", *name, "--host", "host2", "--"),
        *("sh", "-c", 'cat; hostname; printf "%s|" "$@"; exit 5', "sh", "a b", "$HOME", "it's"),
        stdin="in\n",
    )
    assert (done.returncode, done.stdout) == (5, "in\nhost2\na b|$HOME|it's|")


@pytest.mark.parametrize("where", [(), ("--host", "host1")])
def test_exec_passes_the_terminal(lab: LabState, where: tuple[str, ...]) -> None:
    master, slave = pty.openpty()
    argv = [*BASTIDE, "lab", "exec", "--name", lab.name, *where, "--", "tty"]
    with subprocess.Popen(argv, stdin=slave, stdout=slave, stderr=slave) as process:
        os.close(slave)
        seen = b""
        while True:
            try:
                block = os.read(master, 1000)
            except OSError:  # EIO: the last holder of the other end is gone
                break
            if not block:
                break
            seen += block
    os.close(master)
    assert process.returncode == 0
    assert b"/dev/pts/" in seen


def test_up_again_changes_nothing(lab: LabState, in_lab: Runner) -> None:
    before = [in_lab("cat", "/proc/sys/kernel/random/boot_id", "/proc/1/stat", host="host1").stdout]
    records = [LabFolder(lab.folder).host(h.name).process.read_text() for h in lab.hosts]
    again = result(bastide("lab", "up", "--name", lab.name, "--json"))
    assert [host["alive"] for host in again["hosts"]] == [True, True]
    assert records == [LabFolder(lab.folder).host(h.name).process.read_text() for h in lab.hosts]
    assert (
        before[0].splitlines()[0]
        == in_lab("cat", "/proc/sys/kernel/random/boot_id", host="host1").stdout.strip()
    )


def test_hosts_that_run_are_bounded_and_the_bound_outlives_their_power(
    lab: LabState, in_lab: Runner
) -> None:
    spin = "import time; end = time.time() + 2\nwhile time.time() < end: pass\n"
    spin += "print(time.process_time())"

    def used() -> float:
        return float(in_lab("python3", "-c", spin, host="host1").stdout)

    try:
        result(bastide("lab", "up", "--name", lab.name, "--cpus", "0.25", "--json"))
        assert used() < 1.0  # of two seconds; half of it is for processes that were running before
        bastide("lab", "kill", "--name", lab.name, "--host", "host1")
        assert result(bastide("lab", "up", "--name", lab.name, "--json"))["cpus"] == 0.25
        assert used() < 1.0
    finally:
        free = result(bastide("lab", "up", "--name", lab.name, "--cpus", "0", "--json"))
    assert free["cpus"] == 0


def test_another_release_is_refused(lab: LabState) -> None:
    done = bastide("lab", "up", "--name", lab.name, "--release", "trixie")
    assert done.returncode == 1
    assert "BAS-1018" in done.stderr


def test_a_power_cut_keeps_the_disk_and_up_boots_it_again(lab: LabState, in_lab: Runner) -> None:
    in_lab("sh", "-c", "echo kept > /root/marker && sync", host="host1")
    in_lab("sh", "-c", "echo 10.9.9.9 written-by-an-apply >> /etc/hosts", host="host1")
    killed = result(bastide("lab", "kill", "--name", lab.name, "--host", "host1", "--json"))
    assert [host["alive"] for host in killed["hosts"]] == [False, True]
    refused = bastide("lab", "exec", "--name", lab.name, "--host", "host1", "--", "true")
    assert "BAS-1017" in refused.stderr
    result(bastide("lab", "up", "--name", lab.name, "--json"))
    assert in_lab("cat", "/root/marker", host="host1").stdout == "kept\n"
    assert "written-by-an-apply" in in_lab("cat", "/etc/hosts", host="host1").stdout


def test_a_lost_namespace_is_made_again(lab: LabState, in_lab: Runner) -> None:
    subprocess.run(["ip", "netns", "delete", lab.hosts[1].namespace], check=True)
    result(bastide("lab", "up", "--name", lab.name, "--json"))
    assert in_lab("hostname", host="host2").stdout == "host2\n"


def test_a_second_command_is_told_who_holds_the_lab(lab: LabState) -> None:
    with subprocess.Popen(
        [*BASTIDE, "lab", "up", "--name", lab.name],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    ) as first:
        lock = layout.lab_lock(lab.name)
        assert wait.until(lambda: lock.exists() and str(first.pid) in lock.read_text(), 30)
        second = bastide("lab", "kill", "--name", lab.name, "--host", "host1")
        assert first.wait() == 0
    assert second.returncode == 9
    assert "BAS-9001" in second.stderr
    assert str(first.pid) in second.stderr


# How far an `up` has come → what can be seen of it at that point.
POINTS: dict[str, Callable[[LabFolder], bool]] = {
    "state written": lambda folder: folder.state.exists(),
    "disk half copied": lambda folder: any(folder.hosts.glob("*/disk.partial/etc")),
    "one disk whole": lambda folder: any(folder.hosts.glob("*/disk")),
    "network begun": lambda folder: bool(network.namespaces(folder.root.name)),
    "host started": lambda folder: any(folder.hosts.glob("*/process")),
    "host's systemd at work": lambda folder: any(
        b"systemd" in log.read_bytes() for log in folder.hosts.glob("*/console.log")
    ),
}


def kill_an_up(name: str, point: str) -> None:
    """Start `lab up` and kill only that process, not its children, at a point of its work."""
    folder = LabFolder(layout.Home.default().lab / name)
    with subprocess.Popen(
        [*BASTIDE, "lab", "up", "--name", name, "--hosts", "2"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    ) as first:
        assert wait.until(lambda: POINTS[point](folder), 300)
        first.send_signal(signal.SIGKILL)


@pytest.mark.parametrize("point", POINTS)
def test_a_killed_up_is_completed_by_the_next_one(scratch: str, point: str) -> None:
    kill_an_up(scratch, point)
    state = result(bastide("lab", "up", "--name", scratch, "--hosts", "2", "--json"))
    assert [host["alive"] for host in state["hosts"]] == [True, True]
    assert len(runners(scratch)) == 2
    result(bastide("lab", "down", "--name", scratch, "--json"))
    assert_nothing_left(layout.Home.default(), scratch)


@pytest.mark.parametrize("point", ["disk half copied", "network begun", "host started"])
def test_a_killed_up_is_removed_by_down(scratch: str, point: str) -> None:
    kill_an_up(scratch, point)
    result(bastide("lab", "down", "--name", scratch, "--json"))
    assert_nothing_left(layout.Home.default(), scratch)


def test_a_killed_build_leaves_no_builder_and_the_next_removes_its_remains(
    scratch: str, tmp_path: Path
) -> None:
    shelf = tmp_path / "lab/rootfs"

    def builders() -> list[str]:
        found = []
        for file in Path("/proc").glob("[0-9]*/cmdline"):
            with contextlib.suppress(OSError):
                if str(shelf) in (text := file.read_text(errors="replace")):
                    found.append(text)
        return found

    with subprocess.Popen(
        [*BASTIDE, "lab", "up", "--name", scratch],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
        env={**os.environ, "BASTIDE_CACHE": str(tmp_path)},
    ) as first:
        assert wait.until(lambda: any(shelf.glob(".partial-*/usr")), 120)
        assert builders()
        first.send_signal(signal.SIGKILL)
    assert wait.until(lambda: not builders(), 10)
    assert not [*shelf.glob("bookworm-*")]  # nothing half-built is ever taken for whole
    broken = bastide_with({"BASTIDE_CACHE": str(tmp_path)}, scratch, "http://127.0.0.1:9/debian")
    assert broken.returncode == 1
    assert "BAS-1013" in broken.stderr
    # The remains are removed by the next build there, whatever that one comes to.
    done = bastide("lab", "down", "--name", scratch, "--json")
    assert done.returncode == 0
    remains = [path for path in shelf.iterdir() if path.name != ".lock"]
    assert remains == []


def bastide_with(
    environment: dict[str, str], name: str, mirror: str
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*BASTIDE, "lab", "up", "--name", name, "--mirror", mirror],
        check=False,
        capture_output=True,
        text=True,
        timeout=300,
        env={**os.environ, **environment},
    )


def test_down_leaves_other_processes_other_labs_and_the_cache_alone(
    lab: LabState, scratch: str
) -> None:
    home, progress = layout.Home.default(), SilentProgress()
    state = manager.up(LabSpec(name=scratch), home, layout.cache_directory(), progress)
    with subprocess.Popen(manager.exec_argv(state, ["sleep", "600"])) as visitor:
        try:
            assert wait.until(lambda: visitor.pid in network.visitors(state.control_namespace), 10)
            removed = manager.down(home, scratch, progress)
            assert removed.visitors == (visitor.pid,)
            assert process_record.lookup(visitor.pid) is not None
        finally:
            visitor.kill()
    assert_nothing_left(home, scratch)
    assert [host.alive for host in manager.status(home, lab.name).hosts] == [True, True]
    assert [*(layout.cache_directory() / "lab/rootfs").glob("bookworm-*")]
    with pytest.raises(LabError):
        manager.status(home, scratch)
    assert manager.down(home, scratch, progress).hosts == ()  # and again: nothing to do


def test_a_lab_that_nobody_uses_goes_whichever_home_raised_it(scratch: str, tmp_path: Path) -> None:
    raised, mine, progress = Home(tmp_path / "other"), layout.Home.default(), SilentProgress()
    manager.up(LabSpec(name=scratch, hosts=1), raised, layout.cache_directory(), progress)
    with pytest.raises(LabError) as caught:
        manager.down(mine, scratch, progress, abandoned=True)  # its host runs: somebody uses it
    assert caught.value.code == "BAS-1021"
    manager.kill(raised, scratch, "host1")
    with pytest.raises(LabError):
        manager.down(mine, scratch, progress)
    assert manager.down(mine, scratch, progress, abandoned=True).hosts == ("host1",)
    assert_nothing_left(raised, scratch)
