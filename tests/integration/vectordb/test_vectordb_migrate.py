"""A move between two vector DBs: real services over HTTP at both ends.

Qdrant's server was not at hand: Edge stands for both ends, and the client's own local mode is the
second check, filled from what arrived.
"""

from __future__ import annotations

import json
import random
import uuid
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from qdrant_client import QdrantClient, models

from bastide.cli.main import main
from bastide.errors import ApplyError
from bastide.ledger.record import read
from bastide.progress import SilentProgress
from bastide.vectors.endpoint import Address, Endpoint
from bastide.vectors.migrate import Move
from bastide.vectors.progress_file import Moves

pytestmark = [
    pytest.mark.integration,
    pytest.mark.filterwarnings("ignore:Api key is used with an insecure connection"),
    pytest.mark.filterwarnings("ignore:Payload indexes have no effect"),
]
KEY = "full-key-of-the-tests"
COUNT = 700


def fill(client: QdrantClient) -> None:
    rng = random.Random(5)  # noqa: S311 - data, not secrets
    client.create_collection(
        "mixed words",
        {
            "a": models.VectorParams(size=8, distance=models.Distance.COSINE, on_disk=True),
            "m": models.VectorParams(
                size=3,
                distance=models.Distance.DOT,
                multivector_config=models.MultiVectorConfig(
                    comparator=models.MultiVectorComparator.MAX_SIM
                ),
            ),
        },
        sparse_vectors_config={
            "s": models.SparseVectorParams(),
            "i": models.SparseVectorParams(modifier=models.Modifier.IDF),
        },
        hnsw_config=models.HnswConfigDiff(m=8),
        strict_mode_config=models.StrictModeConfig(
            enabled=True, max_query_limit=100, upsert_max_batchsize=50
        ),
        metadata={"owner": "plant"},
    )
    client.create_payload_index(
        "mixed words",
        "tenant",
        models.KeywordIndexParams(type=models.KeywordIndexType.KEYWORD, is_tenant=True),
    )
    client.create_payload_index("mixed words", "n", models.PayloadSchemaType.INTEGER)
    points = []
    for number in range(COUNT):
        vector: dict[str, Any] = {"a": [rng.gauss(0, 1) for _ in range(8)]}
        if number % 3:
            vector["m"] = [[rng.random() for _ in range(3)] for _ in range(rng.randint(1, 3))]
        if number % 4:
            indices = sorted(rng.sample(range(1000), 5))
            vector["s"] = vector["i"] = models.SparseVector(
                indices=indices, values=[rng.random() for _ in indices]
            )
        point = number if number % 5 else str(uuid.UUID(int=number))
        payload = {"n": number, "tenant": f"t{number % 3}", "deep": {"a": [1, {"ü": None}]}}
        points.append(models.PointStruct(id=point, vector=vector, payload=payload))
    for start in range(0, COUNT, 50):
        client.upsert("mixed words", points[start : start + 50])
    client.create_collection("plain", models.VectorParams(size=2, distance=models.Distance.EUCLID))
    client.upsert("plain", [models.PointStruct(id=1, vector=[1.0, 2.0])])
    client.create_collection("empty", models.VectorParams(size=2, distance=models.Distance.DOT))
    client.update_collection_aliases(
        [
            models.CreateAliasOperation(
                create_alias=models.CreateAlias(collection_name="plain", alias_name="now")
            )
        ]
    )


@pytest.fixture
def ends(make_server: Callable[..., Any], tmp_path: Path) -> tuple[Any, Any]:
    folders = [tmp_path / "old", tmp_path / "new"]
    for folder in folders:
        folder.mkdir()
    old, new = (make_server(folder) for folder in folders)
    fill(old.client())
    return old, new


def command(
    ends: Any, tmp_path: Path, *more: str, source: str = "edge", target: str = "edge"
) -> Result:
    key = tmp_path / "key"
    key.write_text(KEY + "\n")
    return CliRunner().invoke(
        main,
        [
            *("vectordb", "migrate", "--from", source, "--to", target),
            *("--from-url", ends[0].url, "--from-key-file", str(key)),
            *("--to-url", ends[1].url, "--to-key-file", str(key)),
            *("--state", str(tmp_path / "state.json"), "--json"),
            *more,
        ],
        env={"BASTIDE_HOME": str(tmp_path / "home")},
    )


def everything(client: QdrantClient, name: str) -> list[Any]:
    out, offset = [], None
    while True:
        records, offset = client.scroll(name, limit=100, offset=offset, with_vectors=True)
        out += records
        if offset is None:
            return out


