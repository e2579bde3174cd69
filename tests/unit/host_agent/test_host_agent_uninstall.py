"""An uninstall finds what there is on the host itself; declared data and others' things stay."""

from __future__ import annotations

import gzip
import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
from bastide_host import packages, prepare, uninstall
from bastide_host.host import Paths

from bastide import layout
from bastide.plan import places
from bastide.schema.leftovers import KINDS, Leftovers

STATUS = "Package: {name}\nStatus: install ok installed\nVersion: 1\n\n"
HISTORY = """
Start-Date: 2026-11-26  12:24:30
Commandline: apt-get -q -oDir::Etc::sourcelist=/etc/apt/sources.list.d/bastide.list install haproxy
Install: haproxy:amd64 (2.6.12-1), liblua5.3-0:amd64 (5.3.6-2, automatic)
Upgrade: libc6:amd64 (2.36-8, 2.36-9)
End-Date: 2026-11-26  12:24:32

Start-Date: 2026-11-20  08:00:00
Commandline: apt-get install tmux
Install: tmux:amd64 (3.3a-3)
End-Date: 2026-11-20  08:00:01
"""


class Machine:
    """A root folder, and what would have been run on it."""

    def __init__(self, root: Path) -> None:
        self.paths = Paths(root)
        self.ran: list[list[str]] = []
        self.fails: set[str] = set()
        self.tables = ""

    def write(self, path: str, text: str = "x") -> Path:
        place = self.paths.at(path)
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(text)
        return place

    def link(self, path: str, target: str) -> None:
        place = self.paths.at(path)
        place.parent.mkdir(parents=True, exist_ok=True)
        place.symlink_to(target)

    def run(self, argv: list[str], **_: Any) -> subprocess.CompletedProcess[str]:
        if argv[:2] in (["nft", "list"], ["systemctl", "list-units"]):
            shown = self.tables if argv[0] == "nft" else ""
            return subprocess.CompletedProcess(argv, 0, shown, "")
        self.ran.append(argv)
        if argv[0] in self.fails:
            return subprocess.CompletedProcess(argv, 1, "", "no")
        self._pretend(argv)
        return subprocess.CompletedProcess(argv, 0, "", "")

    def _pretend(self, argv: list[str]) -> None:
        if argv[:2] == ["dpkg", "--purge"]:
            status = self.paths.at("/var/lib/dpkg/status")
            for name in argv[2:]:
                status.write_text(status.read_text().replace(STATUS.format(name=name), ""))
        if argv[0] == "userdel":
            for table in ("/etc/passwd", "/etc/group"):
                lines = self.paths.at(table).read_text().splitlines()
                kept = [line for line in lines if not line.startswith(f"{argv[1]}:")]
                self.paths.at(table).write_text("\n".join(kept) + "\n")
        if argv[:3] == ["nft", "delete", "table"]:
            assert argv[4] in self.tables  # nft says so if it is not there
            self.tables = self.tables.replace(f"table {argv[3]} {argv[4]}\n", "")


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    machine = Machine(tmp_path / "root")
    monkeypatch.setattr(uninstall, "run", machine.run)
    write, link = machine.write, machine.link
    write("/etc/passwd", "root:x:0:0::/root:/bin/sh\nbastide:x:1000:1000::/home/b:/bin/sh\n")
    write("/etc/group", "root:x:0:\nbastide:x:1000:\n")
    write("/var/lib/dpkg/status", STATUS.format(name="tmux") + STATUS.format(name="libc6"))
    write("/etc/sudoers.d/bastide", "the administrator's own rule")
    write("/home/b/bastide.txt")
    write("/etc/systemd/system/nginx.service")
    link("/etc/systemd/system/ctrl-alt-del.target", "/dev/null")
    link("/etc/systemd/system/exim4.service", "/dev/null")
    return machine


def everything(machine: Machine) -> set[str]:
    root = machine.paths.root
    return {str(p.relative_to(root)) for p in root.rglob("*") if p.is_symlink() or p.is_file()}


