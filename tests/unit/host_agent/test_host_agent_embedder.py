"""The next generation's embedding server: its own unit, from its own folder, on loopback."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from bastide_host.condition_units import unit_state
from bastide_host.embedder import UNIT, Embedder, start_server, stop_server
from bastide_host.host import AgentError, Paths

UNIT_TEXT = """[Service]
User=bastide-embeddings
WorkingDirectory=/opt/bastide/current/backends
ExecStart=/opt/bastide/current/venv/bin/python -C /opt/bastide/current/etc/embeddings.json
IPAddressDeny=any
"""


@pytest.fixture
def host(tmp_path: Path) -> Paths:
    paths = Paths(tmp_path)
    folder = paths.generations / "2"
    (folder / "etc").mkdir(parents=True)
    (folder / "units").mkdir()
    (folder / "units/bastide-embeddings.service").write_text(UNIT_TEXT)
    config = {
        "server": {"host": "10.0.0.1", "port": 8082},
        "model": {"path": "/opt/bastide/current/models/m.gguf", "alias": "m"},
    }
    (folder / "etc/embeddings.json").write_text(json.dumps(config))
    paths.at("/run").mkdir()
    return paths


def test_it_runs_from_the_new_generation_with_the_same_sandbox(host: Paths) -> None:
    with pytest.raises(AgentError) as caught:  # no systemd knows of a unit below this root
        start_server(host, 2)
    assert caught.value.code == "BAS-6095"
    unit = host.at(f"/run/systemd/system/{UNIT}").read_text()
    assert unit == UNIT_TEXT.replace(
        "/opt/bastide/current/etc/embeddings.json", "/run/bastide-reembed.json"
    ).replace("/opt/bastide/current", "/opt/bastide/generations/2")
    config = json.loads(host.at("/run/bastide-reembed.json").read_text())
    assert config["model"]["path"] == "/opt/bastide/generations/2/models/m.gguf"
    assert config["server"]["host"] == "127.0.0.1"
    assert config["server"]["port"] not in {0, 8082}
    # What a killed pass leaves does not keep the next run from going on.
    assert unit_state(host)["unit_files"] == []
    stop_server(host)
    assert not list(host.at("/run/systemd/system").iterdir())
    assert not host.at("/run/bastide-reembed.json").exists()


def test_it_is_started_only_if_something_is_embedded(host: Paths) -> None:
    with Embedder(host, 2) as embedder:
        assert embedder.embed([]) == []
    assert not host.at("/run/systemd").exists()


def test_a_generation_without_an_embedding_server_is_refused(host: Paths) -> None:
    with pytest.raises(AgentError, match="generation 3 has no embedding server"):
        start_server(host, 3)
