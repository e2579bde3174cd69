"""The service as clients meet it: real process, real qdrant-client, real HTTP."""

from __future__ import annotations

import uuid
import warnings
from typing import Any

import httpx
import pytest
from qdrant_client import QdrantClient, models
from qdrant_client.http.exceptions import UnexpectedResponse

pytestmark = [
    pytest.mark.integration,
    pytest.mark.filterwarnings("ignore:Api key is used with an insecure connection"),
]
KEY = "full-key-of-the-tests"
READ_ONLY = "read-only-key-of-the-tests"


@pytest.fixture
def name(shared: Any) -> str:
    """A collection of four points with two tenants."""
    name = f"c-{uuid.uuid4().hex}"
    client = shared.client()
    client.create_collection(name, models.VectorParams(size=3, distance=models.Distance.DOT))
    client.create_payload_index(
        name, "tenant", models.KeywordIndexParams(type="keyword", is_tenant=True)
    )
    client.upsert(
        name,
        [
            models.PointStruct(id=1, vector=[1, 0, 0], payload={"tenant": "a", "n": 1}),
            models.PointStruct(id=2, vector=[0, 1, 0], payload={"tenant": "b", "n": 2}),
            models.PointStruct(id=3, vector=[2, 0, 0], payload={"tenant": "a", "n": 3}),
            models.PointStruct(id=4, vector=[0, 0, 1], payload={"tenant": ["a", "b"]}),
        ],
    )
    return name


def test_the_installed_client_sees_a_version_that_it_does_not_warn_about(shared: Any) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.filterwarnings("ignore", message="Api key is used with an insecure connection")
        QdrantClient(url=shared.url, api_key=KEY, timeout=60).get_collections()
    root = shared.http(None).get("/").json()
    assert root["title"].startswith("Bastide vectordb")


def test_collections_live_and_die(shared: Any) -> None:
    client, name = shared.client(), f"c-{uuid.uuid4().hex}"
    assert not client.collection_exists(name)
    vectors = {
        "small": models.VectorParams(size=2, distance=models.Distance.EUCLID),
        "large": models.VectorParams(size=4, distance=models.Distance.MANHATTAN),
    }
    assert client.create_collection(name, vectors, metadata={"owner": "tests"})
    assert client.collection_exists(name)
    assert name in [c.name for c in client.get_collections().collections]
    info = client.get_collection(name)
    assert info.config.params.vectors == vectors
    assert info.config.metadata == {"owner": "tests"}
    assert (info.status, info.points_count) == (models.CollectionStatus.GREEN, 0)
    with pytest.raises(UnexpectedResponse) as conflict:
        client.create_collection(name, vectors)
    assert conflict.value.status_code == 409
    assert client.delete_collection(name)
    assert not client.delete_collection(name)
    with pytest.raises(UnexpectedResponse) as gone:
        client.get_collection(name)
    assert gone.value.status_code == 404


def test_settings_change_and_survive_the_engine_that_reloads(shared: Any, name: str) -> None:
    client = shared.client()
    client.update_collection(
        name, optimizers_config=models.OptimizersConfigDiff(indexing_threshold=77)
    )
    info = client.get_collection(name)
    assert (info.config.optimizer_config.indexing_threshold, info.points_count) == (77, 4)
    answer = shared.http().patch(f"/collections/{name}", json={"params": {"replication_factor": 2}})
    assert answer.status_code == 400


def test_names_with_odd_characters(shared: Any) -> None:
    client = shared.client()
    for name in ("mit Leerzeichen", "größe.ü", "a%2Fb", "..."):
        assert client.create_collection(
            name, models.VectorParams(size=1, distance=models.Distance.DOT)
        )
        assert client.get_collection(name).points_count == 0
        assert client.delete_collection(name)


@pytest.mark.parametrize("raw", ["..", "a%2Fb", "%00", "x" * 256, "%2e%2e", "a%0Ab"])
def test_names_that_would_leave_the_folder_are_refused(shared: Any, raw: str) -> None:
    body = {"vectors": {"size": 1, "distance": "Dot"}}
    with httpx.Client(timeout=60) as client:
        request = client.build_request("PUT", shared.url, json=body, headers={"api-key": KEY})
        request.url = request.url.copy_with(raw_path=f"/collections/{raw}".encode())
        answer = client.send(request)
    assert answer.status_code in (400, 404, 405), answer.text
    assert "error" in answer.json()["status"]


def test_named_vectors_can_be_updated_and_deleted(shared: Any) -> None:
    client, name = shared.client(), f"c-{uuid.uuid4().hex}"
    dot = models.VectorParams(size=2, distance=models.Distance.DOT)
    client.create_collection(name, {"a": dot, "b": dot})
    client.upsert(name, [models.PointStruct(id=1, vector={"a": [1, 2], "b": [3, 4]})])
    client.update_vectors(name, [models.PointVectors(id=1, vector={"a": [5, 6]})])
    client.delete_vectors(name, ["b"], [1])
    assert client.retrieve(name, [1], with_vectors=True)[0].vector == {"a": [5, 6]}
    hits = client.query_points(name, query=[1, 0], using="a").points
    assert [(hit.id, hit.score) for hit in hits] == [(1, 5.0)]
    assert (
        client.count(name, models.Filter(must=[models.HasVectorCondition(has_vector="b")])).count
        == 0
    )
    client.delete_collection(name)


