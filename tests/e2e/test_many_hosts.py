"""Two gateways with a floating address under load, and hosts that come, go and die.

The tests are one story, in this order, on three lab hosts: host1 does everything, host2 is a
gateway and an LLM host, host3 comes later. What a move of the address costs is told (``-s``).
"""

from __future__ import annotations

import contextlib
import json
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from site_operator import ROOT, Operator, brings

pytestmark = [pytest.mark.e2e, pytest.mark.long]

LAB = "e2emany"
RELEASE = "starter-2026.12.0"
CLIENTS = "--chats 1 --queries 2 --embeddings 1 --writes 1"
LOAD_SECONDS = 900  # the load ends with a stop file; this is its bound
HOST3 = "  host3:\n    address: {0}\n    groups: [llm]\n"
SECRETS = "/etc/bastide/secrets"


def until(done: Callable[[], bool], seconds: float = 60) -> float:
    """Return after how many seconds it came about."""
    began = time.monotonic()
    while not done():
        assert time.monotonic() - began < seconds, "it did not come about"
        time.sleep(0.3)
    return time.monotonic() - began


class Fleet(Operator):
    """An operator of a site whose gateways share an address."""

    network = ""  # the lab's, such as 10.213.7

    @property
    def floating(self) -> str:
        return f"{self.network}.9"

    def address(self, host: str) -> str:
        return f"{self.network}.1{host[-1]}"

    def has_the_address(self, host: str) -> bool:
        return f" {self.floating}/" in self.on_host("ip -o -4 address", host=host, expect=None)

    def holder(self) -> str:
        """Return the gateway that has the floating address, once exactly one has it."""
        gateways = ("host1", "host2")
        until(lambda: [self.has_the_address(each) for each in gateways].count(True) == 1)
        return next(each for each in gateways if self.has_the_address(each))

    def other(self, host: str) -> str:
        return {"host1": "host2", "host2": "host1"}[host]

    def healthy(self) -> bool:
        answer = self.types("bastide lab exec -- bastide status --site site --json", expect=None)
        return answer.returncode == 0 and bool(json.loads(answer.stdout)["result"]["healthy"])

    @contextlib.contextmanager
    def load(self, name: str, clients: str = CLIENTS) -> Iterator[dict[str, Any]]:
        """Ask the floating address all the while; what was seen is in the dict afterwards."""
        log, stop = self.folder / f"{name}.log", self.folder / f"{name}.stop"
        line = (
            f"bastide lab exec -- python {ROOT}/tests/load/load.py --key-file key --ca site/ca.pem "
            f"--url https://{self.floating}:8443 {clients} --seconds {LOAD_SECONDS} "
            f"--log {log} --stop-file {stop} --summary {name}.json >{name}.out 2>&1"
        )
        seen: dict[str, Any] = {}
        with subprocess.Popen(["bash", "-c", line], cwd=self.folder, env=self.env) as asking:
            try:
                until(lambda: asking.poll() is not None or is_flowing(log))
                yield seen
            finally:
                stop.touch()
                asking.wait(300)
        said = (self.folder / f"{name}.out").read_text()
        assert (self.folder / f"{name}.json").exists(), said
        seen.update(json.loads((self.folder / f"{name}.json").read_text()))
        kinds = {kind: (each["requests"], each["failed"], each["longest_gap"], each["errors"])
                 for kind, each in seen["kinds"].items()}  # fmt: skip
        sys.stdout.write(f"{name}: {seen['requests']} requests, {seen['failed']} failed, {kinds}\n")


def is_flowing(log: Path, answers: int = 20) -> bool:
    """Return whether a load has had so many answers."""
    return log.exists() and log.read_text().count("\n") >= answers


