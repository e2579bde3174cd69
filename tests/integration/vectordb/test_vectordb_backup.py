"""A backup and its restore with the real service and the real agent, behind an ``ssh`` of ours."""

from __future__ import annotations

import dataclasses
import io
import json
import os
import subprocess
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import plan_factories
import pytest
from bastide_host import recovery
from bastide_host.data import list_snapshots, other_folders
from bastide_host.fence import raise_fence
from bastide_host.host import AgentError
from bastide_host.vectors import VectorDb

from bastide.backup import archive, make
from bastide.backup.codes import NOT_RESTORED
from bastide.backup.control_files import open_control
from bastide.backup.keys import RecoveryKey, add_recipients, make_recovery_key, read_recovery_key
from bastide.backup.opening import Opened, known_signers, open_backup
from bastide.backup.proof import prove_data
from bastide.backup.restore_data import restore_data
from bastide.errors import ApplyError, ConfigError, LockedError, TrustError
from bastide.host.lock import exclusive_lock
from bastide.layout import Home, SiteFolder
from bastide.progress import SilentProgress
from bastide.schema.site import Group
from bastide.site.create import create_site
from bastide.site.vault import PASSWORD_FILE_VARIABLE

pytestmark = [
    pytest.mark.integration,
    pytest.mark.filterwarnings("ignore:Api key is used with an insecure connection"),
]
NOW = datetime(2026, 11, 26, 2, 30, tzinfo=UTC)
SSH = """#!/bin/sh
# Takes ssh's place: runs the remote command here, on the host below ROOT.
for last; do :; done
exec sh -c "$last --root $ROOT"
"""


@dataclass
class Scene:
    host: Any
    order: make.Order
    key: RecoveryKey

    def save(self) -> make.BackupResult:
        return make.make_backup(self.order, SilentProgress())

    def open(self, path: Path) -> Opened:
        signers = known_signers(self.order.home, self.key, "")
        return open_backup(path, self.key, signers, SilentProgress())

    def restore(self, path: Path, *, replace: bool) -> Any:
        site, folder = self.order.site, self.order.folder
        opened = self.open(path)
        return restore_data(opened, self.key, site, folder, SilentProgress(), replace=replace)


