"""Vectors are made anew beside the old ones; the vector DB and the agent's code are the real ones.

Only the model is a stand-in: a server on loopback that answers with vectors of the texts' digests.
"""

from __future__ import annotations

import contextlib
import http.server
import json
import random
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest
from bastide_host import embedder, reembed
from bastide_host.data import lift_fence
from bastide_host.host import AgentError
from bastide_host.shadow import MARK, Pair
from bastide_host.vectors import VectorDb
from qdrant_client import models
from vectordb_agent import agent_killed

pytestmark = [
    pytest.mark.integration,
    pytest.mark.filterwarnings("ignore:Api key is used with an insecure connection"),
]
WIDTH = 8  # of the new model; the old one's is 16
NEXT = "docs.bastide-next"
KILLED = """
import sys
from pathlib import Path
from bastide_host import embedder, reembed
from bastide_host.host import Paths
import json
embedder.start_server = lambda paths, number: ("127.0.0.1", int(sys.argv[2]))
print("ready", flush=True)
getattr(reembed, sys.argv[3])(Paths(Path(sys.argv[1])), json.loads(sys.argv[4]))
print("done", flush=True)
"""


def vector_of(text: str, width: int = WIDTH) -> list[float]:
    rng = random.Random(text)  # noqa: S311
    raw = [rng.uniform(-1, 1) for _ in range(width)]
    length = sum(x * x for x in raw) ** 0.5
    return [x / length for x in raw]


class Model(http.server.BaseHTTPRequestHandler):
    """Stands in for the new model's server."""

    texts = 0
    seconds = 0.0

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        assert body["model"] == "new-model"
        time.sleep(Model.seconds)
        refused = any("REFUSE" in text for text in body["input"])
        Model.texts += 0 if refused else len(body["input"])
        data = [{"index": n, "embedding": vector_of(t)} for n, t in enumerate(body["input"])]
        answer = json.dumps({"error": "too long"} if refused else {"data": data[::-1]}).encode()
        self.send_response(400 if refused else 200)
        self.send_header("content-length", str(len(answer)))
        self.end_headers()
        with contextlib.suppress(BrokenPipeError):  # the agent was killed
            self.wfile.write(answer)

    def log_message(self, *_arguments: object) -> None:
        """Say nothing."""


@pytest.fixture
def model(monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Model)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    Model.texts, Model.seconds = 0, 0.0
    monkeypatch.setattr(embedder, "start_server", lambda *_: ("127.0.0.1", server.server_port))
    yield server.server_port
    server.shutdown()
    server.server_close()


@pytest.fixture
def docs(host: Any, model: int) -> Any:  # noqa: ARG001
    etc = host.paths.generations / "2/etc"
    etc.mkdir(parents=True)
    (etc / "embeddings.json").write_text(json.dumps({"model": {"alias": "new-model"}}))
    host.paths.run.mkdir(parents=True, exist_ok=True)
    (host.paths.run / "pass").write_text("pass")
    client = host.server.client()
    client.create_collection(
        "docs",
        models.VectorParams(size=16, distance=models.Distance.COSINE),
        hnsw_config=models.HnswConfigDiff(m=24),
        metadata={"owner": "plant"},
    )
    client.create_payload_index("docs", "tenant", models.KeywordIndexParams(
        type=models.KeywordIndexType.KEYWORD, is_tenant=True))  # fmt: skip
    put(host, range(400))
    return host


def put(host: Any, numbers: Any, words: str = "text") -> None:
    points = [
        models.PointStruct(
            id=n if n % 2 else f"00000000-0000-0000-0000-{n:012}",
            vector=vector_of(f"{words} {n}", 16),
            payload={"text": f"{words} {n}", "tenant": f"t{n % 3}", "n": n},
        )
        for n in numbers
    ]
    host.server.client().upsert("docs", points)


def stage(digest: str = "d2", collections: dict[str, str] | None = None) -> dict[str, Any]:
    texts = collections if collections is not None else {"docs": "text"}
    return {"generation": 2, "digest": digest, "reembed": {"collections": texts}}


def all_points(host: Any, name: str = "docs") -> dict[Any, Any]:
    found, _ = host.server.client().scroll(name, limit=10_000, with_vectors=True)
    assert len({point.id for point in found}) == len(found)
    return {point.id: point for point in found}


def assert_anew(host: Any, name: str = "docs") -> None:
    for point in all_points(host, name).values():
        assert point.vector == pytest.approx(vector_of(point.payload["text"]), abs=1e-5)