def test_sparse_and_hybrid_queries(shared: Any) -> None:
    client, name = shared.client(), f"c-{uuid.uuid4().hex}"
    client.create_collection(
        name,
        {"dense": models.VectorParams(size=2, distance=models.Distance.COSINE)},
        sparse_vectors_config={"words": models.SparseVectorParams()},
    )
    words = models.SparseVector(indices=[7], values=[2.0])
    client.upsert(
        name,
        [
            models.PointStruct(id=1, vector={"dense": [1, 0], "words": words}),
            models.PointStruct(id=2, vector={"dense": [0, 1]}),
        ],
    )
    assert [p.id for p in client.query_points(name, query=words, using="words").points] == [1]
    fused = client.query_points(
        name,
        prefetch=[
            models.Prefetch(query=[0.1, 1.0], using="dense", limit=2),
            models.Prefetch(query=words, using="words", limit=2),
        ],
        query=models.FusionQuery(fusion=models.Fusion.RRF),
    )
    assert {p.id for p in fused.points} == {1, 2}
    stored = client.retrieve(name, [1], with_vectors=["words"])[0].vector
    assert stored == {"words": words}
    client.delete_collection(name)


def test_queries_by_id_groups_batch_and_facet(shared: Any, name: str) -> None:
    client = shared.client()
    by_id = client.query_points(name, query=1, limit=10).points
    assert by_id[0].id == 3
    assert 1 not in [p.id for p in by_id]
    groups = client.query_points_groups(
        name, group_by="tenant", query=[3, 2, 1], limit=2, group_size=2, with_payload=["n"]
    ).groups
    assert [(g.id, [h.id for h in g.hits]) for g in groups] == [("a", [3, 1]), ("b", [2, 4])]
    assert groups[0].hits[0].payload == {"n": 3}
    batch = client.query_batch_points(
        name,
        [
            models.QueryRequest(query=[1, 0, 0], limit=1),
            models.QueryRequest(query=[0, 1, 0], limit=1),
        ],
    )
    assert [answer.points[0].id for answer in batch] == [3, 2]
    facet = client.facet(name, key="tenant").hits
    assert {(hit.value, hit.count) for hit in facet} == {("a", 3), ("b", 2)}
    with pytest.raises(UnexpectedResponse) as missing:
        client.query_points(name, query=99)
    assert missing.value.status_code == 404


def test_diverse_hits_come_without_vectors_unless_asked_for(shared: Any, name: str) -> None:
    query = {"nearest": [1, 1, 0], "mmr": {"diversity": 0.5, "candidates_limit": 4}}
    path = f"/collections/{name}/points/query"
    plain = shared.http().post(path, json={"query": query, "limit": 2}).json()["result"]["points"]
    assert len(plain) == 2
    assert all("vector" not in hit for hit in plain)
    full = shared.http().post(path, json={"query": query, "with_vector": True}).json()
    assert all("vector" in hit for hit in full["result"]["points"])


