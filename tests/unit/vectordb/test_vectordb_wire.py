"""Requests → Edge, checked by what Edge's objects say of themselves and by a tiny shard."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import orjson
import pytest
import qdrant_edge as edge
from hypothesis import given
from hypothesis import strategies as st

from bastide_vectordb import (
    groups,
    upkeep,
    wire_changes,
    wire_config,
    wire_index,
    wire_points,
    wire_query,
)
from bastide_vectordb.errors import (
    ApiError,
    BadRequestError,
    NotFoundError,
    UnsupportedError,
    from_engine,
)
from bastide_vectordb.wire_filter import filter_of
from bastide_vectordb.wire_values import point_id, point_id_of_path

SIZES = {"": 2}


@pytest.fixture(scope="module")
def shard(tmp_path_factory: pytest.TempPathFactory) -> Any:
    settings = {"vectors": {"size": 2, "distance": "Dot"}}
    path = tmp_path_factory.mktemp("shard")
    shard = edge.EdgeShard.create(str(path), wire_config.edge_config(settings))
    points = [
        {"id": 1, "vector": [1, 0], "payload": {"flag": True, "n": 1, "t": "red pump"}},
        {"id": 2, "vector": [2, 0], "payload": {"flag": False, "n": [1, 5], "t": "blue"}},
        {"id": 3, "vector": [3, 0], "payload": {"day": "2024-05-01T00:00:00Z", "n": None}},
        {"id": 4, "vector": [4, 0], "payload": {"geo": {"lon": 13.4, "lat": 52.5}, "flag": 1}},
    ]
    shard.update(wire_points.upsert({"points": points}, SIZES))
    return shard


@pytest.mark.parametrize(
    ("condition", "expected"),
    [
        ({"key": "flag", "match": {"value": True}}, {1}),  # not 4, whose flag is the number 1
        ({"key": "flag", "match": {"value": False}}, {2}),
        ({"key": "flag", "match": {"value": 1}}, {4}),
        ({"key": "n", "match": {"any": [5]}}, {2}),
        ({"key": "t", "match": {"except": ["blue"]}}, {1}),
        ({"key": "t", "match": {"text": "pump"}}, {1}),
        ({"key": "t", "match": {"text_any": "pump blue"}}, {1, 2}),
        ({"key": "n", "range": {"gt": 1}}, {2}),
        ({"key": "n", "range": {"gt": 0, "gte": 1, "lte": 1, "lt": 5}}, {1, 2}),
        ({"key": "n", "range": {"gt": 1, "gte": 1}}, {2}),
        ({"key": "day", "range": {"gte": "2024-05-01", "lt": "2024-05-02"}}, {3}),
        ({"key": "day", "range": {"gt": "2024-05-01T00:00:00", "gte": "2023-01-01"}}, set()),
        ({"key": "n", "values_count": {"gte": 2}}, {2}),
        ({"is_empty": {"key": "n"}}, {3, 4}),
        ({"is_null": {"key": "n"}}, {3}),
        ({"has_id": [1, 3]}, {1, 3}),
        ({"has_vector": ""}, {1, 2, 3, 4}),
        ({"key": "geo", "geo_radius": {"center": {"lon": 13.4, "lat": 52.5}, "radius": 10}}, {4}),
        (
            {
                "key": "geo",
                "geo_bounding_box": {
                    "top_left": {"lon": 13, "lat": 53},
                    "bottom_right": {"lon": 14, "lat": 52},
                },
            },
            {4},
        ),
        (
            {
                "key": "geo",
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
            set(),
        ),
        ({"should": [{"has_id": [1]}, {"has_id": [2]}]}, {1, 2}),
        ({"must_not": {"has_id": [1]}}, {2, 3, 4}),
        (
            {"min_should": {"conditions": [{"has_id": [1, 2]}, {"has_id": [2]}], "min_count": 2}},
            {2},
        ),
    ],
)
def test_conditions_select_what_qdrant_selects(shard: Any, condition: Any, expected: Any) -> None:
    found, _ = shard.scroll(edge.ScrollRequest(limit=10, filter=filter_of({"must": [condition]})))
    assert {record.id for record in found} == expected


@pytest.mark.parametrize(
    ("data", "where"),
    [
        ([], "filter"),
        ({"must": [1]}, "filter.must[0]"),
        ({"musst": []}, "musst"),
        ({"must": [{"key": "a"}]}, "needs one of"),
        ({"must": [{"key": 1, "match": {"value": 1}}]}, "must[0].key"),
        ({"must": [{"key": "a", "match": {"value": 1, "text": "x"}}]}, "match"),
        ({"must": [{"key": "a", "match": {"value": 1.5}}]}, "match.value"),
        ({"must": [{"key": "a", "match": {"value": 1 << 63}}]}, "match.value"),
        ({"must": [{"key": "a", "match": {"any": ["a", 1]}}]}, "match.any"),
        ({"must": [{"key": "a", "match": {"any": [True]}}]}, "match.any"),
        ({"must": [{"key": "a", "range": {"gt": "x", "lt": 1}}]}, "range.lt"),
        ({"must": [{"key": "a", "range": {"gt": True}}]}, "range.gt"),
        ({"must": [{"key": "a", "range": {"gt": "x", "gte": "y"}}]}, "date-time"),
        ({"must": [{"key": "a", "values_count": {"gt": -1}}]}, "values_count.gt"),
        ({"must": [{"has_id": ["x"]}]}, "has_id"),
        ({"min_should": {"conditions": []}}, "min_count"),
        ({"must": [{"nested": {"key": "a", "filter": {"x": 1}}}]}, "nested.filter"),
    ],
)
def test_wrong_filters_name_the_place(data: Any, where: str) -> None:
    with pytest.raises(BadRequestError, match=r".") as caught:
        filter_of(data)
    assert where in caught.value.message


json_values: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 5) | st.text(max_size=3),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["must", "should", "min_should", "key", "match", "range", "gt", "value", "any",
                 "nested", "filter", "has_id", "is_null", "conditions", "min_count", "points"]
            ),
            inner,
            max_size=3,
        )
    ),
    max_leaves=12,
)  # fmt: skip


def status_of(build: Callable[[], object]) -> int:
    try:
        build()
    except Exception as error:  # noqa: BLE001 - Edge's constructors raise what they like
        return from_engine(error).status
    return 200


@given(json_values)
def test_any_json_is_a_filter_or_refused(data: Any) -> None:
    assert status_of(lambda: filter_of(data)) in (200, 400)


@given(json_values)
def test_any_json_is_a_request_or_refused(data: Any) -> None:
    sources = wire_query.Sources(lambda *_: [1.0, 2.0])
    for build in (
        lambda: wire_query.query(data, sources),
        lambda: wire_query.query({"query": data, "limit": 1}, sources),
        lambda: wire_query.scroll(data),
        lambda: wire_query.counting(data),
        lambda: wire_query.facet(data),
        lambda: wire_points.upsert({"points": data}, SIZES),
        lambda: wire_points.upsert({"batch": data}, SIZES),
        lambda: wire_config.creation({"vectors": data}),
        lambda: wire_index.index_schema(data),
        *(lambda w=write: w(data, SIZES) for write in wire_points.WRITES.values()),
    ):
        assert status_of(build) in (200, 400)


def test_point_ids() -> None:
    assert point_id(0) == 0
    assert point_id((1 << 64) - 1) == (1 << 64) - 1
    assert point_id("550E8400E29B41D4A716446655440000") == "550e8400-e29b-41d4-a716-446655440000"
    assert point_id_of_path("7") == 7
    for wrong in (-1, 1 << 64, True, 1.0, "7", None, [1]):
        with pytest.raises(BadRequestError):
            point_id(wrong)
    with pytest.raises(BadRequestError):
        point_id_of_path("²")


@pytest.mark.parametrize(
    "body",
    [
        {"points": [{"id": 9, "vector": [1, 2]}, {"id": 10, "vector": [1, 2, 3]}]},
        {"batch": {"ids": [9, 10], "vectors": [[1, 2], [1, 2, 3]]}},
        {"points": [{"id": 9, "vector": {"": [1, 2]}}, {"id": 10, "vector": {"x": [1, 2]}}]},
    ],
)
def test_a_batch_with_one_wrong_vector_is_refused_as_a_whole(body: Any) -> None:
    with pytest.raises(ApiError, match="Wrong input") as caught:
        wire_points.upsert(body, SIZES)
    assert caught.value.status == 400


def test_batches_of_unequal_length_are_refused() -> None:
    for batch in (
        {"ids": [1, 2], "vectors": [[1, 2]]},
        {"ids": [1], "vectors": [[1, 2]], "payloads": [{}, {}]},
        {"ids": [1], "vectors": {"a": []}},
        {"ids": 1, "vectors": []},
    ):
        with pytest.raises(BadRequestError):
            wire_points.upsert({"batch": batch}, SIZES)


def test_what_a_single_host_cannot_do_is_refused_by_name() -> None:
    vectors = {"size": 2, "distance": "Dot"}
    for name, value in (
        ("shard_number", 2),
        ("replication_factor", 3),
        ("sharding_method", "custom"),
        ("wal_config", {"wal_capacity_mb": 1}),
        ("strict_mode_config", {"max_timeout": 1}),
    ):
        with pytest.raises(UnsupportedError, match=name):
            wire_config.creation({"vectors": vectors, name: value})
    kept = wire_config.creation({"vectors": vectors, "shard_number": 1, "on_disk_payload": None})
    assert kept == {"vectors": vectors}


@pytest.mark.parametrize(
    "vectors",
    [
        {"size": 0, "distance": "Dot"},
        {"size": 65_537, "distance": "Dot"},
        {"size": 2, "distance": "dot"},
        {"size": 2, "distance": "Dot", "colour": 1},
        {"a": {"size": True, "distance": "Dot"}},
        {},
        [],
        None,
    ],
)
def test_wrong_vector_settings(vectors: Any) -> None:
    with pytest.raises(BadRequestError):
        wire_config.creation({"vectors": vectors})


def test_settings_that_can_change() -> None:
    now = {"vectors": {"size": 2, "distance": "Dot"}, "hnsw_config": {"m": 8}}
    changed = wire_changes.changes({"hnsw_config": {"ef_construct": 50}, "metadata": {"a": 1}}, now)
    assert changed["hnsw_config"] == {"m": 8, "ef_construct": 50}
    assert changed["metadata"] == {"a": 1}
    assert now == {"vectors": {"size": 2, "distance": "Dot"}, "hnsw_config": {"m": 8}}
    with pytest.raises(NotFoundError, match="size"):
        wire_changes.changes({"vectors": {"size": 3}}, now)
    with pytest.raises(BadRequestError, match="unknown field 'size'"):
        wire_changes.changes({"vectors": {"": {"size": 3}}}, now)
    with pytest.raises(UnsupportedError, match="on_disk_payload"):
        wire_changes.changes({"on_disk_payload": True}, now)
    assert wire_changes.changes({"vectors": {"": {"on_disk": True}}}, now)["vectors"] == {
        "size": 2,
        "distance": "Dot",
        "on_disk": True,
    }


def test_vectors_come_and_go_by_name() -> None:
    now = {"vectors": {"size": 2, "distance": "Dot"}}
    more = wire_changes.with_vector("b", {"dense": {"size": 3, "distance": "Cosine"}}, now)
    assert set(more["vectors"]) == {"", "b"}
    more = wire_changes.with_vector("s", {"sparse": {"modifier": "idf"}}, more)
    assert more["sparse_vectors"] == {"s": {"modifier": "idf"}}
    assert set(wire_changes.without_vector("b", more)["vectors"]) == {""}
    wrong: list[tuple[str, dict[str, Any]]] = [("b", {"sparse": {}}), ("", {"sparse": {}})]
    for name, body in [*wrong, ("x", {}), ("x", {"dense": {}})]:
        with pytest.raises(BadRequestError):
            wire_changes.with_vector(name, body, more)
    with pytest.raises(BadRequestError, match="only one"):
        wire_changes.without_vector("", now)
    with pytest.raises(NotFoundError):
        wire_changes.without_vector("c", now)


def test_recommendations_by_average_move_away_from_the_negative() -> None:
    stored = {1: [1.0, 0.0], 2: [3.0, 0.0], 3: [0.0, 2.0]}
    sources = wire_query.Sources(lambda point, _: stored[int(point)])
    body = {"query": {"recommend": {"positive": [1, 2], "negative": [3]}}, "limit": 5}
    request = wire_query.query(body, sources)
    assert "4" in repr(request.query)  # twice the mean of the positive, less the negative
    assert "-2" in repr(request.query)
    assert sources.mentioned == {1, 2, 3}


def hits(*rows: tuple[int, Any]) -> list[Any]:
    class Hit:
        def __init__(self, point: int, payload: Any) -> None:
            self.id, self.payload = point, payload

    return [Hit(point, payload) for point, payload in rows]


def test_groups_keep_rank_and_count_a_point_once_a_group() -> None:
    grouping = wire_query.Grouping("a.b", groups=2, size=2)
    ranked = hits(
        (1, {"a": {"b": "x"}}),
        (2, {"a": [{"b": "y"}, {"b": "x"}, {"b": "x"}]}),
        (3, {"a": {"b": "z"}}),
        (4, {"a": {"b": 1.5}}),
        (5, None),
        (6, {"a": {"b": "x"}}),
        (7, {"a": {"b": ["y", True]}}),
    )
    found = {k: [h.id for h in v] for k, v in groups.collect(ranked, grouping).items()}
    assert found == {"x": [1, 2], "y": [2, 7]}


def test_groups_ask_for_more_until_they_are_full() -> None:
    ranked = hits(*((n, {"g": "a" if n < 500 else "b"}) for n in range(502)))
    asked = []

    def fetch(limit: int) -> list[Any]:
        asked.append(limit)
        return ranked[:limit]

    found = groups.search(fetch, wire_query.Grouping("g", groups=2, size=2))
    assert {k: [h.id for h in v] for k, v in found.items()} == {"a": [0, 1], "b": [500, 501]}
    assert asked == sorted(asked)
    assert len(asked) < 5


@pytest.mark.parametrize(
    ("points", "indexed", "written", "quiet", "due"),
    [
        (100_000, 0, 1e9, True, True),
        (100_000, 0, 0, True, False),  # no write since the last run
        (1_000, 0, 1e9, True, False),  # 1.5 MB: below the threshold
        (1_000_000, 960_000, 1e9, True, False),  # 4 % are loose
        (1_000_000, 900_000, 1e9, True, True),
        (1_000_000, 900_000, 1e9, False, False),  # busy: wait for more
        (1_000_000, 700_000, 1e9, False, True),
    ],
)
def test_when_to_optimise(
    points: int, indexed: int, written: float, quiet: bool, due: bool
) -> None:
    info = {"points_count": points, "indexed_vectors_count": indexed}
    settings: dict[str, Any] = {"vectors": {"size": 384, "distance": "Cosine"}}
    assert upkeep.index_is_due(info, settings, written, quiet=quiet) is due
    settings["optimizers_config"] = {"indexing_threshold": 0}
    assert not upkeep.index_is_due(info, settings, written, quiet=quiet)


def test_errors_of_the_engine_become_qdrants() -> None:
    for error, status in (
        (Exception("Vector dimension error: expected dim: 2, got 3"), 400),
        (Exception("No point with id 7"), 404),
        (Exception("Service runtime error: disk"), 500),
        (ValueError("failed to parse"), 400),
        (NotFoundError("x"), 404),
        (BaseException("a panic"), 500),
    ):
        assert from_engine(error).status == status


def test_index_schemas_round_trip(tmp_path: Path) -> None:
    settings = {"vectors": {"size": 2, "distance": "Dot"}}
    shard = edge.EdgeShard.create(str(tmp_path), wire_config.edge_config(settings))
    asked: dict[str, Any] = {
        "a": "keyword",
        "b": {"type": "keyword", "is_tenant": True},
        "c": {"type": "text", "tokenizer": "word", "lowercase": True},
        "d": {"type": "integer", "lookup": True, "range": False},
        "e": "datetime",
    }
    for field, schema in asked.items():
        _, made, _ = wire_index.index_schema(schema)
        shard.update(edge.UpdateOperation.create_field_index(field, made))
    shown = {k: wire_index.index_to_json(v) for k, v in shard.info().payload_schema.items()}
    for field, schema in asked.items():
        kind = schema if isinstance(schema, str) else schema["type"]
        assert shown[field]["data_type"] == kind
        if isinstance(schema, dict):
            assert shown[field]["params"].items() >= schema.items()
    orjson.dumps(shown)
