"""Whatever a client sends, the service answers, and never with a 500.

Three sources: any JSON at any endpoint; good bodies with one part replaced; raw bytes, names and
paths. Each also shows that the collection still answers afterwards.
"""

from __future__ import annotations

import copy
import random
import socket
from typing import Any

import httpx
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from bastide_vectordb.routes import ROUTES

pytestmark = pytest.mark.integration
KEY = "full-key-of-the-tests"
COLLECTION = "fuzzed"
BASE = f"/collections/{COLLECTION}"
RELAXED = settings(
    max_examples=300,
    deadline=None,
    phases=[Phase.explicit, Phase.reuse, Phase.generate],
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
# What may be asked of a throw-away collection; its deletion and the snapshots are elsewhere.
ENDPOINTS = [
    (route.method, route.path)
    for route in ROUTES
    if route.method != "GET"
    and "snapshot" not in route.path
    and "/bastide" not in route.path
    and route.action not in {"delete_collection", "create_collection"}
]
odd_numbers = st.sampled_from(
    [0, -1, 1, 2**31, 2**32, 2**63, 2**64, -(2**63) - 1, 1e308, 5e-324, -0.0]
)
keys = st.sampled_from(
    [
        "points",
        "batch",
        "filter",
        "must",
        "should",
        "must_not",
        "min_should",
        "key",
        "match",
        "value",
        "any",
        "except",
        "range",
        "gt",
        "gte",
        "nested",
        "has_id",
        "id",
        "ids",
        "vector",
        "vectors",
        "query",
        "prefetch",
        "using",
        "limit",
        "offset",
        "params",
        "payload",
        "formula",
        "sum",
        "mult",
        "recommend",
        "positive",
        "negative",
        "discover",
        "target",
        "context",
        "fusion",
        "order_by",
        "sample",
        "nearest",
        "mmr",
        "text",
        "model",
        "indices",
        "values",
        "geo_radius",
        "center",
        "radius",
        "lon",
        "lat",
        "actions",
        "field_name",
        "field_schema",
        "type",
        "with_payload",
        "with_vector",
        "group_by",
        "shard_key",
        "dense",
        "sparse",
        "size",
    ]
)
texts = keys | st.sampled_from(["", "a", "$score", "rrf", "random", "\x00", "ü" * 300, "1", "../x"])
scalars = st.none() | st.booleans() | odd_numbers | st.integers(-5, 50) | st.floats(-9, 9) | texts
anything = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(keys, inner, max_size=4),
    max_leaves=12,
)
VECTOR = [0.1, 0.2, 0.3, 0.4]
FILTER = {
    "must": [
        {"key": "n", "range": {"gte": 1, "lt": 9}},
        {"nested": {"key": "l", "filter": {"must": [{"key": "x", "match": {"value": 1}}]}}},
        {"has_id": [1, 2]},
        {"slice": {"total": 2, "index": 0}},
    ],
    "should": [{"key": "t", "match": {"any": ["a"]}}, {"is_empty": {"key": "n"}}],
    "min_should": {"conditions": [{"key": "t", "match": {"text": "a"}}], "min_count": 1},
    "must_not": [
        {"key": "g", "geo_radius": {"center": {"lon": 1, "lat": 2}, "radius": 3}},
        {
            "key": "g",
            "geo_polygon": {
                "exterior": {
                    "points": [
                        {"lon": 0, "lat": 0},
                        {"lon": 1, "lat": 0},
                        {"lon": 1, "lat": 1},
                        {"lon": 0, "lat": 0},
                    ]
                }
            },
        },
        {"key": "d", "range": {"gt": "2024-01-01T00:00:00Z"}},
        {"key": "l", "values_count": {"gt": 1}},
    ],
}
QUERY = {
    "prefetch": [
        {"query": VECTOR, "using": "a", "limit": 5, "filter": FILTER},
        {"query": {"indices": [1, 2], "values": [0.5, 0.5]}, "using": "s", "score_threshold": 0.1},
    ],
    "query": {"formula": {"sum": ["$score", {"mult": [2, {"key": "t", "match": {"value": "a"}}]}]}},
    "params": {"hnsw_ef": 8, "exact": True, "quantization": {"oversampling": 2.0}},
    "limit": 3,
    "with_payload": {"include": ["n"]},
    "with_vector": ["a"],
}
# ruff: noqa: E501 - one body a line
GOOD: list[tuple[str, str, Any]] = [
    ("POST", "points/query", QUERY),
    ("POST", "points/query", {"query": {"recommend": {"positive": [1], "negative": [VECTOR]}}, "using": "a"}),
    ("POST", "points/query", {"query": {"discover": {"target": 1, "context": [{"positive": 1, "negative": 2}]}}, "using": "a"}),
    ("POST", "points/query", {"query": {"nearest": VECTOR, "mmr": {"diversity": 0.5, "candidates_limit": 5}}, "using": "a"}),
    ("POST", "points/query", {"query": {"order_by": {"key": "n", "direction": "asc", "start_from": 1}}}),
    ("POST", "points/query", {"query": {"text": {"query": "a b", "scoring": {"bm25": {"k": 1.0}}}}, "using": "t"}),
    ("POST", "points/query", {"query": {"text": "a", "model": "qdrant/bm25", "options": {"k": 1.0}}, "using": "s"}),
    ("POST", "points/query", {"query": {"relevance_feedback": {"target": VECTOR, "feedback": [{"example": 1, "score": 0.5}], "strategy": {"naive": {"a": 1, "b": 1, "c": 1}}}}, "using": "a"}),
    ("POST", "points/query", {"query": 1, "using": "a", "lookup_from": {"collection": COLLECTION, "vector": "a"}}),
    ("POST", "points/query/batch", {"searches": [{"query": VECTOR, "using": "a"}]}),
    ("POST", "points/query/groups", {"query": VECTOR, "using": "a", "group_by": "t", "group_size": 2, "with_lookup": COLLECTION}),
    ("POST", "points/search/matrix/pairs", {"sample": 5, "limit": 2, "using": "a", "filter": FILTER}),
    ("POST", "points/scroll", {"limit": 3, "offset": 1, "filter": FILTER}),
    ("POST", "points/count", {"filter": FILTER, "exact": True}),
    ("POST", "facet", {"key": "n", "limit": 3, "exact": True}),
    ("POST", "points", {"ids": [1, 2], "with_payload": True, "with_vector": True}),
    ("PUT", "points", {"points": [{"id": 3, "vector": {"a": VECTOR, "m": [VECTOR], "s": {"indices": [1], "values": [1.0]}}, "payload": {"n": 1}}], "update_filter": FILTER}),
    ("PUT", "points", {"batch": {"ids": [4, 5], "vectors": {"a": [VECTOR, VECTOR]}, "payloads": [{"n": 1}, None]}}),
    ("PUT", "points/vectors", {"points": [{"id": 1, "vector": {"a": VECTOR}}], "update_filter": FILTER}),
    ("POST", "points/vectors/delete", {"points": [4], "vector": ["m"]}),
    ("POST", "points/payload", {"payload": {"n": [1, 2]}, "points": [1], "key": "deep.er"}),
    ("POST", "points/payload/delete", {"keys": ["n"], "filter": FILTER}),
    ("POST", "points/batch", {"operations": [{"upsert": {"points": [{"id": 3, "vector": {"a": VECTOR}}]}}, {"delete": {"points": [3]}}]}),
    ("PUT", "index", {"field_name": "z", "field_schema": {"type": "text", "tokenizer": "word", "stopwords": {"languages": ["english"]}, "stemmer": {"type": "snowball", "language": "english"}}}),
    ("PUT", "index", {"field_name": "y", "field_schema": {"type": "integer", "lookup": True, "range": True}}),
    ("PATCH", "", {"hnsw_config": {"m": 8}, "optimizers_config": {"indexing_threshold": 1}, "vectors": {"a": {"on_disk": True}}, "params": {"on_disk_payload": True}, "metadata": {"a": 1}, "strict_mode_config": {"enabled": False, "max_query_limit": 9}}),
    ("PUT", "vectors/new", {"dense": {"size": 3, "distance": "Dot"}}),
]  # fmt: skip


