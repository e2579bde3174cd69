"""The record of texts behind the real gateway: who asked what, and a server that cannot write."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from bastide_host import gateway
from gateway_client import CHAT, EMBED, Client, entries
from gateway_stand import Stand, digest_of, short_folder
from haproxy_program import haproxy

from bastide import resources
from bastide.render.engine import TemplateFolder
from bastide.schema.access import Role
from bastide.schema.client_key import UNLIMITED
from bastide.site import keystore

pytestmark = [
    pytest.mark.integration,
    pytest.mark.skipif(haproxy() is None, reason="no haproxy here, and Debian's cannot be had"),
]
# Answers at once; each server has a folder of its own, by its port.
SERVER = r"""
import json, os, sys
from pathlib import Path
import text_record, uvicorn
async def app(scope, receive, send):
    if scope["type"] != "http":
        return
    await receive()
    said = json.dumps({"choices": [{"message": {"content": sys.argv[1]}}]}).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(said))]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": said})
folder = Path(os.environ["STATE_DIRECTORY"], sys.argv[1])
folder.mkdir(mode=0o700)
record = text_record.Record(folder, 30)
uvicorn.run(text_record.RecordTexts(app, record), host="127.0.0.1", port=int(sys.argv[1]),
            log_level="error", lifespan="off")
"""


def lines(folder: Path) -> list[dict[str, Any]]:
    """Return what a server has recorded."""
    text = "".join(path.read_text() for path in sorted(folder.glob("*.jsonl")))
    return [json.loads(line) for line in text.split("\n") if line]


@pytest.fixture
def stand(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Stand]:
    text = TemplateFolder(resources.templates()).render("lib/text_record.py.j2", {})
    (tmp_path / "text_record.py").write_bytes(text)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setenv("STATE_DIRECTORY", str(tmp_path))
    client = keystore.new_client(
        "app", Role.USER, UNLIMITED, digest_of("app"), datetime.now(UTC), None
    )
    with short_folder() as folder:
        stand = Stand(folder, server=SERVER)
        stand.keys, stand.texts_days = keystore.keys_map((client,)), 30
        stand.paths.secrets.mkdir(parents=True)
        with stand.running():
            yield stand


def test_what_is_recorded_and_the_audit_log_tell_of_the_same_requests(
    stand: Stand, tmp_path: Path
) -> None:
    client = Client(stand, "app")
    forged = {"X-Request-Id": "mine", "X-Bastide-Identity": "somebody"}
    answers = [client.ask("POST", CHAT, {"number": n}, forged) for n in range(6)]
    assert [each.status for each in answers] == [200] * 6
    assert client.ask("POST", EMBED, {"input": "not recorded"}).status == 200
    folders = [tmp_path / str(stand.ports["llm", name]) for name in ("a", "b")]

    def recorded(event: str) -> dict[str, dict[str, Any]]:
        return {e["id"]: e for each in folders for e in lines(each) if e["event"] == event}

    assert gateway.wait_until(lambda: len(recorded("answered")) == 6, 10)
    asked = recorded("asked")
    logged = {e["id"]: e for e in entries(stand, 7) if e["path"] == CHAT}
    assert set(asked) == set(logged) == {each.headers["x-request-id"] for each in answers}
    assert {e["identity"] for e in (*asked.values(), *logged.values())} == {"app"}
    assert sorted(e["body"]["number"] for e in asked.values()) == list(range(6))
    everything = "".join(path.read_text() for path in tmp_path.glob("*/*.jsonl"))
    assert "not recorded" not in everything


def test_a_server_that_cannot_record_is_asked_no_more_until_it_can(
    stand: Stand, tmp_path: Path
) -> None:
    client, broken = Client(stand, "app"), tmp_path / str(stand.ports["llm", "b"])
    folder = broken.rename(tmp_path / "away")
    refused = [each for each in (client.chat() for _ in range(8)) if each.status != 200]
    assert {(each.status, each.code) for each in refused} == {(503, "record_unavailable")}
    assert refused[0].headers["retry-after"] == "5"

    def takes_requests(name: str) -> bool:
        found = gateway.servers(stand.paths)
        return next(e for e in found if (e.backend, e.name) == ("llm", name)).takes_requests

    assert gateway.wait_until(lambda: not takes_requests("b"), 20)
    assert [client.chat().status for _ in range(8)] == [200] * 8
    assert not broken.exists()
    shutil.move(folder, broken)
    assert gateway.wait_until(lambda: takes_requests("b"), 20)
    assert [client.chat().status for _ in range(8)] == [200] * 8