@pytest.fixture(scope="module")
def fleet(lab_tools: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:  # noqa: ARG001
    fleet = Fleet(tmp_path_factory.mktemp("many"), LAB)
    with fleet.with_lab(*brings(RELEASE), "bastide lab up --hosts 3"):
        lab = json.loads(fleet.types("bastide lab status --json").stdout)["result"]
        fleet.network = lab["control_address"].rpartition(".")[0]
        fleet.types(
            f"bastide init site --lab --release {RELEASE} "
            f"--host host1={fleet.address('host1')}:llm,embeddings,vectordb,gateway "
            f"--host host2={fleet.address('host2')}:llm,gateway"
        )
        fleet.describes("gateway_address: null", f"gateway_address: {fleet.floating}")
        fleet.describes("drain_seconds: 300", "drain_seconds: 60")
        lets_go(fleet, "host3")
        yield fleet


def lets_go(fleet: Fleet, host: str) -> None:
    """Take a host out of site.yaml."""
    config = fleet.site / "site.yaml"
    text = config.read_text()
    less = re.sub(rf"\n  {host}:\n    address: \S+\n    groups: \[.*?\]", "", text)
    assert less != text
    config.write_text(less)


def takes_in(fleet: Fleet, host: str) -> None:
    """Put a new LLM host into site.yaml."""
    config = fleet.site / "site.yaml"
    comes = HOST3.format(fleet.address(host))
    config.write_text(re.sub(r"(?m)^(  host2:\n)", comes + r"\1", config.read_text(), count=1))


def test_somebody_else_with_the_address_is_refused(fleet: Fleet) -> None:
    fleet.on_host(f"ip address add {fleet.floating}/32 dev host0", host="host3")
    answer = fleet.asks("preflight", expect=5)
    fleet.on_host(f"ip address del {fleet.floating}/32 dev host0", host="host3")
    assert answer["error"]["code"] == "BAS-5193"
    assert {each["where"] for each in answer["error"]["problems"]} == {"host1", "host2"}


def test_a_site_with_two_gateways_is_applied_and_verified(fleet: Fleet) -> None:
    fleet.asks("apply --yes")
    fleet.asks("verify")
    key = fleet.asks("keys show")["result"]
    assert fleet.floating in key["base_urls"][0]
    (fleet.folder / "key").touch(mode=0o600)
    (fleet.folder / "key").write_text(key["key"])
    assert fleet.holder() in {"host1", "host2"}
    assert fleet.healthy()


def test_a_gateway_that_dies_hands_the_address_over(fleet: Fleet) -> None:
    first = fleet.holder()
    with fleet.load("gateway-dies") as seen:
        fleet.on_host("systemctl stop bastide-gateway.service", host=first)
        took = until(lambda: fleet.has_the_address(fleet.other(first)))
        fleet.on_host("systemctl start bastide-gateway.service", host=first)
        until(fleet.healthy)
    assert took < 20
    assert fleet.holder() == fleet.other(first)
    for kind in seen["kinds"].values():  # what was cut was cut once a connection
        assert kind["failed"] <= 3, seen


def test_a_gateways_host_that_dies_hands_it_over(fleet: Fleet) -> None:
    if fleet.holder() == "host1":  # host1 has the vector DB: only the gateway of host2 may die
        fleet.on_host("systemctl stop bastide-gateway.service")
        until(lambda: fleet.has_the_address("host2"))
        fleet.on_host("systemctl start bastide-gateway.service")
        until(fleet.healthy)
    with fleet.load("host-dies", "--queries 2 --embeddings 1 --writes 1") as seen:
        fleet.types("bastide lab kill --host host2")
        until(lambda: fleet.has_the_address("host1"))
        log = fleet.folder / "host-dies.log"
        answered = log.read_text().count("\n")
        until(lambda: is_flowing(log, answered + 20))
    for kind in seen["kinds"].values():
        assert kind["failed"] <= 3, seen
    fleet.types("bastide lab up")
    until(fleet.healthy, 120)
    assert fleet.holder() == "host1"


def test_an_apply_sends_the_address_away_before_a_restart(fleet: Fleet) -> None:
    clients = '"10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10", "fc00::/7"'
    fleet.describes(f"clients: [{clients}]", 'clients: ["10.0.0.0/8"]')
    plan = fleet.asks("plan")["result"]
    assert "restart" in json.dumps(plan)
    with fleet.load("restart") as seen:
        fleet.asks("apply --yes")
    # Each gateway restarts in turn: an address may move twice, and cuts what was open each time.
    for kind in seen["kinds"].values():
        assert kind["failed"] <= 4, seen
    assert fleet.healthy()


def test_a_host_comes_and_nobody_notices(fleet: Fleet) -> None:
    takes_in(fleet, "host3")
    fleet.asks("plan")
    with fleet.load("host-comes") as seen:
        fleet.asks("apply --yes")
    assert seen["failed"] == 0, seen
    fleet.asks("verify")
    assert "bastide-llm.service" in fleet.on_host("systemctl list-units --plain", host="host3")


def test_a_host_goes_and_nobody_notices(fleet: Fleet) -> None:
    lets_go(fleet, "host3")
    fleet.asks("plan")
    with fleet.load("host-goes") as seen:
        fleet.asks("apply --yes")
    assert seen["failed"] == 0, seen
    units = fleet.on_host("systemctl list-unit-files --plain", host="host3")
    assert "bastide-llm.service" not in units
    secrets = fleet.on_host(f"find {SECRETS} -type f", host="host3", expect=None)
    assert secrets == ""
    assert fleet.on_host("ls /var/lib/bastide/models", host="host3")
    assert fleet.healthy()


def test_a_dead_host_is_forgotten(fleet: Fleet) -> None:
    takes_in(fleet, "host3")
    fleet.plans_and_applies()
    fleet.types("bastide lab kill --host host3")
    lets_go(fleet, "host3")
    assert fleet.asks("plan", expect=5)["error"]["code"] == "BAS-2151"
    with fleet.load("forgotten") as seen:
        fleet.asks("plan --forget host3")
        fleet.asks("apply --yes")
    assert seen["failed"] == 0, seen
    assert fleet.healthy()
