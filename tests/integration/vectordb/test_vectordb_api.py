"""What the API has beside queries: aliases, names of vectors, lookups, texts, older endpoints.

Where the client's local mode has it too, both are asked and must agree.
"""

from __future__ import annotations

from typing import Any

import pytest
from qdrant_client import QdrantClient, models
from vectordb_asks import DOT, config_of, fresh, point, status_of

from bastide_vectordb.routes import ROUTES

pytestmark = [
    pytest.mark.integration,
    pytest.mark.filterwarnings("ignore:Api key is used with an insecure connection"),
    pytest.mark.filterwarnings("ignore:Payload indexes have no effect"),
    pytest.mark.filterwarnings("ignore:Local mode performs exact"),
]


def alias(kind: str, **names: str) -> Any:
    return getattr(models, f"{kind.title()}AliasOperation")(
        **{f"{kind}_alias": getattr(models, f"{kind.title()}Alias")(**names)}
    )


def test_aliases_stand_for_collections_everywhere(both: Any) -> None:
    one, other, name = fresh(), fresh(), fresh()
    for client in both:
        client.create_collection(one, DOT)
        client.create_collection(other, DOT)
        client.upsert(one, [point(1, 1, 0), point(2, 0, 1)])
        client.update_collection_aliases([alias("create", collection_name=one, alias_name=name)])
        assert client.collection_exists(name)
        assert client.get_collection(name).points_count == 2
        assert [p.id for p in client.query_points(name, query=[1.0, 0.0]).points] == [1, 2]
        client.upsert(name, [point(3, 1, 1)])
        assert client.count(one).count == 3
        # The switch that aliases are for: both steps or none.
        client.update_collection_aliases(
            [
                alias("delete", alias_name=name),
                alias("create", collection_name=other, alias_name=name),
            ]
        )
        assert client.count(name).count == 0
        assert [a.alias_name for a in client.get_collection_aliases(other).aliases] == [name]
        client.update_collection_aliases(
            [alias("rename", old_alias_name=name, new_alias_name=f"{name}-new")]
        )
        assert [a.alias_name for a in client.get_aliases().aliases] == [f"{name}-new"]
        client.delete_collection(other)
        assert client.get_aliases().aliases == []


def test_wrong_alias_changes_do_nothing_at_all(real: QdrantClient) -> None:
    one, name = fresh(), fresh()
    real.create_collection(one, DOT)
    good = alias("create", collection_name=one, alias_name=name)
    change = real.update_collection_aliases
    for bad, status in (
        (alias("create", collection_name=fresh(), alias_name="x"), 404),
        (alias("create", collection_name=one, alias_name=one), 409),
        (alias("create", collection_name=one, alias_name="../x"), 400),
        (alias("rename", old_alias_name="none", new_alias_name="x"), 404),
    ):
        assert status_of(change, [good, bad]) == status
        assert real.get_aliases().aliases == []
    change([good])
    assert status_of(real.create_collection, name, DOT) == 400
    assert not real.delete_collection(name)  # an alias is no collection
    assert real.collection_exists(one)


def test_aliases_and_new_vectors_survive_a_kill(make_server: Any) -> None:
    server = make_server()
    client = server.client()
    client.create_collection("one", DOT)
    client.update_collection_aliases([alias("create", collection_name="one", alias_name="it")])
    client.upsert("one", [point(1, 1, 0)])
    client.create_vector_name(
        "it",
        "more",
        models.DenseVectorNameConfig(
            dense=models.DenseVectorConfig(size=3, distance=models.Distance.COSINE)
        ),
    )
    client.update_vectors("it", [models.PointVectors(id=1, vector={"more": [0.0, 2.0, 0.0]})])
    server.kill()
    server.start()
    client = server.client()
    held = client.retrieve("it", [1], with_vectors=True)[0].vector
    assert held == {"": [1.0, 0.0], "more": [0.0, 1.0, 0.0]}
    assert [a.alias_name for a in client.get_aliases().aliases] == ["it"]


@pytest.mark.parametrize("done", [False, True])
def test_a_crash_amid_a_new_vector_leaves_the_collection_usable(
    make_server: Any, *, done: bool
) -> None:
    """The settings say "pending", and the shard's own files decide what holds."""
    server = make_server()
    client = server.client()
    client.create_collection("one", DOT)
    client.upsert("one", [point(1, 1, 0)])
    meta = server.folder / "storage/collections/one/collection.json"
    before = meta.read_bytes()
    sparse = models.SparseVectorNameConfig(sparse=models.SparseVectorConfig())
    if done:
        client.create_vector_name("one", "words", sparse)
        after = meta.read_bytes()
    server.stop()
    import orjson  # noqa: PLC0415

    now = orjson.loads(before)
    now["pending"] = (
        orjson.loads(after)["settings"]
        if done
        else {**now["settings"], "sparse_vectors": {"words": {}}}
    )
    meta.write_bytes(orjson.dumps(now))
    server.start()
    client = server.client()
    info = client.get_collection("one")
    assert bool(info.config.params.sparse_vectors) is done
    assert client.count("one").count == 1
    assert b"pending" not in meta.read_bytes()