@pytest.fixture(scope="module")
def http(shared: Any) -> Any:
    client: httpx.Client = shared.http()
    body = {
        "vectors": {
            "a": {"size": 4, "distance": "Cosine"},
            "m": {"size": 4, "distance": "Dot", "multivector_config": {"comparator": "max_sim"}},
        },
        "sparse_vectors": {"s": {}},
    }
    assert client.put(BASE, json=body).status_code == 200
    for field, kind in (("n", "integer"), ("t", {"type": "text", "scoring": True}), ("g", "geo")):
        answer = client.put(f"{BASE}/index", json={"field_name": field, "field_schema": kind})
        assert answer.status_code == 200, answer.text
    points = [
        {
            "id": n,
            "vector": {"a": VECTOR, "m": [VECTOR], "s": {"indices": [n], "values": [1.0]}},
            "payload": {"n": n, "t": "a b", "g": {"lon": 1, "lat": 2}, "l": [{"x": n}]},
        }
        for n in (1, 2)
    ]
    assert client.put(f"{BASE}/points", json={"points": points}).status_code == 200
    return client


def answered(http: Any, method: str, path: str, **options: Any) -> int:
    answer = http.request(method, path, **options)
    shown = str(options)[:500]
    assert answer.status_code < 500, f"{method} {path} {shown}: {answer.text[:300]}"
    if answer.status_code >= 400:
        assert isinstance(answer.json()["status"]["error"], str)
    return int(answer.status_code)


