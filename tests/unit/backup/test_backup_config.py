"""Which files of the control node a backup has, and how they come back: over nothing."""

from __future__ import annotations

import dataclasses
import io
import shutil
import subprocess
import sys
import tarfile
from datetime import UTC, datetime
from pathlib import Path

import plan_factories as make
import pytest

from bastide.backup.control_files import SavedFiles, as_tar, gather
from bastide.backup.restore_config import has_config, restore_config
from bastide.backup.schedule import Timer, install, remove, units_of
from bastide.errors import ApplyError, ConfigError
from bastide.layout import Home, SiteFolder
from bastide.schema.backup_archive import ControlFile
from bastide.site.config import load_site
from bastide.site.create import create_site
from bastide.site.secrets import open_secrets
from bastide.site.vault import PASSWORD_FILE_VARIABLE

NOW = datetime(2026, 11, 26, tzinfo=UTC)


@pytest.fixture(autouse=True)
def _no_override(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(PASSWORD_FILE_VARIABLE, raising=False)


@pytest.fixture
def home(tmp_path: Path) -> Home:
    home = Home(tmp_path / "home")
    home.site_trust.parent.mkdir(parents=True)
    home.site_trust.write_text("{}")
    home.ledger.write_text("entry\n")
    (home.root / "store").mkdir()
    (home.root / "store" / "blob").write_text("comes from the bundle")
    (home.root / "publisher").mkdir()
    (home.root / "publisher" / "key").write_text("not the site's")
    return home


@pytest.fixture
def folder(tmp_path: Path, home: Home) -> SiteFolder:
    ssh = tmp_path / "ssh"
    ssh.mkdir()
    (ssh / "id").write_text("private")
    folder = SiteFolder(tmp_path / "site")
    site = make.make_site()
    site = site.replace(ssh=site.ssh.replace(private_key=str(ssh / "id"), known_hosts="hosts"))
    create_site(folder, site, home, NOW)
    (folder.root / "hosts").write_text("host keys")
    for name in (
        "plan.json",
        "reports/a/report.html",
        "runs/r1/log",
        "backups/old/x.age",
        "earlier/plant-1/backup.json",
        "earlier/.partial-plant-2/control.tar.age",
    ):
        (folder.root / name).parent.mkdir(parents=True, exist_ok=True)
        (folder.root / name).write_text("x")
    (folder.root / "evaluations").mkdir()
    (folder.root / "evaluations" / "one.json").write_text("{}")
    (folder.root / "link").symlink_to("/etc/passwd")
    return folder


def save(folder: SiteFolder, home: Home) -> SavedFiles:
    found = gather(folder, home, load_site(folder.root), folder.root / "backups")
    written: list[ControlFile] = []
    with as_tar(found, written) as stream:
        archive = stream.read()
    modes = {each.path: each.mode for each in written}
    with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
        files = {m.name: (tar.extractfile(m).read(), modes[m.name]) for m in tar}  # type: ignore[union-attr]
    assert set(files) == set(found)
    return SavedFiles(files)


def test_a_backup_has_what_a_site_needs_and_no_more(folder: SiteFolder, home: Home) -> None:
    label = next(home.vault_passwords.iterdir()).name
    assert set(save(folder, home).files) == {
        "site/site.yaml",
        "site/secrets.vault.yaml",
        "site/ca.pem",
        "site/hosts",
        "site/evaluations/one.json",
        "home/trust/site.json",
        "home/ledger.jsonl",
        f"home/vault/{label}",
        "ssh/private_key",
        "ssh/known_hosts",
    }


def test_it_comes_back_on_an_empty_machine(folder: SiteFolder, home: Home, tmp_path: Path) -> None:
    saved, before = save(folder, home), open_secrets(folder, home)
    new, there = SiteFolder(tmp_path / "new"), Home(tmp_path / "there")
    assert not has_config(new, "plant")
    (tmp_path / ".new.restoring").mkdir()  # of a restore that was cut off
    done = restore_config(saved, new, there, None, "b")
    assert open_secrets(new, there).api_key == before.api_key
    assert new.secrets.read_bytes() == folder.secrets.read_bytes()  # still encrypted
    assert new.secrets.stat().st_mode & 0o777 == 0o600
    assert there.ledger.read_text() == "entry\n"
    assert not done.kept
    assert has_config(new, "plant")
    assert not (tmp_path / ".new.restoring").exists()


def test_what_is_there_already_stays(folder: SiteFolder, home: Home, tmp_path: Path) -> None:
    saved = save(folder, home)
    there = Home(tmp_path / "there")
    there.root.mkdir()
    there.ledger.write_text("another\n")
    (tmp_path / "ssh" / "id").write_text("another")
    done = restore_config(saved, SiteFolder(tmp_path / "new"), there, None, "b")
    assert there.ledger.read_text() == "another\n"
    assert (there.root / "ledger.jsonl.from-b").read_text() == "entry\n"
    assert (tmp_path / "ssh" / "id").read_text() == "another"
    assert len(done.kept) == 2


def test_another_sites_folder_is_refused(folder: SiteFolder, tmp_path: Path) -> None:
    assert has_config(folder, "plant")
    with pytest.raises(ConfigError) as other:
        has_config(folder, "mill")
    assert other.value.code == "BAS-2165"
    strange = SiteFolder(tmp_path / "strange")
    strange.root.mkdir()
    (strange.root / "thesis.txt").write_text("x")
    with pytest.raises(ConfigError) as full:
        has_config(strange, "plant")
    assert full.value.code == "BAS-2164"


def test_another_site_yaml_takes_the_place_of_the_backups(
    folder: SiteFolder, home: Home, tmp_path: Path
) -> None:
    saved = save(folder, home)
    (tmp_path / "ssh" / "id").unlink()
    restore_config(saved, SiteFolder(tmp_path / "new"), Home(tmp_path / "t"), b"name: x\n", "b")
    assert (tmp_path / "new" / "site.yaml").read_bytes() == b"name: x\n"
    assert not (tmp_path / "ssh" / "id").exists()  # the other site.yaml has its own way in


def test_a_file_that_vanishes_ends_the_backup(tmp_path: Path) -> None:
    with pytest.raises(ApplyError, match="cannot be saved"):  # noqa: SIM117
        with as_tar({"site/gone": tmp_path / "gone"}, []) as stream:
            stream.read()


TIMER = Timer(
    site="plant",
    when="*-*-* 02:30:00",
    argv=("/opt/b/bin/bastide", "backup", "create", "--site", "/srv/my plant 100%"),
    home=Path("/srv/home"),
    user="root",
)


def test_the_timers_units_quote_what_they_are_given(tmp_path: Path) -> None:
    units = units_of(TIMER)
    assert set(units) == {"bastide-backup-plant.service", "bastide-backup-plant.timer"}
    service = units["bastide-backup-plant.service"]
    line = 'ExecStart=/opt/b/bin/bastide backup create --site "/srv/my plant 100%%"\n'
    assert line in service
    assert "Environment=BASTIDE_HOME=/srv/home NO_COLOR=1\n" in service
    other = units_of(dataclasses.replace(TIMER, password="/root/my pw"))
    assert '"BASTIDE_VAULT_PASSWORD_FILE=/root/my pw"\n' in other["bastide-backup-plant.service"]
    assert "OnCalendar=*-*-* 02:30:00\n" in units["bastide-backup-plant.timer"]
    written = install(TIMER, tmp_path)
    assert [path.name for path in written] == list(units)
    assert {path.name for path in remove("plant", tmp_path)} == set(units)
    assert remove("plant", tmp_path) == ()


def test_a_dollar_is_doubled_only_where_systemd_looks_for_variables() -> None:
    timer = dataclasses.replace(TIMER, home=Path("/srv/a$b"), argv=("/opt/bastide", "a$b"))
    service = units_of(timer)["bastide-backup-plant.service"]
    assert 'Environment="BASTIDE_HOME=/srv/a$b" NO_COLOR=1\n' in service
    assert 'ExecStart=/opt/bastide "a$$b"\n' in service


@pytest.mark.parametrize(
    ("home", "out", "private"),
    [
        ("/srv/home", "/srv/backups", "yes"),
        ("/var/tmp/home", "/srv/backups", "no"),
        ("/srv/home", "/tmp/backups", "no"),
    ],
)
def test_a_backup_sees_its_folders_even_below_tmp(home: str, out: str, private: str) -> None:
    timer = dataclasses.replace(TIMER, home=Path(home), argv=("/opt/bastide", "--out", out))
    assert f"PrivateTmp={private}\n" in units_of(timer)["bastide-backup-plant.service"]


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="no systemd-analyze here")
def test_systemd_takes_the_units(tmp_path: Path) -> None:
    timer = dataclasses.replace(TIMER, argv=(sys.executable, *TIMER.argv[1:]), home=tmp_path)
    files = install(timer, tmp_path)
    done = subprocess.run(
        ["systemd-analyze", "verify", *map(str, files)], check=False, capture_output=True, text=True
    )
    assert (done.returncode, done.stderr) == (0, "")