def test_named_vectors_come_and_go(both: Any) -> None:
    name = fresh()
    for client in both:
        client.create_collection(name, {"a": DOT})
        client.upsert(name, [models.PointStruct(id=n, vector={"a": [n, 1.0]}) for n in range(3)])
        client.create_vector_name(
            name,
            "b",
            models.DenseVectorNameConfig(
                dense=models.DenseVectorConfig(size=2, distance=models.Distance.EUCLID)
            ),
        )
        client.create_vector_name(
            name, "s", models.SparseVectorNameConfig(sparse=models.SparseVectorConfig())
        )
        words = models.SparseVector(indices=[7], values=[2.0])
        client.update_vectors(name, [models.PointVectors(id=1, vector={"b": [5, 5], "s": words})])
        found = client.query_points(name, query=[5.0, 4.0], using="b").points
        assert [(p.id, round(p.score, 4)) for p in found] == [(1, 1.0)]
        found = client.query_points(name, query=words, using="s").points
        assert [(p.id, p.score) for p in found] == [(1, 4.0)]
        client.delete_vector_name(name, "b")
        assert list(config_of(client, name).params.vectors) == ["a"]
        assert set(client.retrieve(name, [1], with_vectors=True)[0].vector) == {"a", "s"}


def test_wrong_vector_names(real: QdrantClient) -> None:
    name = fresh()
    real.create_collection(name, {"a": DOT})
    config = models.SparseVectorNameConfig(sparse=models.SparseVectorConfig())
    assert status_of(real.create_vector_name, name, "a", config) == 400
    assert status_of(real.delete_vector_name, name, "b") == 404
    assert status_of(real.delete_vector_name, name, "a") == 400  # the only one


def test_examples_and_groups_from_another_collection(both: Any) -> None:
    here, there = fresh(), fresh()
    results = []
    for client in both:
        client.create_collection(here, DOT)
        client.create_collection(there, {"v": DOT})
        client.upsert(here, [point(n, n, n * n - 3, doc=n % 2) for n in range(6)])
        client.upsert(
            there,
            [
                models.PointStruct(id=n, vector={"v": [1.0, n]}, payload={"title": f"doc {n}"})
                for n in range(2)
            ],
        )
        place = models.LookupLocation(collection=there, vector="v")
        hits = [client.query_points(here, query=1, lookup_from=place).points]
        ask = models.RecommendQuery(recommend=models.RecommendInput(positive=[0], negative=[1]))
        hits.append(client.query_points(here, query=ask, lookup_from=place).points)
        inner = models.Prefetch(query=1, lookup_from=place, limit=4)
        hits.append(client.query_points(here, prefetch=inner, query=[1.0, 0.0]).points)
        groups = client.query_points_groups(
            here,
            group_by="doc",
            query=[1.0, 0.0],
            group_size=2,
            with_lookup=models.WithLookup(collection=there, with_payload=True, with_vectors=False),
        ).groups
        results.append(
            (
                # Equal scores have no order.
                [sorted((-round(p.score, 4), p.id) for p in part) for part in hits],
                [(g.id, g.lookup.payload, [h.id for h in g.hits]) for g in groups],
            )
        )
    assert results[0] == results[1]
    real = both[0]
    place = models.LookupLocation(collection=fresh())
    assert status_of(real.query_points, here, query=1, lookup_from=place) == 404
    place = models.LookupLocation(collection=there, vector="v")
    assert status_of(real.query_points, here, query=99, lookup_from=place) == 404


TEXTS = ["the red pump", "a blue pump and a blue valve", "valves of the north", "nothing at all"]


def test_text_queries_rank_by_bm25(both: Any) -> None:
    """Equal scores, by the same formula over the same lengths."""
    name = fresh()
    shown = []
    for client in both:
        client.create_collection(name, DOT)
        params = models.TextIndexParams(type=models.TextIndexType.TEXT, scoring=True)
        client.create_payload_index(name, "text", params)
        client.upsert(name, [point(n, 1, n, text=text) for n, text in enumerate(TEXTS)])
        ask = models.TextQuery(text="blue pump")
        hits = client.query_points(name, query=ask, using="text").points
        tuned = models.TextQuery(
            text=models.TextQueryInput(
                query="blue pump", scoring=models.Bm25Scoring(bm25=models.Bm25Params(k=2.0, b=0.1))
            )
        )
        hits += client.query_points(name, query=tuned, using="text").points
        shown.append([(p.id, round(p.score, 3)) for p in hits])
    assert shown[0] == shown[1]
    assert shown[0][0][0] == 1


