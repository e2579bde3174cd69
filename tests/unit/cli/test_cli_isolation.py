"""``bastide verify --isolation``: its options, its answers, its exit codes, what it leaves."""

from __future__ import annotations

import json
import os
import signal
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import plan_factories as make
import pytest
from click.testing import CliRunner, Result

from bastide.cli.main import main
from bastide.run import watch
from bastide.run.ask import Line, Reply
from bastide.schema.isolation_report import IsolationReport
from bastide.site.config import site_text
from bastide.store.isolation import is_signed

CONTROL = {"wire": True, "log": None, "lookup": None, "ports": [50001]}
LEFT = {
    "protocol": "tcp", "target": "203.0.113.9", "port": 443, "lookup": "", "inside": False,
    "user": "root", "process": "curl", "first": 10.0, "last": 11.0, "wire": 1, "log": 0,
    "ports": [40000], "pids": [77],
}  # fmt: skip


class Hosts:
    """Hosts that answer as their agents would."""

    def __init__(self) -> None:
        self.events: list[dict[str, Any]] = []
        self.error: dict[str, str] | None = None
        self.asked: list[tuple[str, dict[str, Any]]] = []

    def ask(
        self, _line: Line, command: str, given: Mapping[str, Mapping[str, Any]], **_: object
    ) -> dict[str, Reply]:
        replies = {}
        for host, told in given.items():
            self.asked.append((command, dict(told)))
            record = {
                "networks": ["10.0.0.0/24"], "updated": 70.0, "overflow": 0,
                "wire": {"since": 10.0, "lost": 0}, "log": {"since": 0, "lost": 0},
                "events": self.events, "controls": [CONTROL, CONTROL],
            }  # fmt: skip
            answer: dict[str, Any] = {"error": self.error} if self.error else {"record": record}
            replies[host] = Reply(answer, 1 if self.error else 0, "")
        return replies


@pytest.fixture
def hosts(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Hosts:
    found = Hosts()
    monkeypatch.setattr(watch, "ask", found.ask)
    monkeypatch.setenv("BASTIDE_HOME", str(tmp_path / "home"))
    (tmp_path / "site").mkdir()
    (tmp_path / "site/site.yaml").write_text(site_text(make.make_site()))
    monkeypatch.chdir(tmp_path)
    return found


def verify(*arguments: str) -> Result:
    return CliRunner().invoke(main, ["verify", "--site", "site", *arguments])


def signals_after(monkeypatch: pytest.MonkeyPatch, hosts: Hosts, *numbers: signal.Signals) -> None:
    """Let this process get signals once the hosts are being watched."""
    ask = hosts.ask

    def then_signal(line: Line, command: str, *rest: Any, **more: Any) -> dict[str, Reply]:
        replies = ask(line, command, *rest, **more)
        if command == "watch-start":
            for place, number in enumerate(numbers):
                threading.Timer(0.3 + 0.3 * place, os.kill, (os.getpid(), number)).start()
        return replies

    monkeypatch.setattr(watch, "ask", then_signal)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_watch_that_is_stopped_leaves_nobody_watching(
    hosts: Hosts, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: signal.Signals
) -> None:
    signals_after(monkeypatch, hosts, number)
    ended = verify("--isolation", "--seconds", "600", "--report", "out")
    assert ended.exit_code == 7
    assert "stopped on request before its end" in ended.output
    assert [command for command, _ in hosts.asked] == ["watch-start", "watch-stop"]
    assert (tmp_path / "out/isolation.json").exists()


def test_a_watch_around_a_command_is_ended_by_the_second_signal(
    hosts: Hosts, monkeypatch: pytest.MonkeyPatch
) -> None:
    signals_after(monkeypatch, hosts, signal.SIGINT, signal.SIGINT)
    ended = verify("--isolation", "sleep", "600")
    assert ended.exit_code != 0
    assert [command for command, _ in hosts.asked] == ["watch-start", "watch-stop"]


def test_a_watch_is_begun_and_ended_and_leaves_a_signed_report(
    hosts: Hosts, tmp_path: Path
) -> None:
    begun = verify("--isolation", "--start", "--json")
    assert json.loads(begun.stdout)["result"] == {"hosts": ["host1"]}
    ((command, told),) = hosts.asked
    assert command == "watch-start"
    assert "10.0.0.0/8" in told["networks"], "where clients are"
    ended = verify("--isolation", "--stop", "--report", "out")
    assert ended.exit_code == 0, ended.output
    assert "proved" in ended.stdout
    report = IsolationReport.model_validate_json((tmp_path / "out/isolation.json").read_bytes())
    assert is_signed(report)
    assert "Proved." in (tmp_path / "out/isolation.html").read_text()
    checked = verify("--isolation", "--check", "out/isolation.json")
    assert checked.exit_code == 0
    assert "proved" in checked.stdout
    text = (tmp_path / "out/isolation.json").read_text()
    (tmp_path / "forged.json").write_text(text.replace('"overflow": 0', '"overflow": 1'))
    forged = verify("--isolation", "--check", "forged.json")
    assert forged.exit_code == 7
    assert "BAS-7063" in forged.output
    ledger = (tmp_path / "home/ledger.jsonl").read_text().splitlines()
    found = [json.loads(line)["details"].get("isolation") for line in ledger]
    assert [each for each in found if each][:2] == ["watching", "proved"]


def test_what_left_is_named_and_ends_with_7(hosts: Hosts) -> None:
    hosts.events = [LEFT]
    done = verify("--isolation", "--stop", "--json")
    assert done.exit_code == 7
    answer = json.loads(done.stdout)
    assert answer["error"]["code"] == "BAS-7062"
    assert "curl" in json.dumps(answer["error"]["problems"])
    assert answer["result"]["report"]["statement"]["hosts"][0]["seen"][0]["verdict"] == "left"


def test_a_command_runs_meanwhile_and_its_failure_is_one(hosts: Hosts) -> None:
    good = verify("--isolation", "--", "true")
    assert good.exit_code == 0, good.output
    assert [command for command, _ in hosts.asked] == ["watch-start", "watch-stop"]
    bad = verify("--isolation", "--", "false")
    assert bad.exit_code == 7
    assert "false" in bad.output


def test_a_host_that_nobody_watched_proves_nothing(hosts: Hosts) -> None:
    hosts.error = {"code": "BAS-7060", "message": "nobody watches this host", "hint": "start"}
    done = verify("--isolation", "--stop")
    assert done.exit_code == 7
    assert "BAS-7061" in done.output
    assert "nobody watches this host (start)" in done.output


@pytest.mark.parametrize(
    "arguments",
    [("--start",), ("--", "true"), ("--isolation", "--start", "--stop"),
     ("--isolation", "--stop", "--", "true")],
)  # fmt: skip
def test_options_that_do_not_go_together_are_refused(
    hosts: Hosts, arguments: tuple[str, ...]
) -> None:
    assert verify(*arguments).exit_code == 2
    assert not hosts.asked