def finish(host: Any, told: dict[str, Any]) -> dict[str, Any]:
    host.raise_fence()
    answer = reembed.reembed_final(host.paths, told)
    assert reembed.is_pending(host.paths, told["digest"])
    assert reembed.reembed_exchange(host.paths)["exchanged"] == ["docs"]
    return answer


def test_all_vectors_are_made_anew_and_exchanged(docs: Any) -> None:
    before = all_points(docs)
    answer = reembed.reembed(docs.paths, stage())
    assert answer["collections"]["docs"] == {"embedded": 400, "kept": 0, "removed": 0, "lost": 0}
    assert all_points(docs) == before  # served as they were
    assert reembed.reembed(docs.paths, stage())["changed"] is False
    assert finish(docs, stage())["collections"]["docs"]["points"] == 400
    after = all_points(docs)
    assert {i: p.payload for i, p in after.items()} == {i: p.payload for i, p in before.items()}
    assert_anew(docs)
    assert reembed.reembed_exchange(docs.paths)["changed"] is False  # not back again
    assert all_points(docs, NEXT) == before
    info = docs.server.client().get_collection("docs")
    assert (info.config.params.vectors.size, info.config.hnsw_config.m) == (WIDTH, 24)
    assert info.payload_schema["tenant"].params.is_tenant
    assert info.config.metadata["owner"] == "plant"
    assert info.config.metadata[MARK]
    assert Model.texts == 421  # each once, one for the width, 20 for the proof


def test_what_is_written_meanwhile_is_there_afterwards(docs: Any) -> None:
    client = docs.server.client()
    reembed.reembed(docs.paths, stage())
    put(docs, range(400, 470))
    put(docs, range(10), "changed")
    client.delete("docs", [11, 13])
    client.set_payload("docs", {"tenant": "other"}, [15])
    docs.raise_fence()
    answer = reembed.reembed_final(docs.paths, stage())
    assert answer["collections"]["docs"] == {
        "embedded": 81, "kept": 0, "removed": 2, "lost": 0, "points": 468,
    }  # fmt: skip
    reembed.reembed_exchange(docs.paths)
    assert_anew(docs)
    points = all_points(docs)
    assert len(points) == 468
    assert points[15].payload["tenant"] == "other"
    assert points[1].payload["text"] == "changed 1"


def killed(docs: Any, port: int, function: str, seconds: float) -> bool:
    """Kill the agent at its work; return whether it had not ended before."""
    words = (str(docs.paths.root), str(port), function, json.dumps(stage()))
    return agent_killed(KILLED, seconds, *words)


def test_a_killed_pass_goes_on_where_it_was(docs: Any, model: int) -> None:
    Model.seconds = 0.15  # a batch; all of them take more than a second
    rng = random.Random(5)  # noqa: S311
    cut = sum(killed(docs, model, "reembed", rng.uniform(0.2, 0.8)) for _ in range(3))
    assert cut
    put(docs, range(400, 440))
    put(docs, range(0, 60, 7), "changed")
    before = Model.texts
    reembed.reembed(docs.paths, stage())
    assert before > 64  # what was done stays done
    assert Model.texts < 401 + 40 + 9 + 3 * 64 + 4  # at most one batch a kill is made twice
    docs.raise_fence()
    for _ in range(3):
        killed(docs, model, "reembed_final", rng.uniform(0, 0.5))
    assert reembed.reembed_final(docs.paths, stage())["collections"]["docs"]["points"] == 440
    reembed.reembed_exchange(docs.paths)
    assert len(all_points(docs)) == 440
    assert_anew(docs)


def test_a_killed_exchange_is_made_once(docs: Any) -> None:
    reembed.reembed(docs.paths, stage())
    docs.raise_fence()
    reembed.reembed_final(docs.paths, stage())
    both = {"a": "docs", "b": NEXT}
    VectorDb(docs.paths, "pass").ask("POST", "/bastide/exchange", both)  # and then killed
    assert reembed.reembed_exchange(docs.paths)["changed"] is False
    assert_anew(docs)


def test_the_fence_holds_for_a_first_pass_and_opens_for_the_last(docs: Any) -> None:
    with pytest.raises(AgentError, match="writes are let in"):
        reembed.reembed_final(docs.paths, stage())
    docs.raise_fence()
    assert reembed.reembed(docs.paths, stage())["changed"] is False
    finish(docs, stage())  # all of it, if there was no first pass
    assert_anew(docs)
    (docs.paths.run / "pass").write_text("another")
    with pytest.raises(AgentError, match="503") as caught:
        reembed.drop_shadows(docs.paths)
    assert caught.value.code == "BAS-6099"