@pytest.fixture(autouse=True)
def still_serves(http: Any) -> Any:
    yield
    strict = {"strict_mode_config": {"enabled": False}}  # a test may have set it
    assert http.patch(BASE, json=strict).status_code == 200
    answer = http.post(f"{BASE}/points/count", json={})
    assert answer.status_code == 200, answer.text
    assert http.get("/readyz").status_code == 200


def test_the_good_bodies_are_good(http: Any) -> None:
    """Or the test above would fuzz refusals only."""
    for method, path, body in GOOD:
        status = answered(http, method, f"{BASE}/{path}".rstrip("/"), json=body)
        assert status == 200, (path, body, status)
        if path == "vectors/new":
            assert answered(http, "DELETE", f"{BASE}/{path}") == 200


@RELAXED
@given(where=st.sampled_from(ENDPOINTS), body=anything)
def test_any_json_anywhere(http: Any, where: Any, body: Any) -> None:
    method, path = where
    for name, value in (
        ("collection", COLLECTION),
        ("field", "fz"),
        ("vector", "fz"),
        ("point", "1"),
    ):
        path = path.replace(f"{{{name}}}", value)
    answered(http, method, path, json=body)


def _replaced(body: Any, rng: random.Random, value: Any) -> Any:
    """``body`` with one of its parts replaced, dropped, or moved one level down."""
    out = copy.deepcopy(body)
    holder, inner = {"body": out}, "body"
    spots: list[tuple[Any, Any]] = [(holder, inner)]

    def walk(data: Any) -> None:
        items = data.items() if isinstance(data, dict) else enumerate(data)
        for key, item in list(items):
            spots.append((data, key))
            if isinstance(item, (dict, list)):
                walk(item)

    walk(out)
    where, key = rng.choice(spots)
    how = rng.randrange(4)
    if how == 0 and isinstance(where, dict) and where is not holder:
        del where[key]
    elif how == 1:
        where[key] = [where[key]]
    else:
        where[key] = value
    return holder["body"]


@RELAXED
@given(good=st.sampled_from(GOOD), rng=st.integers(0, 2**30).map(random.Random), value=anything)
def test_good_bodies_with_one_part_wrong(http: Any, good: Any, rng: Any, value: Any) -> None:
    method, path, body = good
    answered(http, method, f"{BASE}/{path}".rstrip("/"), json=_replaced(body, rng, value))


@settings(RELAXED, max_examples=60)
@given(
    body=st.dictionaries(
        st.sampled_from(
            [
                "vectors",
                "sparse_vectors",
                "hnsw_config",
                "optimizers_config",
                "metadata",
                "payload",
                "quantization_config",
                "strict_mode_config",
                "shard_number",
                "on_disk_payload",
            ]
        ),
        anything,
        max_size=4,
    )
    | anything,
)
def test_any_creation(http: Any, body: Any) -> None:
    if answered(http, "PUT", "/collections/made", json=body) == 200:
        assert answered(http, "DELETE", "/collections/made") == 200


@settings(RELAXED, max_examples=100)
@given(name=st.text(min_size=1, max_size=300), body=st.binary(max_size=200))
def test_any_name_and_any_bytes(http: Any, name: str, body: bytes) -> None:
    from urllib.parse import quote  # noqa: PLC0415

    raw = quote(name, safe="")
    for path in (f"/collections/{raw}", f"{BASE}/points/{raw}", f"{BASE}/snapshots/{raw}"):
        answered(http, "GET", path)
    answered(http, "DELETE", f"{BASE}/snapshots/{raw}")
    answered(http, "DELETE", f"{BASE}/index/{raw}")
    answered(http, "POST", f"{BASE}/points/query", content=body)
    answered(http, "PUT", f"/collections/{raw}", content=body)
    answered(http, "POST", f"/collections/{raw}/snapshots/upload", content=body)


@pytest.mark.parametrize(
    "name", ["..%2F..%2Fconfig.yaml", "%2e%2e", "%00", "a%2Fb.snapshot", "%2E"]
)
def test_no_path_leads_out_of_the_folders(http: Any, name: str) -> None:
    for path in (f"{BASE}/snapshots/{name}", f"/collections/{name}/snapshots/x.snapshot"):
        for method in ("GET", "DELETE"):
            assert answered(http, method, path) in {400, 404}
    made = {"vectors": {"size": 2, "distance": "Dot"}}
    assert answered(http, "PUT", f"/collections/{name}", json=made) in {400, 404, 405}