def test_batch_update_and_legacy_search(shared: Any, name: str) -> None:
    client, http = shared.client(), shared.http()
    client.batch_update_points(
        name,
        [
            models.DeleteOperation(delete=models.PointIdsList(points=[1])),
            models.SetPayloadOperation(
                set_payload=models.SetPayload(payload={"seen": True}, points=[2])
            ),
            models.UpsertOperation(
                upsert=models.PointsBatch(
                    batch=models.Batch(ids=[9], vectors=[[9, 0, 0]], payloads=[{"tenant": "c"}])
                )
            ),
        ],
    )
    assert {p.id for p in client.scroll(name)[0]} == {2, 3, 4, 9}
    answer = http.post(
        f"/collections/{name}/points/search", json={"vector": [1, 0, 0], "limit": 1}
    ).json()
    assert [hit["id"] for hit in answer["result"]] == [9]
    assert answer["status"] == "ok"
    assert answer["time"] > 0


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "says"),
    [
        ("PUT", "points", {"points": [{"id": 5, "vector": [1, 2]}]}, 400, "expected dim: 3, got 2"),
        ("PUT", "points", {"points": [{"id": -5, "vector": [1, 2, 3]}]}, 400, "points[0].id"),
        (
            "PUT",
            "points",
            {"points": [{"id": 5, "vector": {"x": [1]}}]},
            400,
            "Not existing vector",
        ),
        (
            "PUT",
            "points",
            {"points": [{"id": 5, "vector": {"text": "hi", "model": "m"}}]},
            400,
            "embedding",
        ),
        (
            "PUT",
            "points",
            {"points": [{"id": 5, "vector": ["a", 2, 3]}]},
            400,
            "value not accepted",
        ),
        ("POST", "points/query", {"query": [1, 2, 3], "limitt": 3}, 400, "limitt"),
        ("POST", "points/query", {"query": [1, 2]}, 400, "expected dim: 3"),
        ("POST", "points/query", {"query": 1, "shard_key": "eu"}, 400, "shard_key"),
        ("POST", "points/query", {"query": [1, 2, 3], "limit": 0}, 400, "limit"),
        ("POST", "points/query", {"query": {"formula": {"sum": []}}}, 400, "prefetches"),
        (
            "POST",
            "points/query",
            {"query": 1, "lookup_from": {"collection": "x"}},
            404,
            "Collection `x`",
        ),
        (
            "POST",
            "points/count",
            {"filter": {"must": [{"key": "a", "match": {"value": 1.5}}]}},
            400,
            "match.value",
        ),
        ("POST", "points/scroll", {"order_by": "n"}, 400, "No range index"),
        ("PUT", "index", {"field_name": "a", "field_schema": "colour"}, 400, "keyword"),
        (
            "POST",
            "points/payload",
            {"payload": {"a": 1}, "points": [77]},
            404,
            "No point with id 77",
        ),
        ("GET", "points/77", None, 404, "77"),
        ("POST", "points/recommend", {}, 400, "positive example"),
        ("GET", "optimizations", None, 400, "not supported"),
        ("POST", "snapshots/upload", {}, 400, "multipart"),
        ("PUT", "snapshots/recover", {"location": "http://10.0.0.1/x.snapshot"}, 400, "file://"),
        ("PUT", "snapshots/recover", {"location": "file:///etc/passwd"}, 400, "no such file below"),
        ("GET", "snapshots/..%2f..%2fconfig.yaml", None, 404, "not found"),
        ("POST", "points/nonsense", {}, 405, "takes GET"),
        ("POST", "nonsense/and/more", {}, 404, "served are"),
    ],
)
def test_bad_requests_say_what_is_wrong(  # noqa: PLR0917 - one row a case
    shared: Any, name: str, method: str, path: str, body: object, status: int, says: str
) -> None:
    answer = shared.http().request(method, f"/collections/{name}/{path}", json=body)
    assert answer.status_code == status, answer.text
    data = answer.json()
    assert says in data["status"]["error"]
    assert "time" in data
    assert shared.client().count(name).count == 4


def test_broken_json_and_large_bodies(shared: Any, name: str) -> None:
    http = shared.http()
    path = f"/collections/{name}/points/query"
    assert http.post(path, content=b'{"query": [1,').status_code == 400
    assert http.post(path, content=b"[" * 100_000).status_code == 400
    large = http.post(path, content=b" " * (4 * 1024 * 1024 + 1))
    assert large.status_code == 413
    assert "max_request_size_mb" in large.json()["status"]["error"]
    deep: dict[str, Any] = {"must": []}
    for _ in range(60):
        deep = {"must": [deep]}
    assert http.post(f"/collections/{name}/points/count", json={"filter": deep}).status_code == 400


def test_keys(shared: Any, name: str) -> None:
    nobody, reader = shared.http(None), shared.http(READ_ONLY)
    for path in ("/", "/healthz", "/livez", "/readyz"):
        assert nobody.get(path).status_code == 200
    for path in ("/collections", "/metrics", f"/collections/{name}", "/nonsense", "/healthz/x"):
        assert nobody.get(path).status_code == 401, path
        assert shared.http("wrong").get(path).status_code == 401, path
    bearer = {"authorization": f"Bearer {KEY}"}
    assert nobody.get("/collections", headers=bearer).status_code == 200
    assert nobody.get("/collections", headers={"api-key": ""}).status_code == 401
    points = f"/collections/{name}/points"
    for path in ("query", "scroll", "count", "search"):
        body: Any = {"vector": [1, 0, 0], "limit": 1} if path == "search" else {}
        assert reader.post(f"{points}/{path}", json=body).status_code == 200
    assert reader.post(points, json={"ids": [1]}).status_code == 200
    assert reader.get("/metrics").status_code == 200
    writes: list[tuple[str, str, Any]] = [
        ("PUT", "/collections/new", {"vectors": {"size": 1, "distance": "Dot"}}),
        ("DELETE", f"/collections/{name}", None),
        ("PUT", points, {"points": []}),
        ("POST", f"{points}/delete", {"points": [1]}),
        ("POST", f"{points}/payload", {"payload": {}, "points": [1]}),
        ("POST", f"/collections/{name}/snapshots", None),
        ("GET", f"/collections/{name}/snapshots/some.snapshot", None),
    ]
    for method, path, body in writes:
        assert reader.request(method, path, json=body).status_code == 403, path


def test_metrics_and_the_log_tell_no_secrets(shared: Any, name: str) -> None:
    text = shared.http(READ_ONLY).get("/metrics").text
    assert f'collection_points{{id="{name}"}} 4' in text
    assert "rest_responses_duration_seconds_bucket" in text
    for secret in (KEY, READ_ONLY):
        assert secret not in text
        assert secret not in shared.log()
