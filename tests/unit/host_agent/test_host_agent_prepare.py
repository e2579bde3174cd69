"""Preparing a host: folders, internet sources, secrets, packages to install."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from bastide_host import packages, prepare
from bastide_host.host import AgentError, Paths, link_atomic, write_atomic

SECRETS = {
    "ca_pem": "CA",
    "api_key": "key",
    "read_only_api_key": "reader",
    "gateway_pem": "PEM",
    "gateway_keys_map": "ab full\n",
    "vectordb_keys_map": "admin key\n",
    "depot_token": "token",
}


@pytest.fixture
def host(tmp_path: Path) -> Paths:
    (tmp_path / "etc/apt/sources.list.d").mkdir(parents=True)
    return Paths(tmp_path)


def test_the_second_prepare_changes_nothing(host: Paths) -> None:
    program = prepare.Program("print()")
    assert prepare.prepare(host, program)["changed"]
    assert prepare.prepare(host, program) == {
        "changed": False,
        "folders": [],
        "sources_aside": [],
        "agent": False,
    }
    assert (host.opt / "bin/bastide_host.py").read_text() == "print()"
    assert host.secrets.stat().st_mode & 0o777 == 0o700
    assert host.opt.stat().st_mode & 0o777 == 0o755


def test_internet_sources_go_aside_and_local_ones_stay(host: Paths) -> None:
    apt = host.root / "etc/apt"
    (apt / "sources.list").write_text("deb http://deb.debian.org/debian bookworm main\n")
    (apt / "sources.list.d/one.sources").write_text("Types: deb\nURIs: https://x.example/\n")
    (apt / "sources.list.d/mixed.list").write_text("deb file:/srv ./\ndeb http://x.example a b\n")
    (apt / "sources.list.d/disc.list").write_text("deb cdrom:[Debian]/ bookworm main\n")
    (apt / "sources.list.d/local.list").write_text("deb [trusted=yes] file:/srv/repository ./\n")
    (apt / "sources.list.d/off.list").write_text("# deb http://x.example a b\n")
    moved = prepare.prepare(host, None)["sources_aside"]
    assert moved == [
        "/etc/apt/sources.list",
        "/etc/apt/sources.list.d/mixed.list",
        "/etc/apt/sources.list.d/one.sources",
    ]
    left = {
        p.name for p in (apt / "sources.list.d").iterdir() if p.suffix != ".disabled-by-bastide"
    }
    assert left == {"disc.list", "local.list", "off.list"}
    assert (apt / "sources.list.disabled-by-bastide").exists()
    record = json.loads((host.state / "disabled-sources.json").read_text())
    assert record["files"] == moved


@pytest.mark.parametrize(
    ("groups", "files"),
    [
        (["llm"], set()),
        (["vectordb"], {"api_key", "read_only_api_key"}),
        (["gateway", "llm"], {"gateway.pem", "gateway-keys.map", "vectordb-keys.map"}),
    ],
)
def test_a_host_gets_only_the_secrets_of_its_groups(
    host: Paths, groups: list[str], files: set[str]
) -> None:
    prepare.prepare(host, None)
    assert prepare.write_secrets(host, SECRETS, groups)["changed"]
    assert {path.name for path in host.secrets.iterdir()} == files
    assert all(path.stat().st_mode & 0o777 == 0o600 for path in host.secrets.iterdir())
    assert (host.run / "depot_token").stat().st_mode & 0o777 == 0o600
    again = prepare.write_secrets(host, {**SECRETS, "depot_token": "other"}, groups)
    assert not again["changed"], "a new token for each run is no change"


def test_an_empty_key_is_refused(host: Paths) -> None:
    prepare.prepare(host, None)
    with pytest.raises(AgentError, match="'api_key' is empty"):
        prepare.write_secrets(host, {**SECRETS, "api_key": " \n"}, ["vectordb"])


def test_packages_missing_or_older_are_installed_and_newer_ones_stay() -> None:
    installed = {"same": "1", "older": "1", "newer": "9"}
    wanted = ["same=1", "older=2", "newer=2", "absent=1:3=x"]
    found = packages.packages_to_install(wanted, installed, lambda first, second: first > second)
    assert found == ["older=2", "absent=1:3=x"]


def test_daemons_are_kept_from_starting_only_for_a_while(host: Paths) -> None:
    policy = host.root / "usr/sbin/policy-rc.d"
    policy.parent.mkdir(parents=True)
    policy.write_text("#!/bin/sh\n# the administrator's\n")
    with packages.no_daemon_starts(host):
        assert "exit 101" in policy.read_text()
    assert policy.read_text() == "#!/bin/sh\n# the administrator's\n"
    policy.write_text(packages.POLICY_TEXT)  # what a killed run leaves
    with packages.no_daemon_starts(host):
        pass
    assert not policy.exists()


def test_atomic_writes_and_links_say_whether_they_changed(tmp_path: Path) -> None:
    path, link = tmp_path / "file", tmp_path / "link"
    assert write_atomic(path, b"one", 0o600)
    assert not write_atomic(path, b"one", 0o600)
    assert write_atomic(path, b"one", 0o644), "the mode counts"
    assert write_atomic(path, b"two")
    assert link_atomic(link, "generations/1")
    assert not link_atomic(link, "generations/1")
    assert link_atomic(link, "generations/2")
    assert {each.name for each in tmp_path.iterdir()} == {"file", "link"}
    assert write_atomic(link, b"a link becomes a file, not its target")
    assert not link.is_symlink()