@pytest.fixture
def scene(host: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Scene:
    program = tmp_path / "bin" / "ssh"
    program.parent.mkdir()
    program.write_text(SSH)
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("ROOT", str(host.paths.root))
    monkeypatch.delenv(PASSWORD_FILE_VARIABLE, raising=False)
    folder, home = SiteFolder(tmp_path / "site"), Home(tmp_path / "home")
    site = plan_factories.make_site({"host1": tuple(Group)})
    create_site(folder, site, home, NOW)
    public = make_recovery_key(tmp_path / "plant.key", "plant", "")
    add_recipients(folder.recipients, [public])
    order = make.Order(site, folder, home, tmp_path / "out", NOW)
    return Scene(host, order, read_recovery_key(tmp_path / "plant.key"))


def activate(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the agent's last step run here, with a systemctl that drives the service under test."""
    host = scene.host

    def systemctl(argv: list[str], **_: Any) -> subprocess.CompletedProcess[str]:
        if argv[1] == "stop":
            host.server.stop()
        if argv[1] == "start":
            host.start()
        return subprocess.CompletedProcess(argv, 0, "", "")

    def order(_line: Any, _name: str, given: Any) -> Any:
        try:
            return recovery.restore_activate(host.paths, given)
        except AgentError as error:
            raise ApplyError(str(error), code=error.code) from error

    monkeypatch.setattr(recovery, "run", systemctl)
    monkeypatch.setattr("bastide.backup.hosts.activate", order)


def counts(scene: Scene) -> dict[str, int]:
    return VectorDb(scene.host.paths).counts()


def test_a_backup_is_whole_and_leaves_the_host_as_it_was(scene: Scene) -> None:
    paths = scene.host.paths
    before = counts(scene)
    done = scene.save()
    assert done.points == {"host1": before}
    assert not paths.fence.exists()
    assert (list_snapshots(paths), other_folders(paths)) == ([], {})
    assert json.loads((paths.state / "notes/backup.json").read_text())["ok"] is True
    opened = scene.open(done.path)
    assert prove_data(opened, "host1", scene.key) == done.data_files > 10
    assert open_control(opened.folder, opened.header, opened.contents, scene.key).files
    raw = b"".join(path.read_bytes() for path in done.path.iterdir())
    assert b"tenant" not in raw  # a payload's field
    assert b"named with out" not in raw  # a collection's name
    scene.host.more()  # writes are let in again


def test_data_comes_back_and_what_was_live_stays_aside(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    activate(scene, monkeypatch)
    before = counts(scene)
    done = scene.save()
    scene.host.more()
    assert counts(scene) != before
    with pytest.raises(ApplyError, match="has live data") as refused:
        scene.restore(done.path, replace=False)
    assert refused.value.code == "BAS-6132"
    assert counts(scene) != before
    (found,) = scene.restore(done.path, replace=True)
    assert (found.points, found.files, found.probes) == (before, done.data_files, 9)
    assert counts(scene) == before
    aside = Path(found.aside)
    assert (aside / "storage").is_dir()
    assert not scene.host.paths.fence.exists()
    scene.host.server.client().delete("plain", [5])  # and it takes writes
    again = scene.restore(done.path, replace=True)[0]
    assert again.aside != found.aside
    assert aside.is_dir()


def test_a_restore_onto_an_empty_host_leaves_nothing_aside(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    activate(scene, monkeypatch)
    before, done = counts(scene), scene.save()
    for name in before:
        scene.host.server.client().delete_collection(name)
    (found,) = scene.restore(done.path, replace=False)
    assert (counts(scene), found.aside) == (before, "")
    assert other_folders(scene.host.paths) == {}


def test_data_that_does_not_answer_as_it_did_is_taken_back(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    activate(scene, monkeypatch)
    done = scene.save()
    scene.host.more()
    live = counts(scene)
    monkeypatch.setattr(recovery, "check_data", lambda *_: ["collection 'plain' is missing"])
    with pytest.raises(ApplyError) as refused:
        scene.restore(done.path, replace=True)
    assert refused.value.code == "BAS-6135"
    assert counts(scene) == live
    assert not scene.host.paths.fence.exists()
    assert other_folders(scene.host.paths) == {}


def test_bytes_that_change_on_the_way_never_become_live(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    done = scene.save()
    for name in counts(scene):
        scene.host.server.client().delete_collection(name)
    opened = scene.open(done.path)
    part = next(done.path.glob("data-*"))
    content = bytearray(part.read_bytes())
    content[len(content) // 2] ^= 1
    part.write_bytes(content)  # after it was checked
    monkeypatch.setattr(Scene, "open", lambda *_: opened)
    with pytest.raises(TrustError) as refused:
        scene.restore(done.path, replace=False)
    assert refused.value.code == "BAS-4080"
    assert counts(scene) == {}
    assert [n for n in other_folders(scene.host.paths) if not n.startswith("restore-")] == []


def test_a_host_that_sends_half_gives_no_backup(scene: Scene, tmp_path: Path) -> None:
    cut = SSH.replace('exec sh -c "$last --root $ROOT"', 'sh -c "$last --root $ROOT"; code=$?\n'
                      'case "$last" in *backup-send) exit 255;; *) exit $code;; esac')  # fmt: skip
    (tmp_path / "bin" / "ssh").write_text(cut)
    with pytest.raises(ApplyError, match="did not send its data to the end"):
        scene.save()
    assert archive.list_backups(scene.order.out) == ()
    assert [path.name for path in scene.order.out.iterdir()] == [".lock"]
    assert list_snapshots(scene.host.paths) == []
    noted = json.loads((scene.host.paths.state / "notes/backup.json").read_text())
    assert noted["ok"] is False


def test_a_run_under_way_keeps_a_backup_out(scene: Scene) -> None:
    with exclusive_lock(scene.order.folder.lock, "apply"), pytest.raises(LockedError):
        scene.save()
    raise_fence(scene.host.paths, "20261126T000000.000Z-abcdef", "0" * 64)
    with pytest.raises(ApplyError) as refused:
        scene.save()
    assert refused.value.code == "BAS-6130"
    assert scene.host.paths.fence.exists()  # another's


def test_a_backup_without_data_asks_no_host_for_it(scene: Scene) -> None:
    scene.order = dataclasses.replace(scene.order, with_data=False)
    done = scene.save()
    assert (done.points, done.data_files) == ({}, 0)
    assert not list(done.path.glob("data-*"))
    assert scene.restore(done.path, replace=False) == ()


def test_data_of_the_engine_server_is_refused_not_left_out(scene: Scene) -> None:
    site = scene.order.site
    vectordb = site.vectordb.replace(engine="server")
    scene.order = dataclasses.replace(scene.order, site=site.replace(vectordb=vectordb))
    with pytest.raises(ConfigError) as refused:
        scene.save()
    assert refused.value.code == "BAS-2182"


def test_what_a_killed_agent_left_is_taken_over(scene: Scene) -> None:
    raise_fence(scene.host.paths, "backup-20261125T023000Z", "0" * 64)
    left = scene.host.paths.snapshots / "backup-20261125T023000Z" / "storage"
    left.mkdir(parents=True)
    scene.save()
    assert not left.exists()
    assert not scene.host.paths.fence.exists()


def test_data_of_another_engine_is_refused(scene: Scene) -> None:
    scene.save()
    stamp = {"edge": "9.1.0", "creator": "9", "size": 0, "files": {}}
    given = {"id": "restore-x", "stamp": stamp, "replace": False}
    with pytest.raises(AgentError) as refused:
        recovery.restore_receive(scene.host.paths, given, io.BytesIO())
    assert refused.value.code == recovery.OTHER_ENGINE != NOT_RESTORED