def rounded(data: Any) -> Any:
    if isinstance(data, float):
        return round(data, 4)
    if isinstance(data, list):
        return [rounded(each) for each in data]
    if isinstance(data, dict):
        return {key: rounded(each) for key, each in data.items()}
    return data


def shown(records: list[Any]) -> Any:
    return {r.id: rounded(r.model_dump()) for r in records}


def test_a_move_brings_everything_and_proves_it(ends: Any, tmp_path: Path) -> None:
    done = command(ends, tmp_path)
    assert done.exit_code == 0, done.output
    answer = json.loads(done.stdout)
    assert (answer["schema"], answer["ok"]) == ("bastide.result/1", True)
    result = answer["result"]
    assert set(result) == {"source", "target", "collections", "aliases"}
    moved = {each["name"]: each for each in result["collections"]}
    assert {name: each["points"] for name, each in moved.items()} == {
        "empty": 0,
        "mixed words": COUNT,
        "plain": 1,
    }
    assert moved["mixed words"]["copied"] == COUNT
    assert moved["mixed words"]["queries"] >= 8
    entries = read(tmp_path / "home/ledger.jsonl")
    assert [(each.operation, each.outcome) for each in entries] == [
        ("vectordb migrate", "started"),
        ("vectordb migrate", "done"),
    ]
    assert KEY not in (tmp_path / "home/ledger.jsonl").read_text()
    assert set(moved["plain"]) == {"name", "points", "sha256", "copied", "repaired", "queries"}
    assert KEY not in done.output
    old, new = ends[0].client(), ends[1].client()
    assert shown(everything(old, "mixed words")) == shown(everything(new, "mixed words"))
    one, other = old.get_collection("mixed words"), new.get_collection("mixed words")
    assert one.config.params == other.config.params
    assert one.payload_schema == other.payload_schema
    assert one.config.strict_mode_config == other.config.strict_mode_config
    assert other.config.metadata == {"owner": "plant"}
    assert other.config.hnsw_config.m == 8
    assert [(a.alias_name, a.collection_name) for a in new.get_aliases().aliases] == [
        ("now", "plain")
    ]
    # The second check: what arrived, in the client's own model of Qdrant, answers as the source.
    local = QdrantClient(":memory:")
    config = other.config.params
    local.create_collection("c", config.vectors, sparse_vectors_config=config.sparse_vectors)
    local.upsert(
        "c",
        [
            models.PointStruct(id=r.id, vector=r.vector, payload=r.payload)
            for r in everything(new, "mixed words")
        ],
    )
    query = [1.0, -1.0] * 4
    ours = old.query_points("mixed words", query=query, using="a", limit=20).points
    theirs = local.query_points("c", query=query, using="a", limit=20).points
    assert [p.id for p in ours] == [p.id for p in theirs]


def test_writes_meanwhile_are_brought_after_and_a_second_run_copies_nothing(
    ends: Any, tmp_path: Path
) -> None:
    assert command(ends, tmp_path).exit_code == 0
    old = ends[0].client()
    old.delete("mixed words", [1, 2, 3])
    old.set_payload("mixed words", {"n": -1}, points=[4])
    old.update_vectors("mixed words", [models.PointVectors(id=6, vector={"a": [1.0] * 8})])
    old.upsert("mixed words", [models.PointStruct(id=9999, vector={"a": [0.5] * 8})])
    done = command(ends, tmp_path)
    assert done.exit_code == 0, done.output
    moved = {m["name"]: m for m in json.loads(done.stdout)["result"]["collections"]}["mixed words"]
    assert (moved["copied"], moved["repaired"], moved["points"]) == (0, 6, COUNT - 2)
    new = ends[1].client()
    assert shown(everything(old, "mixed words")) == shown(everything(new, "mixed words"))


class CutError(Exception):
    """The run was killed here."""


@pytest.fixture
def open_ends(ends: Any) -> Iterator[tuple[Endpoint, Endpoint]]:
    with (
        Endpoint(Address(ends[0].url, KEY)) as source,
        Endpoint(Address(ends[1].url, KEY)) as target,
    ):
        yield source, target


@pytest.mark.parametrize("after", [1, 3, 7, 9])
def test_a_move_that_is_cut_off_goes_on(
    open_ends: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, after: int
) -> None:
    """Killed at any request to the target: the next run copies the rest only."""
    source, target = open_ends
    state = tmp_path / "state.json"
    asked = 0
    plain = Endpoint.ask

    def counted(self: Endpoint, method: str, path: str, body: Any = None) -> Any:
        nonlocal asked
        if self is target and "/points?" in path:
            asked += 1
            if asked == after:
                raise CutError
        return plain(self, method, path, body)

    monkeypatch.setattr(Endpoint, "ask", counted)
    first = Move(source, target, Moves.load(state, "a", "b"), SilentProgress())
    cut = False
    try:
        first.collection("mixed words")
    except CutError:
        cut = True
    second = Move(source, target, Moves.load(state, "a", "b"), SilentProgress())
    moved = second.collection("mixed words")
    assert moved.points == COUNT
    assert cut == (after <= 7)  # pages of 100, which is the source's own limit
    assert first.copied + moved.copied == COUNT
    assert target.count("mixed words") == COUNT


