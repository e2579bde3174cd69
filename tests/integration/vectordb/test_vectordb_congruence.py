"""The same qdrant-client calls give the same results here and in the client's own local mode.

Local mode is a model of Qdrant in Python, right in most and wrong in some. Where it differs from
Qdrant's engine, the generated data avoids the case, and a ``test_unlike_local_mode_…`` at the end
shows what the service does.
"""

from __future__ import annotations

import math
import uuid
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, note, settings
from hypothesis import strategies as st
from qdrant_client import QdrantClient, models
from qdrant_client.http.exceptions import UnexpectedResponse

pytestmark = [
    pytest.mark.integration,
    pytest.mark.filterwarnings("ignore:Api key is used with an insecure connection"),
    pytest.mark.filterwarnings("ignore:Payload indexes have no effect"),
]
SIZE = 4
WORDS = ["pump", "valve", "pump room", "Fire", "feuer größe"]
DAYS = ["2024-01-01T00:00:00Z", "2024-06-01T12:30:00Z", "2025-02-03T00:00:00+02:00"]
FIELDS = ["word", "n", "x", "flag", "day", "tags", "deep.n", "list[].n"]

INDEXES = {
    "word": "keyword",
    "tags": "keyword",
    "n": "integer",
    "list[].n": "integer",
    "x": "float",
    "day": "datetime",
    "flag": "bool",
}

numbers = st.integers(-3, 3)
floats = st.sampled_from([-1.5, -1.0, 0.0, 0.5, 2.25])
words = st.sampled_from(WORDS)
payloads = st.fixed_dictionaries(
    {},
    optional={
        "word": words | st.none(),
        "n": numbers | st.lists(numbers, max_size=3),
        "x": floats,
        "flag": st.booleans(),
        "day": st.sampled_from(DAYS),
        "tags": st.lists(words, max_size=3),
        "deep": st.fixed_dictionaries({"n": numbers}, optional={"word": words}),
        "list": st.lists(st.fixed_dictionaries({"n": numbers, "word": words}), max_size=3),
    },
)
ids = st.integers(0, 30) | st.integers(0, 5).map(lambda n: str(uuid.UUID(int=n)))
coordinates = st.integers(-8, 8).map(float)
vectors = st.lists(coordinates, min_size=SIZE, max_size=SIZE).filter(any)
points = st.builds(
    lambda i, v, p: models.PointStruct(id=i, vector=v, payload=p), ids, vectors, payloads
)
point_lists = st.lists(points, max_size=25, unique_by=lambda p: p.id)