def test_the_database_embeds_with_its_own_bm25_and_nothing_else(
    real: QdrantClient, shared: Any
) -> None:
    name = fresh()
    real.create_collection(
        name,
        {},
        sparse_vectors_config={"words": models.SparseVectorParams(modifier=models.Modifier.IDF)},
    )
    http = shared.http()

    def text(value: str, model: str = "qdrant/bm25", **options: Any) -> dict[str, Any]:
        return {"text": value, "model": model, **({"options": options} if options else {})}

    rows = [{"id": n, "vector": {"words": text(each)}} for n, each in enumerate(TEXTS)]
    path = f"/collections/{name}/points"
    assert http.put(path, json={"points": rows}).status_code == 200
    ask = {"query": text("blue pumps"), "using": "words"}  # stemmed: "pumps" finds "pump"
    hits = http.post(f"{path}/query", json=ask).json()["result"]["points"]
    assert [hit["id"] for hit in hits] == [1, 0]
    plain = {"query": text("pumps", stemmer={"type": "none"}), "using": "words"}
    assert http.post(f"{path}/query", json=plain).json()["result"]["points"] == []
    for wrong in (text("x", "openai/ada"), text("x", stemmer={"type": "own"}), text("x", colour=1)):
        answer = http.post(f"{path}/query", json={"query": wrong, "using": "words"})
        assert answer.status_code == 400, answer.text


def test_older_search_endpoints_answer_as_the_query_does(real: QdrantClient, shared: Any) -> None:
    name = fresh()
    real.create_collection(name, {"a": DOT})
    real.upsert(
        name,
        [models.PointStruct(id=n, vector={"a": [n, 3.0]}, payload={"g": n % 2}) for n in range(6)],
    )
    http = shared.http()
    path = f"/collections/{name}/points"

    def ask(endpoint: str, body: dict[str, Any]) -> Any:
        answer = http.post(f"{path}/{endpoint}", json=body)
        assert answer.status_code == 200, answer.text
        return answer.json()["result"]

    def ids(hits: Any) -> list[int]:
        return [hit["id"] for hit in hits]

    new = ids(ask("query", {"query": [1, 0], "using": "a", "limit": 3})["points"])
    search = {"vector": {"name": "a", "vector": [1, 0]}, "limit": 3}
    assert ids(ask("search", search)) == new
    assert [ids(one) for one in ask("search/batch", {"searches": [search] * 2})] == [new, new]
    groups = ask("search/groups", {**search, "group_by": "g", "group_size": 1})["groups"]
    assert [group["id"] for group in groups] == [1, 0]
    likes = {"positive": [5], "negative": [0], "using": "a", "limit": 2}
    inner = {"recommend": {"positive": [5], "negative": [0]}}
    assert ids(ask("recommend", likes)) == ids(
        ask("query", {"query": inner, "using": "a", "limit": 2})["points"]
    )
    assert len(ask("recommend/batch", {"searches": [likes]})[0]) == 2
    assert ask("recommend/groups", {**likes, "group_by": "g"})["groups"]
    pairs = [{"positive": 5, "negative": 0}]
    assert len(ask("discover", {"target": 1, "context": pairs, "using": "a", "limit": 2})) == 2
    assert len(ask("discover/batch", {"searches": [{"context": pairs, "using": "a"}]})[0]) == 4


def test_one_node_says_that_it_is_no_cluster(real: QdrantClient) -> None:
    name = fresh()
    real.create_collection(name, DOT)
    assert real.cluster_status().status == "disabled"
    info = real.collection_cluster_info(name)
    assert (info.shard_count, len(info.local_shards), info.remote_shards) == (1, 1, [])


def test_the_clients_own_methods_are_served_or_refused_by_name(shared: Any) -> None:
    """No method of the client's finds an endpoint that we have forgotten."""
    served = {(route.method, route.path) for route in ROUTES}
    http = shared.http()
    for method, path in (
        ("GET", "/collections/x/optimizations"),
        ("GET", "/collections/x/shards"),
        ("PUT", "/collections/x/shards"),
        ("POST", "/collections/x/shards/delete"),
        ("POST", "/collections/x/cluster"),
        ("POST", "/cluster/recover"),
        ("DELETE", "/cluster/peer/1"),
        ("GET", "/cluster/telemetry"),
        ("GET", "/telemetry"),
        ("GET", "/issues"),
        ("DELETE", "/issues"),
        ("GET", "/quotas"),
        ("PUT", "/quotas"),
        ("GET", "/snapshots"),
        ("POST", "/snapshots"),
        ("GET", "/collections/x/shards/0/snapshots"),
    ):
        assert (method, path) not in served
        answer = http.request(method, path, json={})
        assert answer.status_code == 400, (method, path, answer.status_code)
        assert "not supported by Bastide vectordb" in answer.json()["status"]["error"]