def test_a_source_that_never_stands_still_is_not_called_equal(
    open_ends: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, target = open_ends
    plain = Endpoint.pages
    number = 50_000

    def busy(self: Endpoint, name: str, size: int, offset: object = None) -> Any:
        nonlocal number
        if self is source:
            number += 1
            rows = [{"id": number, "vector": [1.0, 1.0]}]
            source.ask("PUT", "/collections/plain/points?wait=true", {"points": rows})
        return plain(self, name, size, offset)

    monkeypatch.setattr(Endpoint, "pages", busy)
    with pytest.raises(ApplyError, match="being written to") as caught:
        Move(source, target, Moves(None, "a", "b"), SilentProgress()).collection("plain")
    assert caught.value.code == "BAS-6173"


def test_damage_at_the_target_is_found_and_mended(open_ends: Any) -> None:
    """The proof can fail: a changed vector, payload or point is noticed."""
    source, target = open_ends
    moves = Moves(None, "a", "b")
    Move(source, target, moves, SilentProgress()).collection("mixed words")
    for body, path in (
        ({"points": [{"id": 7, "vector": {"a": [9.0] + [0.0] * 7}}]}, "points/vectors"),
        ({"points": [8], "payload": {"n": -5}}, "points/payload"),
        ({"points": [11]}, "points/delete"),
        ({"points": [{"id": 77_777, "vector": {"a": [1.0] * 8}}]}, "points"),
    ):
        method = "POST" if path in {"points/payload", "points/delete"} else "PUT"
        target.ask(method, f"/collections/mixed%20words/{path}", body)
        again = Move(source, target, moves, SilentProgress()).collection("mixed words")
        assert (again.repaired, again.copied) == (1, 0), path


def test_wrong_ends_are_refused_before_anything_is_written(ends: Any, tmp_path: Path) -> None:
    done = command(ends, tmp_path, target="server")
    assert (done.exit_code, json.loads(done.stdout)["error"]["code"]) == (2, "BAS-2141")
    assert ends[1].client().get_collections().collections == []
    new = ends[1].client()
    new.create_collection("plain", models.VectorParams(size=3, distance=models.Distance.DOT))
    done = command(ends, tmp_path, "--collection", "plain")
    assert (done.exit_code, json.loads(done.stdout)["error"]["code"]) == (6, "BAS-6172")
    (tmp_path / "state.json").write_text("{}")
    done = command(ends, tmp_path)
    assert (done.exit_code, json.loads(done.stdout)["error"]["code"]) == (2, "BAS-2143")
    (tmp_path / "state.json").unlink()
    gone = replace(ends[1])
    ends[1].stop()
    done = command((ends[0], gone), tmp_path)
    assert (done.exit_code, json.loads(done.stdout)["error"]["code"]) == (6, "BAS-6170")
    done = command(ends, tmp_path, "--from-key-file", "/nonexistent")
    assert (done.exit_code, json.loads(done.stdout)["error"]["code"]) == (2, "BAS-2142")


def test_status_shows_what_is_there(ends: Any, tmp_path: Path) -> None:
    key = tmp_path / "key"
    key.write_text(KEY)
    asked = ["vectordb", "status", "--url", ends[0].url, "--key-file", str(key)]
    done = CliRunner().invoke(main, [*asked, "--json"])
    assert done.exit_code == 0, done.output
    result = json.loads(done.stdout)["result"]
    assert (result["engine"], result["version"], result["peers"]) == ("edge", "0.9.0", [])
    mixed, plain = result["collections"][1], result["collections"][2]
    assert mixed == {
        "name": "mixed words",
        "status": "green",
        "points": COUNT,
        "indexed_vectors": mixed["indexed_vectors"],
        "segments": mixed["segments"],
        "vectors": ["a", "m", "i", "s"],
        "payload_indexes": ["n", "tenant"],
        "replication_factor": 1,
        "aliases": [],
    }
    assert plain["aliases"] == ["now"]
    text = CliRunner().invoke(main, asked).stdout
    assert "engine edge 0.9.0" in text
    assert "mixed words" in text
    assert KEY not in text
