"""Two gateways with a floating address under load, and hosts that come, go and die.

The tests are one story, in this order, on three lab hosts: host1 does everything, host2 is a
gateway and an LLM host, host3 comes later. What a move of the address costs is told (``-s``).
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest
from load_operator import Loader, is_flowing, until
from site_operator import ON_CONTROL, brings
from upgrade_site import catalogue

pytestmark = [pytest.mark.e2e, pytest.mark.long]

LAB = "e2emany"
RELEASE = "starter-2026.12.0"
HOST3 = "  host3:\n    address: {0}\n    groups: [llm]\n"
SECRETS = "/etc/bastide/secrets"
ASK_MODELS = """
import sys, httpx
headers = {"Authorization": "Bearer " + open(sys.argv[1]).read().strip()}
url = f"https://{sys.argv[2]}:8443/v1/models"
print(httpx.get(url, verify="site/ca.pem", headers=headers, timeout=60).status_code)
"""
SOON = 30.0  # seconds; what it takes on an idle machine is in docs/many-hosts.md


class Fleet(Loader):
    """An operator of a site whose gateways share an address."""

    @property
    def floating(self) -> str:
        return self.address("host1").rpartition(".")[0] + ".9"

    @property
    def entry(self) -> str:
        return self.floating

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


def was_short(seen: dict[str, Any]) -> None:
    """Fail unless connections were all that broke, and answers came again soon."""
    broken = ("Connect", "Read", "Write", "RemoteProtocol")
    for kind in seen["kinds"].values():
        assert all(error.startswith(broken) for error in kind["errors"]), seen
        assert kind["longest_gap"] < SOON, seen
    assert seen["hanging"] == 0, seen


@pytest.fixture(scope="module")
def fleet(lab_tools: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:  # noqa: ARG001
    fleet = Fleet(tmp_path_factory.mktemp("many"), LAB)
    # Golden questions have tests of their own, and take minutes.
    catalogue(fleet.folder / "catalogue")
    lines = (line.replace("build", "build --catalogue catalogue") for line in brings(RELEASE))
    with fleet.with_lab(*lines, "bastide lab up --hosts 3"):
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
    fleet.takes_key()
    assert fleet.holder() in {"host1", "host2"}
    assert fleet.healthy()


def test_both_gateways_know_a_new_key_at_once_and_a_revoked_one_no_more(fleet: Fleet) -> None:
    (fleet.folder / "models.py").write_text(ASK_MODELS)
    fleet.types(f"{ON_CONTROL} bastide keys create app --role reader --site site --out app.key")
    gateways = [fleet.address(each) for each in ("host1", "host2")]

    def told() -> list[str]:
        line = f"{ON_CONTROL} python models.py app.key {{}}"
        return [fleet.types(line.format(each)).stdout.strip() for each in gateways]

    assert told() == ["200", "200"]
    fleet.asks("keys revoke app")
    assert told() == ["401", "401"]


def test_a_gateway_that_dies_hands_the_address_over(fleet: Fleet) -> None:
    first = fleet.holder()
    with fleet.load("gateway-dies") as seen:
        fleet.on_host("systemctl stop bastide-gateway.service", host=first)
        took = until(lambda: fleet.has_the_address(fleet.other(first)))
        fleet.on_host("systemctl start bastide-gateway.service", host=first)
        until(fleet.healthy)
    assert took < 20
    assert fleet.holder() == fleet.other(first)
    was_short(seen)


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
    was_short(seen)
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
    was_short(seen)
    # Each gateway restarts in turn: the address may move twice, and cuts what is open each time,
    # once a connection. Nobody is refused, as when a gateway dies.
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
    assert fleet.asks("plan", expect=2)["error"]["code"] == "BAS-2151"
    with fleet.load("forgotten") as seen:
        fleet.asks("plan --forget host3")
        fleet.asks("apply --yes")
    assert seen["failed"] == 0, seen
    assert fleet.healthy()
