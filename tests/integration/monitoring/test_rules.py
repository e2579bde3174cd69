"""Every alert fires where it must, is silent where it must not, and says what to do."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from monitored_site import make_site, render

from bastide.schema.monitoring import DeadMansSwitch, Receiver

pytestmark = pytest.mark.integration
CASES = Path(__file__).with_name("alerts.test.yml")
PAGE = Path(__file__).resolve().parents[3] / "docs/monitoring.md"
# What tells that somebody must act; each has its words where they are read at night.
WORDS = ("summary", "action", "runbook")


def ask(*argv: str | Path, cwd: Path) -> str:
    done = subprocess.run(
        [str(part) for part in argv], cwd=cwd, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture
def etc(tmp_path: Path) -> Path:
    return render(make_site(), tmp_path)


def alerts_in(etc: Path) -> dict[str, dict[str, Any]]:
    groups = yaml.safe_load((etc / "prometheus-alerts.yml").read_text())["groups"]
    return {rule["alert"]: rule for group in groups for rule in group["rules"]}


def test_prometheus_takes_its_configuration(etc: Path, programs: Path) -> None:
    ask(programs / "promtool", "check", "config", "--syntax-only", "prometheus.yml", cwd=etc)
    ask(programs / "promtool", "check", "rules", "--lint=all", "--lint-fatal",
        "prometheus-rules.yml", "prometheus-alerts.yml", cwd=etc)  # fmt: skip


@pytest.mark.parametrize(
    "receivers",
    [
        {},
        {"oncall": Receiver(webhook="http://10.0.0.9:9000/alerts")},
        {
            "oncall": Receiver(webhook="https://10.0.0.9/alerts"),
            "night": Receiver(
                mail_to="night@plant.internal",
                mail_from="bastide@plant.internal",
                mail_server="10.0.0.25:25",
            ),
        },
    ],
    ids=["nobody", "webhook", "webhook and mail"],
)
def test_alertmanager_takes_its_configuration(
    tmp_path: Path, programs: Path, receivers: dict[str, Receiver]
) -> None:
    etc = render(make_site(receivers=receivers), tmp_path)
    said = ask(programs / "amtool", "check-config", "alertmanager.yml", cwd=etc)
    assert "SUCCESS" in said
    config = (etc / "alertmanager.yml").read_text()
    assert "/run/bastide-alertmanager" not in config
    unit = (tmp_path / "units/bastide-alertmanager.service").read_text()
    for each in receivers.values():
        target = each.webhook or each.mail_server
        assert target
        assert json.dumps(target) in config
        assert f"IPAddressAllow={re.findall('[0-9.]{7,}', target)[0].partition(':')[0]}" in unit


def test_the_dead_mans_switch_hears_something_always(tmp_path: Path, programs: Path) -> None:
    switch = DeadMansSwitch(webhook="http://10.0.0.9/alive", minutes=3)
    etc = render(make_site(dead_mans_switch=switch), tmp_path / "with")
    rules = strip_texts(etc)
    cases = {
        "rule_files": ["prometheus-alerts.yml"],
        "tests": [
            {
                "interval": "1m",
                "input_series": [],
                "alert_rule_test": [
                    {
                        "eval_time": time,
                        "alertname": "Watchdog",
                        "exp_alerts": [{"exp_labels": {"severity": "none"}}],
                    }
                    for time in ("0m", "1m", "30h")
                ],
            }
        ],
    }
    (rules / "watchdog.test.yml").write_text(yaml.safe_dump(cases))
    ask(programs / "promtool", "test", "rules", "watchdog.test.yml", cwd=rules)
    ask(programs / "amtool", "check-config", "alertmanager.yml", cwd=etc)
    config = etc / "alertmanager.yml"
    routes = ("alertname=Watchdog severity=none", "alertname=ServiceDown severity=page host=a")
    told = [
        ask(programs / "amtool", "config", "routes", "test", f"--config.file={config}",
            *labels.split(), cwd=etc).strip()
        for labels in routes
    ]  # fmt: skip
    assert told == ["dead-mans-switch", "site"]
    assert "Watchdog" not in alerts_in(render(make_site(), tmp_path / "without"))


def test_every_alert_fires_and_does_not_fire(etc: Path, programs: Path) -> None:
    """The cases' labels are compared; annotations are taken from what fires."""
    rules = strip_texts(etc)
    shutil.copy(CASES, rules / CASES.name)
    ask(programs / "promtool", "test", "rules", CASES.name, cwd=rules)


def strip_texts(etc: Path) -> Path:
    """Return a folder with the same rules without annotations, which promtool would compare."""
    folder = etc.with_name("bare")
    folder.mkdir()
    for name in ("prometheus-rules.yml", "prometheus-alerts.yml"):
        document = yaml.safe_load((etc / name).read_text())
        for group in document["groups"]:
            for rule in group["rules"]:
                rule.pop("annotations", None)
        (folder / name).write_text(yaml.safe_dump(document))
    return folder


def test_the_cases_can_fail(etc: Path, programs: Path) -> None:
    rules = strip_texts(etc)
    broken = CASES.read_text().replace("host: b, instance: 'b:9100'", "host: c, instance: 'b:9100'")
    (rules / CASES.name).write_text(broken)
    done = subprocess.run(
        [str(programs / "promtool"), "test", "rules", CASES.name], cwd=rules, check=False
    )
    assert done.returncode != 0


def test_no_alert_is_without_cases_on_both_sides(etc: Path) -> None:
    cases = yaml.safe_load(CASES.read_text())["tests"]
    asked = [case for each in cases for case in each["alert_rule_test"]]
    fires = {case["alertname"] for case in asked if case["exp_alerts"]}
    silent = {case["alertname"] for case in asked if not case["exp_alerts"]}
    assert fires == silent == set(alerts_in(etc))


def test_every_alert_says_what_to_do_and_where_that_is_explained(tmp_path: Path) -> None:
    headings = re.findall(r"^### (\w+)$", PAGE.read_text(), re.MULTILINE)
    switch = DeadMansSwitch(webhook="http://10.0.0.9/alive")
    alerts = alerts_in(render(make_site(dead_mans_switch=switch), tmp_path))
    for name, rule in alerts.items():
        assert set(rule["annotations"]) == set(WORDS), name
        levels = {"none"} if name == "Watchdog" else {"page", "ticket"}
        assert rule["labels"]["severity"] in levels, name
        assert rule["annotations"]["runbook"] == f"docs/monitoring.md#{name.lower()}"
    assert sorted(headings) == sorted(alerts)


def test_backups_are_asked_for_only_if_the_site_wants_them(tmp_path: Path) -> None:
    asked = alerts_in(render(make_site(backups_hours=26), tmp_path / "a"))["BackupOld"]["expr"]
    not_asked = alerts_in(render(make_site(), tmp_path / "b"))["BackupOld"]["expr"]
    assert "absent(" in asked
    assert "93600" in asked
    assert "absent(" not in not_asked
