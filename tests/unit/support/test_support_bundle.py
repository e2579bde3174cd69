"""The archive: what it has, what it lists, and what never gets into it."""

from __future__ import annotations

import os
import stat
import tarfile
from datetime import UTC, datetime
from pathlib import Path

import plan_factories as make
import pytest
from click.testing import CliRunner
from planted import plant

from bastide.cli import support_bundle
from bastide.layout import Home, SiteFolder
from bastide.site.create import create_site
from bastide.site.secrets import open_secrets
from bastide.site.vault import PASSWORD_FILE_VARIABLE
from bastide.support.bundle import LIST, contents, redact, write_bundle
from bastide.support.collect import control_texts, known_secrets
from bastide.support.pseudonyms import Pseudonyms, names_of
from bastide.support.redactor import Redactor

NOW = datetime(2026, 11, 26, tzinfo=UTC)


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Home:
    monkeypatch.delenv(PASSWORD_FILE_VARIABLE, raising=False)
    monkeypatch.setenv("BASTIDE_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("CANARY_OF_THE_ENVIRONMENT", "canary-value-in-the-environment")
    return Home(tmp_path / "home")


@pytest.fixture
def folder(tmp_path: Path, home: Home) -> SiteFolder:
    folder = SiteFolder(tmp_path / "site")
    (tmp_path / "id").write_text(
        "-----BEGIN OPENSSH PRIVATE KEY-----\nQUJDREVGR0hJSktMTU5PUFFSU1RV\n"
    )
    (tmp_path / "known").write_text("")
    site = make.make_site()
    ssh = site.ssh.replace(private_key=str(tmp_path / "id"), known_hosts=str(tmp_path / "known"))
    create_site(folder, site.replace(ssh=ssh), home, NOW)
    return folder


def read(path: Path) -> dict[str, str]:
    with tarfile.open(path) as archive:
        members = {m.name: archive.extractfile(m) for m in archive}
        return {name: stream.read().decode() for name, stream in members.items() if stream}


def test_real_secrets_of_the_site_never_get_in(
    folder: SiteFolder, home: Home, tmp_path: Path
) -> None:
    secrets = open_secrets(folder, home)
    run = folder.runs / "20261126T000000.000Z-abcdef"
    run.mkdir(parents=True)
    said = [secrets.api_key, secrets.gateway_key_pem, secrets.ca_key_pem.splitlines()[2]]
    (run / "run.log").write_text("\n".join(said + [p.text for p in plant(7)]))
    site = make.make_site()
    known, missing = known_secrets(site, folder, home)
    assert missing == ""
    texts = control_texts(folder, home)
    assert "canary-value" not in str(texts)  # no environment
    assert not any("vault" in name or name.endswith(".pem") for name in texts)
    redacted = redact(texts, Redactor(known))
    write_bundle(tmp_path / "s.tar.gz", redacted, NOW)
    text = "\n".join(read(tmp_path / "s.tar.gz").values())
    for line in (*said[:1], *said[1].splitlines()[1:-1], said[2]):
        assert line not in text
    assert [p for p in plant(7) if p.secret in text] == []
    assert stat.S_IMODE((tmp_path / "s.tar.gz").stat().st_mode) == 0o600


def test_without_the_vaults_password_forms_are_known_and_it_is_said(
    folder: SiteFolder, home: Home
) -> None:
    for path in home.vault_passwords.iterdir():
        path.unlink()
    known, missing = known_secrets(make.make_site(), folder, home)
    assert "could not be opened" in missing
    assert "bst_" not in Redactor(known).text("key bst_abcdefghijklmnop is used")


def test_the_list_names_every_file_and_what_was_taken_out() -> None:
    texts = {"control/a.txt": "password: hunter2x", "hosts/gpu1/b.txt": "fine"}
    redacted = redact(texts, Redactor((), Pseudonyms({"gpu1": "host"})))
    listed = contents(redacted)
    assert "control/a.txt  1 redacted" in listed
    assert "hosts/host-1/b.txt" in listed
    assert "gpu1" not in listed
    assert "line" in listed


def test_pseudonyms_are_the_same_throughout_and_tell_nothing() -> None:
    rename = Pseudonyms(names_of(["gpu1", "gpu10"], "plant", "ai.plant.example"))
    text = "gpu1 (10.0.0.5) asks gpu10 and ai.plant.example; hosts.gpu1.address; 127.0.0.1; plant"
    shown = rename(text)
    assert shown == (
        "host-1 (address-1) asks host-2 and gateway-1; hosts.host-1.address; 127.0.0.1; site-1"
    )
    assert rename("10.0.0.5 10.0.0.6") == "address-1 address-2"
    assert rename("fe80::1:2 ::1 02:42:ac:11:00:02") == "address-3 ::1 mac-1"
    for kept in ("version 0.3.36 of 2026.11.26", "12:24:30", "libc6 2.36-9+deb12u13"):
        assert rename(kept) == kept


def test_nobody_to_ask_means_nothing_is_gathered(folder: SiteFolder, tmp_path: Path) -> None:
    out = tmp_path / "s.tar.gz"
    done = CliRunner().invoke(
        support_bundle.command, ["--site", str(folder.root), "--out", str(out)]
    )
    assert done.exit_code == 2
    assert "BAS-2180" in done.output
    assert not out.exists()


def test_a_host_out_of_reach_is_said_and_the_rest_is_written(
    folder: SiteFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = tmp_path / "bin" / "ssh"
    program.parent.mkdir()
    program.write_text("#!/bin/sh\ncat > /dev/null\necho 'ssh: no route to host' >&2\nexit 255\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}{os.pathsep}{os.environ['PATH']}")
    out = tmp_path / "s.tar.gz"
    words = ["--site", str(folder.root), "--out", str(out), "--yes"]
    done = CliRunner().invoke(support_bundle.command, words)
    assert done.exit_code == 0, done.output
    files = read(out)
    assert files["s/hosts/host1/unreachable.txt"] == "ssh: no route to host\n"
    assert set(files) >= {f"s/{LIST}", "s/control/site.yaml", "s/control/versions.json"}
    assert "s/hosts/host1/unreachable.txt".removeprefix("s/") in files[f"s/{LIST}"]