def install(machine: Machine) -> None:
    write, link = machine.write, machine.link
    for account in ("passwd", "group"):
        place = machine.paths.at(f"/etc/{account}")
        place.write_text(
            place.read_text()
            + "bastide-llm:x:998:998::/nonexistent:/bin/false\n"
            + "prometheus:x:102:103::/var/lib/prometheus:/usr/sbin/nologin\n"
        )
    status = machine.paths.at("/var/lib/dpkg/status")
    status.write_text(status.read_text() + STATUS.format(name="haproxy"))
    write("/var/lib/dpkg/info/haproxy.list", "/lib/systemd/system/haproxy.service\n")
    link("/etc/systemd/system/haproxy.service", "/dev/null")
    for unit in ("bastide-llm.service", "bastide-renew.timer"):
        write(f"/opt/bastide/generations/1/units/{unit}")
        link(f"/etc/systemd/system/{unit}", f"/opt/bastide/current/units/{unit}")
        link(f"/etc/systemd/system/multi-user.target.wants/{unit}", f"../{unit}")
    write("/opt/bastide/generations/1/etc/sysusers.conf", "u bastide-llm - x\n")
    link("/opt/bastide/current", "generations/1")
    write("/etc/sysusers.d/bastide.conf", "u bastide-llm - x\n")
    write("/etc/sysctl.d/60-bastide.conf")
    write("/etc/systemd/journald.conf.d/bastide.conf")
    write("/etc/systemd/system/prometheus.service.d/bastide.conf")
    write("/etc/apt/sources.list.d/bastide.list")
    write("/etc/apt/sources.list.d/debian.sources" + prepare.ASIDE, "URIs: http://x")
    write("/etc/bastide/secrets/api_key")
    write("/run/bastide/agent.lock")
    write("/run/bastide-gateway/pid")
    write("/var/lib/bastide/models/a.gguf")
    write(
        "/var/lib/bastide/" + packages.RECORD,
        '{"packages": ["haproxy", "gone"], "accounts": ["prometheus"]}',
    )
    write("/var/lib/bastide/vectordb/storage/collections/docs/data")
    write("/var/lib/bastide/snapshots/one/snapshot.json")
    write("/var/lib/bastide/texts/2026-11-26.jsonl")
    machine.tables = "table inet bastide\ntable ip filter\n"


