"""Engine ``server`` with the real program: one node and a cluster of three, as rendered for hosts.

Needs Qdrant's release archive, which no package index carries: set BASTIDE_QDRANT_ARCHIVE to the
path of ``qdrant-x86_64-unknown-linux-musl.tar.gz``. Without it the test is skipped and says so.
"""

from __future__ import annotations

import os
import re
import subprocess
import tarfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml
from a_site import a_site
from qdrant_client import QdrantClient, models

from bastide import resources
from bastide.render.trees import render_trees
from bastide.schema.artifact import Artifact, ArtifactKind, Component, Manifest
from bastide.schema.model_card import ModelCard
from bastide.schema.release import Release
from bastide.schema.site import Site

ARCHIVE = os.environ.get("BASTIDE_QDRANT_ARCHIVE", "")
pytestmark = [
    pytest.mark.e2e,
    pytest.mark.skipif(
        not ARCHIVE,
        reason="BASTIDE_QDRANT_ARCHIVE is not set: Qdrant's release archive cannot be fetched from "
        "a package index, so the engine 'server' was not run",
    ),
    pytest.mark.filterwarnings("ignore:Api key is used with an insecure connection"),
]
KEY, READ_ONLY = "k" * 40, "r" * 40
CHAT, EMBED = "smollm2-135m-instruct-q4_1-t2", "all-minilm-l6-v2-q8_0"


def _site(count: int) -> Site:
    hosts = {"big": ("127.0.0.2", ["llm", "embeddings", "gateway"])}
    hosts |= {f"v{number}": (f"127.0.0.{10 + number}", ["vectordb"]) for number in range(count)}
    return a_site(
        hosts,
        {"control_address": "127.0.0.1", "vectordb_port": 26333},
        models={"llm": CHAT, "embeddings": EMBED},
        vectordb={
            "engine": "server",
            "peer_port": 26335,
            "replication_factor": min(count, 2),
            "write_consistency_factor": min(count, 2),
        },
    )


def _trees(site: Site) -> Any:
    catalogue = resources.catalogue()
    release = Release.model_validate(
        yaml.safe_load((catalogue / "releases/starter-2026.12.0.yaml").read_text())
    )
    cards = {
        name: ModelCard.model_validate(
            yaml.safe_load((catalogue / f"models/{name}.yaml").read_text())
        )
        for name in (CHAT, EMBED)
    }
    models_of = [(CHAT, Component.LLM), (EMBED, Component.EMBEDDINGS)]
    artifacts = tuple(
        Artifact(
            name=name,
            kind=ArtifactKind.MODEL,
            version="1",
            filename=name,
            size=1,
            sha256="0" * 64,
            platform="any",
            licence="Apache-2.0",
            components=(component,),
            source="here",
        )
        for name, component in models_of
    )
    manifest = Manifest(release="s-2026.12.0", target="t", lock="0" * 64, artifacts=artifacts)
    return render_trees(site, release, manifest, cards)


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("qdrant")
    with tarfile.open(ARCHIVE) as opened:
        member = next(m for m in opened if Path(m.name).name == "qdrant" and m.isreg())
        stream = opened.extractfile(member)
        assert stream is not None
        (folder / "qdrant").write_bytes(stream.read())
    (folder / "qdrant").chmod(0o755)
    return folder / "qdrant"


def _start(tree: Any, folder: Path, program: Path) -> subprocess.Popen[bytes]:
    """One node by its own rendered files, with paths below ``folder``."""
    for name in ("state/vectordb/config", "current", "credentials"):
        (folder / name).mkdir(parents=True)
    (folder / "credentials/api_key").write_text(KEY)
    (folder / "credentials/read_only_api_key").write_text(READ_ONLY)
    for path, file in tree.files.items():
        place = folder / "current" / path
        place.parent.mkdir(parents=True, exist_ok=True)
        text = file.content.decode().replace("/var/lib/bastide", f"{folder}/state")
        place.write_text(text.replace("/opt/bastide/current", f"{folder}/current"))
    unit = (folder / "current/units/bastide-vectordb.service").read_text()
    (line,) = re.findall(r"^ExecStart=(.*)$", unit, re.MULTILINE)
    command = line.replace(f"{folder}/current/bin/qdrant", str(program)).split()
    return subprocess.Popen(
        command,
        cwd=folder / "state/vectordb",
        env={"CREDENTIALS_DIRECTORY": str(folder / "credentials")},
        stdout=(folder / "log").open("wb"),
        stderr=subprocess.STDOUT,
    )


def _ready(url: str, node: subprocess.Popen[bytes], log: Path) -> None:
    until = time.monotonic() + 60
    while time.monotonic() < until:
        assert node.poll() is None, log.read_text()
        try:
            if httpx.get(f"{url}/readyz", timeout=5).status_code == 200:
                return
        except httpx.HTTPError:
            pass
        time.sleep(0.2)
    raise AssertionError(log.read_text())


@pytest.fixture(params=[1, 3], ids=["one node", "three nodes"])
def nodes(
    request: pytest.FixtureRequest, tmp_path: Path, program: Path
) -> Iterator[dict[str, str]]:
    site = _site(request.param)
    trees = _trees(site)
    running, urls = [], {}
    for name in site.hosts_in(next(g for g in site.hosts["v0"].groups)):
        folder = tmp_path / name
        node = _start(trees[name], folder, program)
        running.append(node)
        urls[name] = f"http://{site.hosts[name].address}:26333"
        _ready(urls[name], node, folder / "log")
    yield urls
    for node in running:
        node.terminate()
        node.wait(30)


def test_the_server_keeps_what_the_site_says(nodes: dict[str, str]) -> None:
    first, last = next(iter(nodes.values())), list(nodes.values())[-1]
    assert httpx.get(f"{first}/collections").status_code == 401
    assert httpx.get(f"{first}/collections", headers={"api-key": READ_ONLY}).status_code == 200
    body = {"vectors": {"size": 2, "distance": "Dot"}}
    refused = httpx.put(f"{first}/collections/x", json=body, headers={"api-key": READ_ONLY})
    assert refused.status_code == 403
    client = QdrantClient(url=first, api_key=KEY, check_compatibility=False)
    client.create_collection("c", models.VectorParams(size=2, distance=models.Distance.DOT))
    client.upsert("c", [models.PointStruct(id=n, vector=[n, 1.0]) for n in range(100)], wait=True)
    other = QdrantClient(url=last, api_key=KEY, check_compatibility=False)
    assert other.count("c").count == 100
    assert other.query_points("c", query=[1.0, 0.0], limit=1).points[0].id == 99
    params = client.get_collection("c").config.params
    assert params.replication_factor == min(len(nodes), 2)
    assert params.write_consistency_factor == min(len(nodes), 2)
    status = client.cluster_status()
    assert status.status == ("enabled" if len(nodes) > 1 else "disabled")
    if len(nodes) > 1:
        assert len(status.peers) == len(nodes)  # type: ignore[union-attr]