def test_points_without_a_text_keep_their_vector_or_are_counted(docs: Any) -> None:
    client = docs.server.client()
    bare = [models.PointStruct(id=900 + n, vector=[1.0] * 16, payload={"n": n}) for n in range(3)]
    client.upsert("docs", bare)
    with pytest.raises(AgentError, match="3 points of collection 'docs' have no text") as caught:
        reembed.reembed(docs.paths, stage())
    assert caught.value.code == "BAS-6096"
    wide = models.VectorParams(size=WIDTH, distance=models.Distance.COSINE)
    client.create_collection("same", {"v": wide})
    client.upsert("same", [
        models.PointStruct(id=1, vector={"v": [1.0] * WIDTH}),
        models.PointStruct(id=2, vector={"v": [1.0] * WIDTH}, payload={"words": "w"}),
    ])  # fmt: skip
    told = stage(collections={"same": "words"})
    reembed.reembed(docs.paths, told)
    docs.raise_fence()
    reembed.reembed_final(docs.paths, told)
    assert reembed.reembed_exchange(docs.paths)["exchanged"] == ["same"]
    points = all_points(docs, "same")
    assert points[1].vector["v"] == pytest.approx([WIDTH**-0.5] * WIDTH)
    assert points[2].vector["v"] == pytest.approx(vector_of("w"), abs=1e-5)
    names = {each.name for each in client.get_collections().collections}
    assert NEXT not in names  # of the pass before, whose declaration was another


def test_a_refused_text_is_named_and_other_kinds_of_vectors_are_refused(docs: Any) -> None:
    put(docs, [77], "REFUSE")
    with pytest.raises(AgentError, match="text of point 77: 400") as caught:
        reembed.reembed(docs.paths, stage())
    assert caught.value.code == "BAS-6097"
    put(docs, [77])
    reembed.reembed(docs.paths, stage())
    with pytest.raises(AgentError, match="other vectors than one") as caught:
        reembed.reembed(docs.paths, stage(collections={"named with out": "text"}))
    assert caught.value.code == "BAS-6096"


def test_a_collection_that_is_not_there_is_no_fault(docs: Any) -> None:
    told = stage(collections={"none": "text"})
    assert reembed.reembed(docs.paths, told) == {"changed": False, "collections": {}}
    docs.raise_fence()
    assert reembed.reembed_final(docs.paths, told)["collections"] == {}
    assert reembed.reembed_exchange(docs.paths)["exchanged"] == []


def test_a_broken_shadow_is_not_served(docs: Any) -> None:
    reembed.reembed(docs.paths, stage())
    client = docs.server.client()
    client.delete(NEXT, [5])
    docs.raise_fence()
    told = stage()
    answer = reembed.reembed_final(docs.paths, told)
    assert answer["collections"]["docs"]["embedded"] == 1  # what was lost is made again
    lift_fence(docs.paths)
    others = [
        models.PointVectors(id=n, vector=vector_of(f"text {n + 2}")) for n in range(1, 400, 2)
    ]
    client.update_vectors(NEXT, others)
    docs.raise_fence()
    with pytest.raises(AgentError, match="not nearest to the vector of its text") as caught:
        reembed.reembed_final(docs.paths, told)
    assert caught.value.code == "BAS-6098"
    lift_fence(docs.paths)
    client.create_payload_index(NEXT, "n", models.PayloadSchemaType.INTEGER)
    odd = models.Filter(must=[models.FieldCondition(key="n", range=models.Range(gte=0))])
    client.delete(NEXT, odd)
    docs.raise_fence()
    pair = Pair(VectorDb(docs.paths, "pass"), "docs", "text", mark_of_shadow(docs), None)  # type: ignore[arg-type]
    assert pair.ready() is False
    with pytest.raises(AgentError, match="it has 0 points, expected 400") as caught:
        pair.prove()
    assert caught.value.code == "BAS-6098"


def mark_of_shadow(docs: Any) -> str:
    return str(docs.server.client().get_collection(NEXT).config.metadata[MARK])


def test_what_is_left_is_removed(docs: Any) -> None:
    reembed.reembed(docs.paths, stage())
    assert reembed.drop_shadows(docs.paths) == [NEXT]
    assert reembed.drop_shadows(docs.paths) == []
    assert not reembed.state_file(docs.paths).exists()
    assert "docs" in {each.name for each in docs.server.client().get_collections().collections}
    reembed.expect_shadows(docs.paths, {"points": {"docs": 1}})
    assert not reembed.state_file(docs.paths).exists()
    reembed.expect_shadows(docs.paths, {"points": {NEXT: 1}})
    assert reembed.drop_shadows(docs.paths) == []
