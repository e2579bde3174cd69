"""Keys that come to a host, and its audit log, where no gateway runs."""

from __future__ import annotations

import json
import socket
from pathlib import Path

import pytest
from bastide_host import audit, keys, switch
from bastide_host.host import AgentError, Paths

LINE = f"{'ab' * 32} app:user:0:-:-:3:0\n"


@pytest.fixture
def host(tmp_path: Path) -> Paths:
    paths = Paths(tmp_path)
    paths.secrets.mkdir(parents=True)
    return paths


def test_keys_are_kept_where_no_gateway_runs(host: Paths) -> None:
    assert keys.set_keys(host, {"keys": LINE}) == {"changed": True, "state": "stopped", "keys": 1}
    kept = host.at(keys.KEPT)
    assert (kept.read_text(), kept.stat().st_mode & 0o777) == (LINE, 0o600)
    assert keys.set_keys(host, {"keys": LINE})["changed"] is False


@pytest.mark.parametrize(
    "text",
    ["", "x", LINE + "key full\n", LINE.replace(":user:", ":user:x"), LINE.replace("app", "a b"),
     LINE.replace("\n", " # x\n"), LINE.replace("ab", "AB")],
)  # fmt: skip
def test_what_is_no_map_is_refused_and_nothing_is_written(host: Paths, text: str) -> None:
    with pytest.raises(AgentError) as caught:
        keys.set_keys(host, {"keys": text})
    assert caught.value.code == "BAS-6101"
    assert not host.at(keys.KEPT).exists()


def test_a_host_without_an_installation_says_so(tmp_path: Path) -> None:
    with pytest.raises(AgentError) as caught:
        keys.set_keys(Paths(tmp_path), {"keys": LINE})
    assert caught.value.code == "BAS-6102"


def test_a_gateway_of_an_earlier_release_is_told_apart(host: Paths, tmp_path: Path) -> None:
    place = host.at("/run/bastide-gateway")
    place.mkdir(parents=True)
    with socket.socket(socket.AF_UNIX) as sock:
        link = tmp_path / "s"
        sock.bind(str(link))
        link.rename(place / "admin.sock")
    assert keys.set_keys(host, {"keys": LINE})["state"] == "older"


def test_only_entries_of_the_time_and_the_client_count() -> None:
    def line(**told: object) -> str:
        return json.dumps({"format": "bastide.access/1", "at": 10, "identity": "a", **told})

    lines = ["[NOTICE] loading", "{broken", line(), line(identity="b"), line(at=9), line(at=20),
             line(format="other"), "{}"]  # fmt: skip
    found = list(audit.entries(lines, 10, 20))
    assert [entry["identity"] for entry in found] == ["a", "b"]
    assert len(list(audit.entries(lines, 10, 20, "b"))) == 1


def test_a_journal_that_cannot_be_read_is_an_error(
    host: Paths, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path / "nothing"))
    with pytest.raises(AgentError) as caught:
        audit.audit(host, {"since": 0, "until": 1})
    assert caught.value.code == "BAS-6104"


def test_a_gateway_that_is_told_of_keys_needs_no_reload_for_them(host: Paths) -> None:
    unit = host.current / "units/bastide-gateway.service"
    unit.parent.mkdir(parents=True)
    secrets = "/etc/bastide/secrets"
    unit.write_text(
        f"ExecReload=+install {secrets}/gateway-keys.map {secrets}/gateway.pem /run/x\n"
    )
    for name in ("gateway-keys.map", "gateway.pem"):
        (host.secrets / name).write_text("before")
    before = switch.fingerprint(host, unit.name)
    keys.set_keys(host, {"keys": LINE})
    assert switch.fingerprint(host, unit.name) == before
    (host.secrets / "gateway.pem").write_text("after")
    assert switch.fingerprint(host, unit.name) != before