def test_no_location_leads_out_of_the_snapshots(http: Any, shared: Any) -> None:
    secret = shared.folder / "config.yaml"
    (shared.snapshots / "link").symlink_to(secret)
    for location in (
        secret,
        "/etc/passwd",
        f"{shared.snapshots}/../config.yaml",
        f"{shared.snapshots}/link",
    ):
        body = {"location": f"file://{location}"}
        assert answered(http, "PUT", f"{BASE}/snapshots/recover", json=body) == 400


@pytest.mark.parametrize("depth", [40, 500, 5000, 200_000])
@pytest.mark.parametrize("kind", ["filter", "formula", "prefetch", "list"])
def test_deep_nesting_ends_no_engine(http: Any, kind: str, depth: int) -> None:
    opening, closing = {
        "filter": ('{"filter":' + '{"must":[' * depth, "]}" * depth + "}"),
        "formula": ('{"query":{"formula":' + '{"neg":' * depth + "1", "}" * depth + "}}"),
        "prefetch": ('{"prefetch":' * depth + "{}", "}" * depth),
        "list": ('{"query":' + "[" * depth, "]" * depth + "}"),
    }[kind]
    assert answered(http, "POST", f"{BASE}/points/query", content=opening + closing) == 400


def test_nothing_that_is_stored_is_too_deep_to_be_read_again(make_server: Any) -> None:
    """Edge writes deeper values to its log than it can replay: the collection would be lost."""
    server = make_server()
    http = server.http()
    assert http.put(BASE, json={"vectors": {"size": 4, "distance": "Dot"}}).status_code == 200
    nested: Any = {"must": [{"key": "n", "match": {"value": 5}}]}
    for _ in range(24):
        nested = {"must": [{"nested": {"key": "l", "filter": nested}}]}
    bodies = [
        ("POST", "points/delete", {"filter": nested}),
        ("POST", "points/count", {"filter": nested}),
    ]
    for depth in (100, 101, 130, 900):
        deep: Any = {"a": 1}
        for _ in range(depth - 1):
            deep = {"a": deep} if depth % 2 else {"a": [deep]} if depth == 130 else {"a": deep}
        key = ".".join("a" * (depth - 1))
        bodies += [
            ("PUT", "points", {"points": [{"id": 9, "vector": [1, 2, 3, 4], "payload": deep}]}),
            ("POST", "points/payload", {"points": [9], "payload": {"a": 1}, "key": key}),
            ("PUT", "points/payload", {"points": [9], "payload": deep}),
            ("PATCH", "", {"metadata": deep}),
        ]
    statuses = [answered(http, m, f"{BASE}/{p}".rstrip("/"), json=b) for m, p, b in bodies]
    assert statuses == [200] * 6 + [400] * 12
    server.kill()
    server.start()
    assert answered(server.http(), "GET", "/readyz") == 200
    assert answered(server.http(), "POST", f"{BASE}/points", json={"ids": [9]}) == 200


def test_deep_values_in_rewritten_queries(http: Any) -> None:
    for path in ("recommend", "query"):
        body = (
            '{"lookup_from":{"collection":"fuzzed"},"query":{"nearest":1},"using":"a","positive":'
        )
        body += "[" * 600 + "]" * 600 + "}"
        assert answered(http, "POST", f"{BASE}/points/{path}", content=body) == 400


def test_size_limits(http: Any) -> None:
    large = b'{"ids": [' + b"1," * (4 << 20) + b"1]}"
    assert answered(http, "POST", f"{BASE}/points", content=large) == 413

    def chunks() -> Any:
        for _ in range(5):
            yield b" " * (1 << 20)

    assert answered(http, "POST", f"{BASE}/points", content=chunks()) == 413
    wide = {"metadata": {"a": "x" * 200_000}}
    assert answered(http, "PATCH", BASE, json=wide) == 200


def test_broken_http_ends_no_service(shared: Any) -> None:
    for raw in (
        b"GARBAGE\r\n\r\n",
        b"POST /collections HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\n" + b"X: " + b"y" * 100_000 + b"\r\n\r\n",
        b"POST /collections/fuzzed/points/query HTTP/1.1\r\nHost: x\r\napi-key: "
        + KEY.encode()
        + b"\r\nContent-Length: 100\r\n\r\n{}",
    ):
        with socket.create_connection(("127.0.0.1", shared.port), timeout=5) as connection:
            connection.sendall(raw)
            connection.shutdown(socket.SHUT_WR)
            connection.settimeout(5)
            answer = connection.recv(4096)
            assert b" 500 " not in answer.split(b"\r\n")[0]