def test_a_watch_of_the_isolation_goes_on(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(machine)
    machine.tables += "table inet bastide_watch\n"
    machine.write("/run/bastide-watch/record.json")
    # What is loaded is looked at on real hosts only.
    monkeypatch.setattr(uninstall, "_loaded", lambda _: ["watch-bastide.service"])
    listed = uninstall.uninstall_list(machine.paths)
    told = json.dumps(listed)
    assert "watch" not in told
    uninstall.uninstall(machine.paths, {"delete_data": True})
    assert machine.paths.at("/run/bastide-watch/record.json").exists()
    assert "bastide_watch" in machine.tables
    stopped = next(argv for argv in machine.ran if argv[:2] == ["systemctl", "stop"])
    assert "watch-bastide.service" not in stopped


def test_nothing_is_left_but_declared_data_and_what_was_there_before(machine: Machine) -> None:
    write = machine.write("/etc/apt/sources.list.d/debian.sources", "URIs: http://x")
    before = everything(machine)
    write.unlink()
    install(machine)
    listed = Leftovers.model_validate(uninstall.uninstall_list(machine.paths))
    assert (listed.packages, listed.masks) == (("haproxy",), ("haproxy.service",))
    assert listed.tables == ("inet bastide",)
    ours = ("bastide-llm", "prometheus")  # not the administrator's `bastide`
    assert listed.users == listed.groups == ours
    answer = uninstall.uninstall(machine.paths, {"delete_data": False})
    left = Leftovers.model_validate(answer["after"])
    assert answer["faults"] == []
    assert left.things == {}
    data = [f"/var/lib/bastide/{name}" for name in ("vectordb", "snapshots", "texts")]
    assert left.data == tuple(data)
    gone = everything(machine) - before - {"var/lib/dpkg/info/haproxy.list"}  # dpkg's to remove
    assert gone == {
        "var/lib/bastide/vectordb/storage/collections/docs/data",
        "var/lib/bastide/snapshots/one/snapshot.json",
        "var/lib/bastide/texts/2026-11-26.jsonl",
    }
    assert before - everything(machine) == set()
    assert machine.ran[0][:3] == ["systemctl", "stop", "bastide-renew.timer"]  # before its service


def test_data_goes_if_that_is_asked_for(machine: Machine) -> None:
    install(machine)
    answer = uninstall.uninstall(machine.paths, {"delete_data": True})
    assert answer["after"]["data"] == []
    assert not machine.paths.at("/var/lib/bastide").exists()


def test_file_systems_of_the_administrator_stay_mounted(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(machine)
    machine.write("/run/systemd/system/var-lib-bastide.mount")
    mounts = [machine.paths.at(place) for place in ("/opt/bastide", "/var/lib/bastide")]
    for mount in mounts:
        (mount / "lost+found").mkdir(parents=True)
    monkeypatch.setattr(Path, "is_mount", lambda path: path in mounts)
    answer = uninstall.uninstall(machine.paths, {"delete_data": True})
    assert answer["after"]["paths"] == []
    assert answer["after"]["units"] == []
    assert [[each.name for each in mount.iterdir()] for mount in mounts] == [["lost+found"]] * 2


def test_it_can_be_repeated_and_finds_nothing_then(machine: Machine) -> None:
    install(machine)
    uninstall.uninstall(machine.paths, {})
    machine.ran.clear()
    again = uninstall.uninstall(machine.paths, {})
    assert Leftovers.model_validate(again["before"]).things == {}
    assert not [argv for argv in machine.ran if argv[0] in {"dpkg", "userdel", "nft"}]


@pytest.mark.parametrize("left", ["folders", "policy", "accounts", "nothing"])
def test_half_an_installation_goes_as_well(machine: Machine, left: str) -> None:
    before = everything(machine)
    if left == "folders":
        machine.write("/opt/bastide/bin/bastide_host.py")
        machine.write("/var/lib/bastide/artifacts/sha256/ab/x.partial")
    if left == "policy":  # killed in apt: the administrator's own policy is aside
        own = machine.write("/usr/sbin/policy-rc.d", "own")
        before = everything(machine)
        own.rename(own.with_name(packages.POLICY_SAVED))
        own.write_text(packages.POLICY_TEXT)
    if left == "accounts":
        group = machine.paths.at("/etc/passwd")
        group.write_text(group.read_text() + "bastide-llm:x:998:998::/:/bin/false\n")
    answer = uninstall.uninstall(machine.paths, {})
    assert Leftovers.model_validate(answer["after"]).things == {}
    assert everything(machine) == before


def test_hosts_that_are_older_than_the_record_are_read_from_apts_history(machine: Machine) -> None:
    install(machine)
    machine.paths.at("/var/lib/bastide/" + packages.RECORD).unlink()
    for name in ("liblua5.3-0",):
        status = machine.paths.at("/var/lib/dpkg/status")
        status.write_text(status.read_text() + STATUS.format(name=name))
    packed = machine.write("/var/log/apt/history.log.1.gz")
    packed.write_bytes(gzip.compress(HISTORY.encode()))
    found = uninstall.uninstall_list(machine.paths)["packages"]
    assert found == ["haproxy", "liblua5.3-0"]  # neither what was upgraded nor tmux


def test_what_does_not_go_is_said(machine: Machine) -> None:
    install(machine)
    machine.fails = {"dpkg"}
    answer = uninstall.uninstall(machine.paths, {})
    assert answer["faults"][0].startswith("dpkg --purge: no")
    left = Leftovers.model_validate(answer["after"])
    assert left.packages == ("haproxy",)
    assert left.users == ("prometheus",)  # it may be the package's
    assert left.paths == (f"/var/lib/bastide/{packages.RECORD}",)  # so that another try goes on
    machine.fails = set()
    again = uninstall.uninstall(machine.paths, {})
    assert Leftovers.model_validate(again["after"]).things == {}


def test_packages_are_remembered_before_apt_installs_them(tmp_path: Path) -> None:
    paths = Paths(tmp_path)
    paths.state.mkdir(parents=True)
    status = paths.at("/var/lib/dpkg/status")
    status.parent.mkdir(parents=True)
    status.write_text(STATUS.format(name="libc6"))
    packages._remember(paths, ["haproxy=2", "libc6=2"])
    packages._remember(paths, ["keepalived=1"])
    record = json.loads((paths.state / packages.RECORD).read_text())
    assert (record["packages"], record["accounts"]) == (["haproxy", "keepalived"], [])
    packages._remember(paths, ["prometheus-node-exporter=1"])
    record = json.loads((paths.state / packages.RECORD).read_text())
    assert record["accounts"] == ["prometheus"]
    (paths.state / packages.RECORD).unlink()
    passwd = paths.at("/etc/passwd")
    passwd.parent.mkdir(parents=True)
    passwd.write_text("prometheus:x:102:103::/:/bin/false\n")  # the administrator's own
    packages._remember(paths, ["prometheus-node-exporter=1"])
    assert json.loads((paths.state / packages.RECORD).read_text())["accounts"] == []
    (paths.state / packages.RECORD).unlink()
    (paths.state / "good.json").write_text("{}")  # an older host: half a record would hide more
    packages._remember(paths, ["keepalived=1"])
    assert not (paths.state / packages.RECORD).exists()


def test_agent_and_control_node_mean_the_same() -> None:
    assert tuple(f"{uninstall.STATE}/{name}" for name in uninstall.DATA) == tuple(
        map(str, layout.HOST_DATA)
    )
    assert packages.SOURCE == places.APT_SOURCE
    assert prepare.ASIDE == places.SET_ASIDE
    assert set(KINDS) <= set(Leftovers.model_fields)
    own = {*uninstall.OWN, uninstall.STATE}
    for folder in layout.HOST_FOLDERS:
        assert any(str(folder) == top or str(folder).startswith(f"{top}/") for top in own)
