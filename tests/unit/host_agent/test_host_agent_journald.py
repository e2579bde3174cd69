"""The journal of our services has the live generation's settings; none before there were any."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import pytest
from bastide_host import switch, telemetry, uninstall
from bastide_host.host import Paths

RESTART = ["systemctl", "try-restart", "systemd-journald@bastide.service"]


@pytest.fixture
def ran(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    ran: list[list[str]] = []

    def run(argv: list[str], **_: Any) -> subprocess.CompletedProcess[str]:
        ran.append(argv)
        return subprocess.CompletedProcess(argv, 0, "", "")

    monkeypatch.setattr(switch, "run", run)
    return ran


@pytest.fixture
def paths(tmp_path: Path) -> Paths:
    paths = Paths(tmp_path)
    for folder in ("etc/systemd", "var/lib/bastide", "opt/bastide/generations/1/etc"):
        (tmp_path / folder).mkdir(parents=True)
    paths.current.symlink_to("generations/1")
    return paths


def settings(paths: Paths, text: str) -> None:
    (paths.generations / "1/etc/journald.conf").write_text(text)


def test_journald_restarts_only_if_its_settings_changed(paths: Paths, ran: list[list[str]]) -> None:
    settings(paths, "[Journal]\n")
    place = paths.at(switch.JOURNALD)
    assert switch._link_journald(paths)
    assert str(place.readlink()) == "/opt/bastide/current/etc/journald.conf"
    assert ran == [RESTART]
    assert not switch._link_journald(paths)
    assert ran == [RESTART]
    settings(paths, "[Journal]\nMaxRetentionSec=91day\n")
    assert switch._link_journald(paths)
    assert ran == [RESTART, RESTART]


def test_a_generation_from_before_takes_the_link_away(paths: Paths, ran: list[list[str]]) -> None:
    settings(paths, "[Journal]\n")
    switch._link_journald(paths)
    (paths.current / "etc/journald.conf").unlink()
    assert switch._link_journald(paths)
    assert not paths.at(switch.JOURNALD).is_symlink()
    assert not switch._link_journald(paths)
    assert ran == [RESTART, RESTART]


def test_an_uninstall_takes_our_journal_and_no_other(paths: Paths) -> None:
    for name in ("abc", "abc.bastide", "abc.other"):
        paths.at(f"/var/log/journal/{name}").mkdir(parents=True)
    paths.at(switch.JOURNALD).symlink_to("/opt/bastide/current/etc/journald.conf")
    paths.at("/run/systemd/journal.bastide").mkdir(parents=True)
    found = uninstall._paths(paths)
    assert "/run/systemd/journal.bastide" in found
    assert "/var/log/journal/abc.bastide" in found
    assert switch.JOURNALD in found
    assert not [name for name in found if name.endswith(("/abc", "/abc.other"))]


def test_monitoring_knows_whether_logs_are_forwarded(paths: Paths) -> None:
    found = telemetry.Exposition()
    telemetry._add_syslog(found, paths)
    assert "syslog" not in found.text()
    (paths.current / "etc/syslog.json").write_text("{}")
    state = paths.state / "syslog/state.json"
    state.parent.mkdir()
    state.write_text('{"connected": true, "sent": 12}')
    telemetry._add_syslog(found, paths)
    assert "bastide_syslog_connected 1\n" in found.text()
    assert "bastide_syslog_messages_total 12\n" in found.text()
