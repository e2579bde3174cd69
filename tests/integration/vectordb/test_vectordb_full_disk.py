"""The disk fills up: writes are refused by name, reads go on, and nothing acknowledged is lost."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

pytestmark = pytest.mark.integration

POINTS = "/collections/docs/points"
FREE = 100_000  # bytes that whoever filled the disk has left


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A small file system of its own."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=400m", "small", str(folder)]
    if subprocess.run(mount, check=False, capture_output=True).returncode != 0:
        pytest.skip("not allowed to mount a small file system")
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


def fill(disk: Path) -> Path:
    """Let somebody else's file take all of the disk but a little."""
    filler = disk / "filler"
    with filler.open("wb") as file:
        try:
            while True:
                file.write(bytes(1 << 20))
                file.flush()
        except OSError:
            pass
    filler.open("r+b").truncate(filler.stat().st_size - FREE)
    return filler


def put(client: httpx.Client, number: int) -> httpx.Response:
    point = {"id": number, "vector": [number % 7, 1, 2, 3], "payload": {"text": "x" * 20_000}}
    return client.put(POINTS, params={"wait": "true"}, json={"points": [point]})


def ids(client: httpx.Client) -> set[int]:
    wish = {"limit": 10_000, "with_payload": False}
    found = client.post(f"{POINTS}/scroll", json=wish).json()["result"]["points"]
    return {each["id"] for each in found}


def test_reads_go_on_and_writes_are_refused_until_there_is_room(
    disk: Path, make_server: Callable[..., Any]
) -> None:
    server = make_server(folder=disk)
    with server.http() as client:
        made = {"vectors": {"size": 4, "distance": "Dot"}}
        client.put("/collections/docs", json=made).raise_for_status()
        client.put("/collections/other", json=made).raise_for_status()
        kept = {number for number in range(50) if put(client, number).status_code == 200}
        engines = server.engines()
        filler = fill(disk)
        for number in range(50, 90):
            refused = put(client, number)
            assert refused.status_code == 507, refused.text
            assert "bytes are free" in refused.json()["status"]["error"]
            search = {"query": [1, 1, 2, 3], "limit": 3}
            assert client.post(f"{POINTS}/query", json=search).status_code == 200
        assert client.post(f"{POINTS}/delete", json={"points": [1]}).status_code == 507
        assert server.engines() == engines  # none of them died of it
        assert client.delete("/collections/other").status_code == 200  # it gives room
        filler.unlink()
        assert put(client, 90).status_code == 200
        assert ids(client) == {*kept, 90}
