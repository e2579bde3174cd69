"""The host agent's packet filter: what it reads of rules and logins, and whom it shuts out."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from bastide_host import firewall
from bastide_host.condition_units import unit_state
from bastide_host.host import AgentError, Paths

RULES = """
table inet bastide {
    chain incoming {
        iif lo accept # in: the host with itself
        ip saddr { 10.0.0.1 } tcp dport 22 accept # in tcp 22 from 10.0.0.1: SSH
        ip saddr { 10.0.0.1 } tcp sport 8740 tcp flags & (syn | ack) != syn accept
        # no rule: accept # this
    }
}
"""


@pytest.fixture
def generation(tmp_path: Path) -> Path:
    folder = tmp_path / "opt/bastide/generations/1"
    (folder / "etc").mkdir(parents=True)
    (folder / firewall.FILE).write_text(RULES)
    allowed = {"ssh": ["10.0.0.1/32", "fd00::/64"], "port": 22}
    (folder / "etc/host.json").write_text(json.dumps({"firewall": allowed}))
    return folder


@pytest.fixture(autouse=True)
def nft(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Put a program in nft's place that takes every file."""
    program = tmp_path / "nft"
    program.write_text("#!/bin/sh\nexit 0\n")
    program.chmod(0o755)
    monkeypatch.setattr(firewall, "_NFT", str(program))
    return program


def test_rules_are_the_words_behind_what_passes(generation: Path) -> None:
    assert firewall.rules(generation) == [
        "in: the host with itself",
        "in tcp 22 from 10.0.0.1: SSH",
    ]


def test_a_generation_without_rules_is_off(tmp_path: Path) -> None:
    assert firewall.state(Paths(tmp_path)) == "off"
    assert firewall.firewall_facts(Paths(tmp_path)) is None


def test_rules_that_the_kernel_does_not_have_are_missing(tmp_path: Path, generation: Path) -> None:
    (tmp_path / "opt/bastide/current").symlink_to(f"generations/{generation.name}")
    assert firewall.firewall_facts(Paths(tmp_path)) == {"state": "missing", "rules": []}


@pytest.mark.parametrize("client", ["10.0.0.1", "fd00::5", "fd00::5%eth0"])
def test_a_login_that_the_rules_name_may_load_them(generation: Path, client: str) -> None:
    firewall.check_firewall(generation, f"{client} 50000 10.0.0.11 22")


@pytest.mark.parametrize(
    "login",
    ["10.0.0.2 50000 10.0.0.11 22", "10.0.0.1 50000 10.0.0.11 2222", "fe80::1 1 fe80::2 22"],
)
def test_whoever_would_shut_himself_out_is_refused(generation: Path, login: str) -> None:
    with pytest.raises(AgentError, match="shut the control node out") as caught:
        firewall.check_firewall(generation, login)
    assert caught.value.code == "BAS-2100"
    assert login.split(maxsplit=1)[0] in str(caught.value)


def test_without_a_login_nobody_is_shut_out(generation: Path) -> None:
    firewall.check_firewall(generation, "")


def test_rules_that_nft_refuses_are_refused(generation: Path, nft: Path) -> None:
    nft.write_text("#!/bin/sh\necho bad rule >&2; exit 1\n")
    with pytest.raises(AgentError, match="bad rule"):
        firewall.check_firewall(generation, "")


def test_the_login_is_found_though_sudo_cleared_the_environment() -> None:
    script = (
        "import sys; sys.path.insert(0, sys.argv[1]); from bastide_host import firewall; "
        "print(firewall.connection())"
    )
    folder = str(Path(firewall.__file__).parents[1])
    inner = ["env", "-i", sys.executable, "-c", script, folder]
    outer = ["sh", "-c", '"$@"; true', "sh", *inner]
    env = {**os.environ, "SSH_CONNECTION": "10.0.0.1 50000 10.0.0.11 22"}
    done = subprocess.run(outer, check=True, capture_output=True, text=True, env=env)
    assert done.stdout.strip() == "10.0.0.1 50000 10.0.0.11 22"


def test_the_old_connection_proves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    paths = Paths(tmp_path)
    paths.run.mkdir(parents=True)
    paths.started.mkdir(parents=True)
    (paths.run / "firewall-login").write_text("10.0.0.1 50000 10.0.0.11 22")
    monkeypatch.setattr(firewall, "connection", lambda: "10.0.0.1 50000 10.0.0.11 22")
    with pytest.raises(AgentError) as caught:
        firewall.keep(paths, b"mark\n")
    assert caught.value.code == "BAS-2101"
    assert not (paths.started / firewall.UNIT).exists()
    monkeypatch.setattr(firewall, "connection", lambda: "10.0.0.1 50001 10.0.0.11 22")
    firewall.keep(paths, b"mark\n")
    assert (paths.started / firewall.UNIT).read_bytes() == b"mark\n"
    assert not (paths.run / "firewall-login").exists()


def test_the_timer_of_a_run_that_was_killed_does_not_stop_the_next_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "proc").mkdir()
    paths = Paths(tmp_path)

    def systemd(argv: list[str], **_options: object) -> subprocess.CompletedProcess[str]:
        """Do as systemd-run does: the unit's file lies there until the timer's end."""
        for name in (word.partition("=")[2] for word in argv if word.startswith("--unit=")):
            for kind in (".timer", ".service"):
                place = paths.at(f"/run/systemd/transient/{name}{kind}")
                place.parent.mkdir(parents=True, exist_ok=True)
                place.write_text("[Unit]\n")
        return subprocess.CompletedProcess(argv, 0, "", "")

    monkeypatch.setattr(firewall, "run", systemd)
    monkeypatch.setattr(firewall, "connection", lambda: "")
    paths.current.parent.mkdir(parents=True)
    paths.started.mkdir(parents=True)
    (paths.started / firewall.UNIT).write_text("the same rules as before, which were flushed\n")
    firewall.load(paths)
    assert not (paths.started / firewall.UNIT).exists(), "or nobody would load and keep them again"
    assert list(paths.at("/run/systemd/transient").iterdir())
    assert unit_state(paths)["unit_files"] == []


@pytest.mark.parametrize(("active", "kept"), [(False, False), (True, True)])
def test_what_redirects_did_before_is_noted_unless_the_unit_has_changed_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, active: bool, kept: bool
) -> None:
    paths = Paths(tmp_path)
    for name in ("all", "eth0.100"):
        place = paths.at(f"/proc/sys/net/ipv4/conf/{name}")
        place.mkdir(parents=True)
        (place / "accept_redirects").write_text("1\n")
    noted = paths.state / "redirects-before.conf"
    paths.state.mkdir(parents=True)
    noted.write_text("-net/ipv4/conf/all/accept_redirects = 0\n")
    monkeypatch.setattr(
        firewall,
        "run",
        lambda argv, **_options: subprocess.CompletedProcess(argv, 0 if active else 3, "", ""),
    )
    firewall.remember_redirects(paths)
    assert noted.read_text() == (
        "-net/ipv4/conf/all/accept_redirects = 0\n"
        if kept
        else "-net/ipv4/conf/all/accept_redirects = 1\n"
        "-net/ipv4/conf/eth0.100/accept_redirects = 1\n"
    )
    noted.unlink()
    firewall.remember_redirects(paths)  # of a unit that is older than this
    assert "eth0.100" in noted.read_text()
