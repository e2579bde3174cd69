"""site.yaml's logs: how long, and who gets them as well."""

from __future__ import annotations

from typing import Any

import plan_factories as make
import pytest
from pydantic import ValidationError

from bastide import resources
from bastide.plan.flows import host_rules
from bastide.plan.inputs import TreeDigest
from bastide.plan.needs import host_needs
from bastide.render.trees import HostTree, render_trees
from bastide.schema.loading import load_yaml
from bastide.schema.logs import Logs, Syslog
from bastide.schema.monitoring import DeadMansSwitch, Monitoring
from bastide.schema.release import Release
from bastide.schema.site import SERVING, Group, Site

EVERYTHING = {"a": (*SERVING, Group.MONITORING), "b": (Group.LLM,)}
SERVER = Syslog(address="10.0.0.9")


def render(site: Site, host: str = "a") -> HostTree:
    release = load_yaml(resources.catalogue() / "releases/starter-2026.12.0.yaml", Release)
    return render_trees(site, release, make.make_manifest(), make.make_cards())[host]


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({"address": "siem.example.com"}, "no names are looked up"),
        ({"address": "8.8.8.8"}, "public address"),
        ({"address": "10.0.0.9", "protocol": "relp"}, "tls"),
        ({"address": "10.0.0.9", "ca": "/etc/ca.pem"}, "in PEM"),
    ],
)
def test_servers_that_are_refused(fields: dict[str, Any], told: str) -> None:
    with pytest.raises(ValidationError, match=told):
        Syslog.model_validate(fields)


@pytest.mark.parametrize(
    ("protocol", "words"),
    [
        ("tls", "out tcp 6514 to 10.0.0.9: logs to the syslog server"),
        ("udp", "out udp 6514 to 10.0.0.9: logs to the syslog server"),
    ],
)
def test_every_host_may_reach_the_server_and_only_it(protocol: Any, words: str) -> None:
    syslog = Syslog(address="10.0.0.9", protocol=protocol)
    site = make.make_site(EVERYTHING).replace(logs=Logs(syslog=syslog))
    for host in ("a", "b"):
        assert words in {rule.words for rule in host_rules(site, host)}
        unit = render(site, host).files["units/bastide-syslog.service"].content.decode()
        assert "IPAddressDeny=any\nIPAddressAllow=10.0.0.9\n" in unit
    assert not [
        rule for rule in host_rules(make.make_site(EVERYTHING), "a") if "syslog" in rule.why
    ]


def test_a_site_without_a_server_has_no_part_of_it() -> None:
    tree = render(make.make_site(EVERYTHING))
    assert not [path for path in tree.files if "syslog" in path]
    assert "bastide-syslog" not in tree.files["etc/sysusers.conf"].content.decode()


@pytest.mark.parametrize(
    ("days", "lines"),
    [
        (7, ["MaxRetentionSec=8day", "MaxFileSec=1day"]),
        (90, ["MaxRetentionSec=93day", "MaxFileSec=3day"]),
    ],
)
def test_no_line_goes_before_its_days_are_over(days: int, lines: list[str]) -> None:
    site = make.make_site(EVERYTHING).replace(logs=Logs(retention_days=days, retention_gigabytes=3))
    text = render(site).files["etc/journald.conf"].content.decode()
    assert [line for line in text.splitlines() if line.startswith("Max")] == lines
    assert "SystemMaxUse=3000M\n" in text
    assert "Storage=auto\n" in text  # whether there is a journal on disk is the host's own matter


def test_every_unit_but_the_firewall_logs_into_the_journal_of_its_own() -> None:
    plain = render(make.make_site(EVERYTHING).replace(logs=Logs(syslog=SERVER))).files
    assert "etc/journald.conf" not in plain
    assert not [path for path, file in plain.items() if b"LogNamespace" in file.content]
    site = make.make_site(EVERYTHING).replace(logs=Logs(syslog=SERVER, retention_days=90))
    for path, file in render(site).files.items():
        if path.startswith("units/"):
            found = [x for x in file.content.decode().splitlines() if x.startswith("LogNamespace=")]
            assert found[-1] == ("LogNamespace=" if "firewall" in path else "LogNamespace=bastide")


def test_what_restarts_when_a_file_of_these_changes() -> None:
    switch = DeadMansSwitch(webhook="https://10.0.0.7/alive", bearer=True)
    site = make.make_site(EVERYTHING).replace(
        logs=Logs(syslog=SERVER, retention_days=9), monitoring=Monitoring(dead_mans_switch=switch)
    )
    tree = render(site)
    trees = {"a": TreeDigest(tree.sha256, 1, tree.digests), "b": TreeDigest("b", 1)}
    needs = host_needs(site, make.make_manifest(), trees)[0]
    wanted = {
        "etc/journald.conf": set(),
        "etc/syslog.py": {"bastide-syslog.service"},
        "etc/syslog.json": {"bastide-syslog.service"},
        "etc/alertmanager-secrets.py": {"bastide-alertmanager.service"},
    }
    for path, units in wanted.items():
        assert path in tree.files
        assert needs.affected_by_file(path) == units
