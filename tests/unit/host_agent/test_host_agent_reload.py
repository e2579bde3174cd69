"""When a reload of the gateway is enough, and what the gateway's tables say."""

from __future__ import annotations

from pathlib import Path

import pytest
from bastide_host import gateway, rotation, switch, units
from bastide_host.host import AgentError, Paths

UNIT = "bastide-gateway.service"
STATES = (
    "1\n# be_id be_name srv_id srv_name srv_addr srv_op_state srv_admin_state\n"
    "3 llm 1 a 10.0.0.1 2 8\n3 llm 2 b 10.0.0.2 2 0\n4 vectordb 1 a 10.0.0.1 0 1\n"
)
STAT = (
    "# pxname,svname,qcur,qmax,scur,smax,status\nllm,a,0,0,3,4,DRAIN\nllm,b,1,0,2,4,UP\n"
    "llm,BACKEND,0,0,5,8,UP\nvectordb,a,,,0,,MAINT\n"
)


@pytest.fixture
def host(tmp_path: Path) -> Paths:
    host = Paths(tmp_path)
    for folder in (host.generations / "1/units", host.started, host.secrets):
        folder.mkdir(parents=True)
    host.current.symlink_to("generations/1")
    (host.secrets / "gateway.pem").write_text("certificate")
    (host.current / "units" / UNIT).write_text(
        "[Service]\nLoadCredential=gateway.pem:/etc/bastide/secrets/gateway.pem\n"
    )
    return host


def reloads(host: Paths, monkeypatch: pytest.MonkeyPatch, state: str = "active") -> bool:
    monkeypatch.setattr(units, "unit_states", lambda _: {UNIT: state})
    return units._can_reload(host, UNIT)


def born(host: Paths) -> None:
    (host.started / f"{UNIT}.born").write_text(switch.birth(host, UNIT) + "\n")


def test_a_gateway_with_the_same_unit_and_credentials_is_reloaded(
    host: Paths, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert not reloads(host, monkeypatch), "nobody knows what it was started with"
    born(host)
    assert reloads(host, monkeypatch)
    assert not reloads(host, monkeypatch, "failed")


@pytest.mark.parametrize("what", ["certificate", "unit"])
def test_what_only_a_start_takes_needs_one(
    host: Paths, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    born(host)
    if what == "certificate":
        (host.secrets / "gateway.pem").write_text("the next certificate")
    else:
        with (host.current / "units" / UNIT).open("a") as unit:
            unit.write("LimitNOFILE=1\n")
    assert not reloads(host, monkeypatch)


def test_a_service_without_a_reload_is_restarted(host: Paths) -> None:
    unit = "bastide-llm.service"
    (host.started / f"{unit}.born").write_text(switch.birth(host, unit))
    assert not units._can_reload(host, unit)


def answers(monkeypatch: pytest.MonkeyPatch, states: str, stat: str) -> None:
    table = {"show servers state": states, "show stat": stat}
    monkeypatch.setattr(gateway, "ask", lambda _, command: table.get(command, ""))


def test_servers_are_read_from_the_gateways_tables(
    host: Paths, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers(monkeypatch, STATES, STAT)
    assert gateway.servers(host) == [
        gateway.Server("llm", "a", "DRAIN", 3, 0, out=True, address="10.0.0.1"),
        gateway.Server("llm", "b", "UP", 2, 1, out=False, address="10.0.0.2"),
        gateway.Server("vectordb", "a", "MAINT", 0, 0, out=True, address="10.0.0.1"),
    ]


def test_a_gateway_of_an_earlier_release_cannot_hold(
    host: Paths, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers(monkeypatch, STATES.replace(" 0 1\n", " 2 0\n"), STAT.replace("MAINT", "UP"))
    out = rotation.rotate_out(host, "a", ["vectordb"], 0)
    assert (out["changed"], out["backends"]) == (False, {"vectordb": {"way": "none", "left": 0}})


def test_an_order_that_is_answered_was_refused(
    host: Paths, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gateway, "ask", lambda *_: "No such server.")
    with pytest.raises(AgentError, match="No such server") as caught:
        gateway.order(host, "set server llm/x state drain")
    assert caught.value.code == "BAS-6080"
