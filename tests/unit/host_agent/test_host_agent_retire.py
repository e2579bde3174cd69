"""A host that has left the site: nothing runs, no secret stays, everything else does."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest
from bastide_host import retire, switch
from bastide_host.host import Paths

UNIT = "bastide-llm.service"


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Paths:
    paths = Paths(tmp_path)
    generation = paths.generations / "3"
    (generation / "etc").mkdir(parents=True)
    services = {UNIT: "http://10.0.0.13:8081/healthz"}
    (generation / "etc/host.json").write_text(json.dumps({"services": services}))
    (generation / "generation.json").write_text(json.dumps({"number": 3}))
    paths.current.symlink_to("generations/3")
    for folder in (paths.secrets, paths.started, paths.units / "multi-user.target.wants"):
        folder.mkdir(parents=True)
    (paths.units / UNIT).symlink_to(f"/opt/bastide/current/units/{UNIT}")
    (paths.units / "multi-user.target.wants" / UNIT).symlink_to(f"../{UNIT}")
    (paths.secrets / "gateway-keys.map").write_text("secret")
    (paths.state / "models").mkdir()
    (paths.state / "models/x.gguf").write_text("model")
    monkeypatch.setattr(switch, "run", quiet)
    monkeypatch.setattr(retire, "run", quiet)
    return paths


def quiet(argv: list[str], **_: object) -> subprocess.CompletedProcess[str]:
    return subprocess.CompletedProcess(argv, 0, "", "")


def test_units_and_secrets_go_and_models_stay(host: Paths) -> None:
    answer = retire.retire(host, 1)
    assert answer["stopped"] == [UNIT]
    assert answer["secrets"] == ["gateway-keys.map"]
    assert not host.current.exists()
    assert not (host.units / UNIT).is_symlink()
    assert list(host.secrets.iterdir()) == []
    assert (host.state / "models/x.gguf").exists()
    assert (host.generations / "3").is_dir()
    assert json.loads((host.etc / "retired.json").read_text())["generation"] == 3
    assert retire.retire(host, 1)["changed"] is False


def test_requests_under_way_are_waited_for(host: Paths, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = ["0 0 10.0.0.13:8081 10.0.0.12:50000\n"]

    def ss(argv: list[str], **_: object) -> subprocess.CompletedProcess[str]:
        return subprocess.CompletedProcess(argv, 0, rows.pop() if rows else "", "")

    monkeypatch.setattr(retire, "run", ss)
    assert retire.retire(host, 20)["left"] == 0
    assert rows == []


@pytest.mark.parametrize(
    ("here", "there", "counts"),
    [
        ("10.0.0.13:8081", "10.0.0.12:50000", True),
        ("[fd00::1]:8081", "[fd00::2]:50000", True),
        ("10.0.0.13:8081", "10.0.0.13:50000", False),  # the host agent asks its own service
        ("10.0.0.13:22", "10.0.0.1:50000", False),
    ],
)
def test_only_others_connections_to_the_services_count(here: str, there: str, counts: bool) -> None:
    assert retire._is_foreign(here, there, {8081}) is counts
