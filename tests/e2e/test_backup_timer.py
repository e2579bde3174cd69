"""`bastide backup schedule` on a control node with systemd, which a lab host plays."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from site_operator import Operator, brings

pytestmark = [pytest.mark.e2e, pytest.mark.long]

LAB = "e2etimer"
UNIT = "bastide-backup-e2etimer"
BASTIDE = "env BASTIDE_HOME=/srv/home /opt/bastide-control/bin/bastide"
HOST = "bastide lab exec --host host2 --"
# The folders of the control node that made the site, and Bastide from the bundle.
MOVES = (
    f"tar -c starter site | {HOST} tar -x -C /srv",
    f"tar --exclude=home/lab --exclude=home/store -c home | {HOST} tar -x -C /srv",
    f"tar -C home/lab/{LAB} -c id_ed25519 known_hosts | {HOST} tar -x -C /srv",
    f"{HOST} python3 /srv/starter/bootstrap.py --root $(cat root.txt) /opt/bastide-control",
)
EVERY_MINUTE = "*-*-* *:*:00"
KEEP = "s/last: 3/last: 2/; s/daily: 7/daily: 1/; s/weekly: 4/weekly: 1/; s/monthly: 6/monthly: 1/"


class Control(Operator):
    """An operator whose control node is host2."""

    def on_control(self, command: str) -> str:
        return self.on_host(command, host="host2")

    def backups(self) -> list[str]:
        answer = self.on_control(f"{BASTIDE} backup list --site /srv/site --json")
        return [Path(each["path"]).name for each in json.loads(answer)["result"]["backups"]]


@pytest.fixture(scope="module")
def control(lab_tools: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Control]:  # noqa: ARG001
    control = Control(tmp_path_factory.mktemp("timer"), LAB)
    with control.with_lab(*brings("starter"), "bastide lab up --hosts 1"):
        control.types("bastide init site --lab")
        control.types("bastide lab up --hosts 2")  # no host of the site, and without its filter
        control.describes("ssh: []", f"ssh: [{control.address('host2')}/32]")
        control.describes('schedule: "*-*-* 02:30:00"', f'schedule: "{EVERY_MINUTE}"')
        control.asks("apply --yes")
        control.types(f"sed -i '{KEEP}' site/site.yaml")
        control.types("bastide trust fingerprint --plain >root.txt")
        for line in MOVES:
            control.types(line)
        control.on_control(
            "sed -i -E 's#private_key: .*#private_key: /srv/id_ed25519#; "
            "s#known_hosts: .*#known_hosts: /srv/known_hosts#' /srv/site/site.yaml"
        )
        yield control


def test_the_timer_makes_backups_and_lets_old_ones_go(control: Control) -> None:
    control.on_control(f"{BASTIDE} backup init --site /srv/site --key-out /srv/recovery.key")
    control.on_control(f"{BASTIDE} backup schedule --site /srv/site")
    control.on_control(f"systemd-analyze verify {UNIT}.timer {UNIT}.service")
    assert control.on_control(f"systemctl is-enabled {UNIT}.timer").strip() == "enabled"
    # A timer waits for up to five minutes, so that not all sites begin at once; here it may not.
    control.on_control(
        f"sh -c 'mkdir /etc/systemd/system/{UNIT}.timer.d && printf \"[Timer]\\nRandomizedDelaySec="
        f'0\\n" >/etc/systemd/system/{UNIT}.timer.d/now.conf && systemctl daemon-reload && '
        f"systemctl restart {UNIT}.timer'"
    )
    seen: list[str] = []
    deadline = time.monotonic() + 600
    while len(seen) < 3:
        assert time.monotonic() < deadline, control.on_control(f"journalctl -u {UNIT} -n 40")
        time.sleep(5)
        seen += [name for name in control.backups() if name not in seen]
    control.on_control(f"systemctl stop {UNIT}.timer")
    control.on_control(f"{BASTIDE} backup verify /srv/site/backups/{seen[-1]} --site /srv/site")
    left = control.backups()
    assert seen[0] not in left
    assert seen[-1] in left


def test_the_timer_is_removed_without_a_trace(control: Control) -> None:
    control.on_control(f"rm -r /etc/systemd/system/{UNIT}.timer.d")
    control.on_control(f"{BASTIDE} backup schedule --site /srv/site --remove")
    units = "find /etc/systemd/system -name 'bastide-backup*'"
    assert control.on_control(f'sh -c "{units}"') == ""