def bounds(values: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    return st.fixed_dictionaries(
        {}, optional=dict.fromkeys(("gt", "gte", "lt", "lte"), values)
    ).filter(bool)


def field(key: str, **condition: Any) -> models.FieldCondition:
    return models.FieldCondition(key=key, **condition)


matches = st.one_of(
    st.builds(lambda v: field("word", match=models.MatchValue(value=v)), words),
    st.builds(lambda v: field("tags", match=models.MatchValue(value=v)), words),
    st.builds(lambda v: field("tags[]", match=models.MatchValue(value=v)), words),
    st.builds(lambda v: field("n", match=models.MatchValue(value=v)), numbers),
    st.builds(lambda v: field("deep.n", match=models.MatchValue(value=v)), numbers),
    st.builds(lambda v: field("list[].n", match=models.MatchValue(value=v)), numbers),
    st.builds(lambda v: field("flag", match=models.MatchValue(value=v)), st.booleans()),
    st.builds(
        lambda v: field("word", match=models.MatchAny(any=v)),
        st.lists(words, min_size=1, max_size=3),
    ),
    st.builds(
        lambda v: field("n", match=models.MatchAny(any=v)),
        st.lists(numbers, min_size=1, max_size=3),
    ),
    st.builds(
        lambda v: field("word", match=models.MatchExcept(**{"except": v})),
        st.lists(words, min_size=1, max_size=3),
    ),
)
ranges = st.one_of(
    st.builds(lambda b: field("n", range=models.Range(**b)), bounds(numbers)),
    st.builds(lambda b: field("x", range=models.Range(**b)), bounds(floats)),
    st.builds(lambda b: field("list[].n", range=models.Range(**b)), bounds(numbers)),
    st.builds(
        lambda b: field("day", range=models.DatetimeRange(**b)), bounds(st.sampled_from(DAYS))
    ),
    st.builds(
        lambda b: field("tags", values_count=models.ValuesCount(**b)), bounds(st.integers(0, 3))
    ),
)
others = st.one_of(
    st.builds(
        lambda k: models.IsEmptyCondition(is_empty=models.PayloadField(key=k)),
        st.sampled_from(FIELDS[:7]),
    ),
    st.builds(
        lambda k: models.IsNullCondition(is_null=models.PayloadField(key=k)),
        st.sampled_from(FIELDS[:7]),
    ),
    st.builds(lambda v: models.HasIdCondition(has_id=v), st.lists(ids, max_size=6)),
    st.builds(
        lambda n, w: models.NestedCondition(
            nested=models.Nested(
                key="list",
                filter=models.Filter(
                    must=[
                        field("n", range=models.Range(gte=n)),
                        field("word", match=models.MatchValue(value=w)),
                    ]
                ),
            )
        ),
        numbers,
        words,
    ),
)
leaves = st.one_of(matches, ranges, others)


def filters_of(conditions: st.SearchStrategy[Any]) -> st.SearchStrategy[models.Filter]:
    clause = st.none() | st.lists(conditions, min_size=1, max_size=3)
    minimum = st.none() | st.builds(
        lambda c, n: models.MinShould(conditions=c, min_count=n),
        st.lists(conditions, min_size=1, max_size=3),
        st.integers(1, 3),
    )
    return st.builds(
        lambda a, b, c, d: models.Filter(must=a, should=b, must_not=c, min_should=d),
        clause,
        clause,
        clause,
        minimum,
    )


filters = st.none() | filters_of(leaves | filters_of(leaves))
selectors = st.one_of(
    st.booleans(),
    st.just(["word", "deep.n"]),
    st.just(models.PayloadSelectorInclude(include=["n", "list[].n"])),
    st.just(models.PayloadSelectorExclude(exclude=["deep.n", "tags"])),
)


class Twins:
    """The service and local mode, to be asked the same."""

    def __init__(self, server: Any, distance: models.Distance, *, indexed: bool) -> None:
        self.name = f"t-{uuid.uuid4().hex}"
        self._vectors = models.VectorParams(size=SIZE, distance=distance)
        self.real: QdrantClient = server.client()
        self.real.create_collection(self.name, self._vectors)
        if indexed:
            for key, kind in INDEXES.items():
                self.real.create_payload_index(self.name, key, kind)
        self.local = QdrantClient(":memory:")

    def fill(self, data: list[models.PointStruct]) -> None:
        """Start anew: the service's collection is emptied, not made again, to save time."""
        self.real.delete(self.name, models.Filter())
        assert self.real.count(self.name).count == 0
        self.local = QdrantClient(":memory:")
        self.local.create_collection(self.name, self._vectors)
        if data:
            self.both("upsert", data)

    def both(self, method: str, *args: Any, **options: Any) -> tuple[Any, Any]:
        real = getattr(self.real, method)(self.name, *args, **options)
        return real, getattr(self.local, method)(self.name, *args, **options)

    def stored(self) -> tuple[Any, Any]:
        real, local = self.both("scroll", limit=1000, with_payload=True, with_vectors=True)
        return by_id(real[0]), by_id(local[0])


@pytest.fixture(scope="module", params=[False, True], ids=["plain", "indexed"])
def twins(request: pytest.FixtureRequest, shared: Any) -> dict[models.Distance, Twins]:
    """Twins for each distance."""
    return {d: Twins(shared, d, indexed=request.param) for d in models.Distance}


def rounded(vector: Any) -> Any:
    return None if vector is None else [round(x, 4) + 0.0 for x in vector]


def by_id(records: list[Any]) -> dict[Any, Any]:
    return {record.id: (record.payload, rounded(record.vector)) for record in records}


def assert_same_hits(real: list[Any], local: list[Any], everything: dict[Any, float]) -> None:
    """Equal scores in order; equal points but for ties, which either side may cut anywhere."""
    note(f"real {[(p.id, p.score) for p in real]} local {[(p.id, p.score) for p in local]}")
    assert len(real) == len(local)
    for one, other in zip(real, local, strict=True):
        assert math.isclose(one.score, other.score, rel_tol=1e-4, abs_tol=1e-4)
        assert math.isclose(one.score, everything[one.id], rel_tol=1e-4, abs_tol=1e-4)
    assert len({p.id for p in real}) == len(real)
    payloads_ = {p.id: p.payload for p in local}
    for hit in real:
        if hit.id in payloads_:
            assert hit.payload == payloads_[hit.id]


RELAXED = settings(
    max_examples=25,
    deadline=None,
    phases=[Phase.explicit, Phase.reuse, Phase.generate],  # each step is some real HTTP requests
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


@RELAXED
@given(
    data=point_lists,
    asked=st.lists(filters, min_size=4, max_size=8),
    page=st.integers(1, 7),
    fields=selectors,
)
def test_filters_scroll_and_count(
    twins: Any, data: Any, asked: Any, page: int, fields: Any
) -> None:
    twins = twins[models.Distance.COSINE]
    twins.fill(data)
    real, local = twins.stored()
    assert real == local
    for condition in asked:
        note(repr(condition))
        real, local = twins.both(
            "scroll", scroll_filter=condition, limit=1000, with_payload=fields, with_vectors=True
        )
        assert by_id(real[0]) == by_id(local[0])
        counted = twins.both("count", count_filter=condition, exact=True)
        assert counted[0].count == counted[1].count == len(real[0])
        walked, offset = [], None
        while True:
            records, offset = twins.real.scroll(
                twins.name, scroll_filter=condition, limit=page, offset=offset
            )
            walked += records
            if offset is None:
                break
        assert [r.id for r in walked] == [r.id for r in real[0]]


@RELAXED
@given(
    data=point_lists.filter(bool),
    distance=st.sampled_from(list(models.Distance)),
    asked=st.lists(
        st.tuples(vectors, filters, st.integers(1, 8), st.integers(0, 3), selectors),
        min_size=3,
        max_size=6,
    ),
    by=st.data(),
)
def test_nearest(twins: Any, data: Any, distance: Any, asked: Any, by: st.DataObject) -> None:
    twins = twins[distance]
    twins.fill(data)
    for vector, condition, limit, offset, fields in asked:
        query = by.draw(st.just(vector) | st.sampled_from([p.id for p in data]))
        note(f"{query} {condition!r} {limit} {offset}")
        whole = twins.local.query_points(
            twins.name, query=query, query_filter=condition, limit=1000
        ).points
        scores = {hit.id: hit.score for hit in whole}
        options = {
            "query": query,
            "query_filter": condition,
            "limit": limit,
            "offset": offset,
            "with_payload": fields,
        }
        real, local = twins.both("query_points", **options)
        assert_same_hits(real.points, local.points, scores)
        if whole:
            # Halfway between two scores, so that no rounding decides who passes.
            ranked = sorted({round(s, 4) for s in scores.values()})
            middle = len(ranked) // 2
            threshold = (ranked[middle - 1] + ranked[middle]) / 2 if middle else ranked[0] - 1
            real, local = twins.both("query_points", **options, score_threshold=threshold)
            assert_same_hits(real.points, local.points, scores)


operations = st.one_of(
    st.tuples(
        st.just("upsert"), st.lists(points, min_size=1, max_size=4, unique_by=lambda p: p.id)
    ),
    st.tuples(st.just("delete"), st.lists(ids, min_size=1, max_size=4) | filters.filter(bool)),
    st.tuples(
        st.sampled_from(["set_payload", "overwrite_payload"]), payloads, filters.filter(bool)
    ),
    st.tuples(
        st.just("delete_payload"),
        st.lists(
            st.sampled_from(["word", "n", "deep.n", "tags", "list[].n"]), min_size=1, max_size=2
        ),
        filters.filter(bool),
    ),
    st.tuples(st.just("clear_payload"), filters.filter(bool)),
)


@RELAXED
@given(data=point_lists, changes=st.lists(operations, min_size=1, max_size=8))
def test_changes(twins: Any, data: Any, changes: Any) -> None:
    twins = twins[models.Distance.DOT]
    twins.fill(data)
    for name, *arguments in changes:
        note(f"{name} {arguments!r}")
        twins.both(name, *arguments)
        real, local = twins.stored()
        assert real == local


def test_unlike_local_mode_payload_of_a_missing_point_is_an_error(twins: Any) -> None:
    """Qdrant answers 404, and changes the points that exist; local mode ends in a KeyError."""
    pair = twins[models.Distance.DOT]
    pair.fill([models.PointStruct(id=1, vector=[1.0, 0, 0, 0], payload={})])
    with pytest.raises(KeyError):
        pair.local.set_payload(pair.name, {"a": 1}, points=[1, 99])
    with pytest.raises(UnexpectedResponse) as missing:
        pair.real.set_payload(pair.name, {"a": 1}, points=[1, 99])
    assert missing.value.status_code == 404
    assert pair.real.retrieve(pair.name, [1])[0].payload == {"a": 1}


def test_unlike_local_mode_ordering_needs_an_index(twins: Any) -> None:
    """Qdrant orders by indexed fields only; local mode by any."""
    pair = twins[models.Distance.DOT]
    pair.fill([models.PointStruct(id=1, vector=[1.0, 0, 0, 0], payload={"free": 1})])
    assert pair.local.scroll(pair.name, order_by="free")[0]
    with pytest.raises(UnexpectedResponse) as refused:
        pair.real.scroll(pair.name, order_by="free")
    assert refused.value.status_code == 400
    assert b"index" in refused.value.content


def test_unlike_local_mode_a_bad_point_leaves_the_batch_unwritten(twins: Any) -> None:
    """Both refuse; here nothing of the batch is stored."""
    pair = twins[models.Distance.DOT]
    pair.fill([])
    batch = [
        models.PointStruct(id=1, vector=[1.0, 0, 0, 0]),
        models.PointStruct(id=2, vector=[1.0, 0]),
    ]
    with pytest.raises(UnexpectedResponse):
        pair.real.upsert(pair.name, batch)
    assert pair.real.count(pair.name).count == 0
