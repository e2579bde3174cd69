"""Every kind of query over every kind of vector: the service against the client's local mode.

Property-based: the same generated request goes to both. Scores must be equal in order, within
1e-4; points must be equal but for ties. What cannot be compared so (random samples, text queries'
approximate lengths) is compared by what must hold of it.
"""

from __future__ import annotations

import math
import random
import uuid
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, note, settings
from hypothesis import strategies as st
from qdrant_client import QdrantClient, models

pytestmark = [
    pytest.mark.integration,
    pytest.mark.filterwarnings("ignore:Api key is used with an insecure connection"),
    pytest.mark.filterwarnings("ignore:Payload indexes have no effect"),
    pytest.mark.filterwarnings("ignore:Local mode performs exact"),
]
COUNT = 60
DENSE = {"a": models.Distance.COSINE, "b": models.Distance.EUCLID, "d": models.Distance.DOT}
RELAXED = settings(
    max_examples=30,
    deadline=None,
    phases=[Phase.explicit, Phase.reuse, Phase.generate],
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


def _dense(rng: random.Random, size: int = 4) -> list[float]:
    return [round(rng.uniform(-1, 1), 3) for _ in range(size)]


def _sparse(rng: random.Random) -> models.SparseVector:
    indices = sorted(rng.sample(range(12), rng.randint(1, 5)))
    return models.SparseVector(
        indices=indices, values=[round(rng.uniform(0.1, 1), 3) for _ in indices]
    )


def _points(rng: random.Random) -> list[models.PointStruct]:
    out = []
    for number in range(COUNT):
        vectors: dict[str, Any] = {name: _dense(rng) for name in DENSE}
        vectors["m"] = [_dense(rng, 3) for _ in range(rng.randint(1, 4))]
        vectors["s"], vectors["i"] = _sparse(rng), _sparse(rng)
        if number % 9 == 0:
            del vectors["b"]
        payload = {
            "n": number,
            "x": round(rng.uniform(0, 10), 3),
            "tag": f"t{number % 4}",
            "many": [f"g{number % 3}", f"h{number % 5}"],
            "place": {"lon": round(rng.uniform(12, 14), 4), "lat": round(rng.uniform(50, 52), 4)},
            "day": f"2024-01-{number % 28 + 1:02d}T00:00:00Z",
        }
        point = number if number % 7 else str(uuid.UUID(int=number + 1))
        out.append(models.PointStruct(id=point, vector=vectors, payload=payload))
    return out


class Pair:
    """The service and local mode with the same collection, to be asked the same."""

    def __init__(self, server: Any) -> None:
        self.name = f"q-{uuid.uuid4().hex}"
        self.real: QdrantClient = server.client()
        self.local = QdrantClient(":memory:")
        self.points = _points(random.Random(11))  # noqa: S311
        self.ids = [point.id for point in self.points]
        for client in (self.real, self.local):
            client.create_collection(
                self.name,
                {
                    **{n: models.VectorParams(size=4, distance=d) for n, d in DENSE.items()},
                    "m": models.VectorParams(
                        size=3,
                        distance=models.Distance.COSINE,
                        multivector_config=models.MultiVectorConfig(
                            comparator=models.MultiVectorComparator.MAX_SIM
                        ),
                    ),
                },
                sparse_vectors_config={
                    "s": models.SparseVectorParams(),
                    "i": models.SparseVectorParams(modifier=models.Modifier.IDF),
                },
            )
            client.upsert(self.name, self.points)
            for field, kind in (
                ("n", "integer"),
                ("x", "float"),
                ("tag", "keyword"),
                ("many", "keyword"),
                ("place", "geo"),
                ("day", "datetime"),
            ):
                client.create_payload_index(self.name, field, models.PayloadSchemaType(kind))

    def both(self, method: str, **options: Any) -> tuple[Any, Any]:
        note(f"{method} {options!r}")
        real = getattr(self.real, method)(self.name, **options)
        return real, getattr(self.local, method)(self.name, **options)

    def same(self, **options: Any) -> None:
        real, local = self.both("query_points", **options)
        wide = {**options, "limit": 1000, "offset": 0}
        every = self.local.query_points(self.name, **wide).points
        scores = {hit.id: hit.score for hit in every}
        same_hits(real.points, local.points, scores)


def close(one: float, other: float) -> bool:
    return math.isclose(one, other, rel_tol=1e-4, abs_tol=1e-4)


def same_hits(real: list[Any], local: list[Any], scores: dict[Any, float] | None = None) -> None:
    note(f"real {[(p.id, p.score) for p in real]}\nlocal {[(p.id, p.score) for p in local]}")
    assert len(real) == len(local)
    assert len({p.id for p in real}) == len(real)
    for one, other in zip(real, local, strict=True):
        assert close(one.score, other.score)
        if scores is not None:
            assert close(one.score, scores[one.id])
    payloads = {p.id: p.payload for p in local}
    assert all(payloads[p.id] == p.payload for p in real if p.id in payloads)


@pytest.fixture(scope="module")
def pair(shared: Any) -> Pair:
    return Pair(shared)


rngs = st.integers(0, 2**20).map(random.Random)
names = st.sampled_from(["a", "b", "d", "m", "s", "i"])
limits = st.integers(1, 12)
filters = st.sampled_from(
    [
        None,
        models.Filter(must=[models.FieldCondition(key="n", range=models.Range(gte=20))]),
        models.Filter(
            should=[models.FieldCondition(key="tag", match=models.MatchValue(value="t1"))],
            must_not=[models.HasIdCondition(has_id=[1, 5, 9])],
        ),
        models.Filter(must=[models.HasVectorCondition(has_vector="b")]),
        models.Filter(
            must=[
                models.FieldCondition(
                    key="place",
                    geo_radius=models.GeoRadius(
                        center=models.GeoPoint(lon=13, lat=51), radius=60_000
                    ),
                )
            ]
        ),
        models.Filter(must=[models.SliceCondition(slice=models.Slice(total=3, index=1))]),
    ]
)


def vector(rng: random.Random, name: str) -> Any:
    if name == "m":
        return [_dense(rng, 3) for _ in range(rng.randint(1, 3))]
    return _sparse(rng) if name in {"s", "i"} else _dense(rng)


def example(pair: Pair, rng: random.Random, name: str) -> Any:
    """A vector or a stored point that has one."""
    if rng.random() < 0.5:
        return vector(rng, name)
    return rng.choice([p.id for p in pair.points if name in p.vector])


@RELAXED
@given(rng=rngs, name=names, condition=filters, limit=limits, offset=st.integers(0, 4))
def test_nearest(pair: Any, rng: Any, name: str, condition: Any, limit: int, offset: int) -> None:
    pair.same(
        query=example(pair, rng, name),
        using=name,
        query_filter=condition,
        limit=limit,
        offset=offset,
    )


@RELAXED
@given(
    rng=rngs,
    name=names,
    condition=filters,
    limit=limits,
    strategy=st.sampled_from([None, *models.RecommendStrategy]),
    sizes=st.tuples(st.integers(1, 3), st.integers(0, 2)),
)
def test_recommend(  # noqa: PLR0917
    pair: Any, rng: Any, name: str, condition: Any, limit: int, strategy: Any, sizes: Any
) -> None:
    positive, negative = ([example(pair, rng, name) for _ in range(n)] for n in sizes)
    asked = models.RecommendInput(positive=positive, negative=negative, strategy=strategy)
    query = models.RecommendQuery(recommend=asked)
    pair.same(query=query, using=name, query_filter=condition, limit=limit)


@RELAXED
@given(
    rng=rngs,
    name=names,
    condition=filters,
    limit=limits,
    pairs=st.integers(1, 3),
    target=st.booleans(),
)
def test_discover_and_context(  # noqa: PLR0917
    pair: Any, rng: Any, name: str, condition: Any, limit: int, pairs: int, target: bool
) -> None:
    context = [
        models.ContextPair(positive=example(pair, rng, name), negative=example(pair, rng, name))
        for _ in range(pairs)
    ]
    query: Any = models.ContextQuery(context=context)
    if target:
        found = models.DiscoverInput(target=example(pair, rng, name), context=context)
        query = models.DiscoverQuery(discover=found)
    pair.same(query=query, using=name, query_filter=condition, limit=limit)


@RELAXED
@given(rng=rngs, name=st.sampled_from(["a", "d"]), limit=limits, items=st.integers(2, 4))
def test_relevance_feedback(pair: Any, rng: Any, name: str, limit: int, items: int) -> None:
    """Dense vectors only: local mode has it for no others."""
    asked = models.RelevanceFeedbackInput(
        target=vector(rng, name),
        feedback=[
            models.FeedbackItem(example=vector(rng, name), score=round(rng.random(), 2))
            for _ in range(items)
        ],
        strategy=models.NaiveFeedbackStrategy(
            naive=models.NaiveFeedbackStrategyParams(a=1.0, b=1.5, c=0.5)
        ),
    )
    query = models.RelevanceFeedbackQuery(relevance_feedback=asked)
    pair.same(query=query, using=name, limit=limit)


def prefetches(rng: random.Random) -> list[models.Prefetch]:
    return [
        models.Prefetch(query=vector(rng, name), using=name, limit=rng.randint(5, 20))
        for name in rng.sample(["a", "b", "m", "s", "i"], 2)
    ]


FUSIONS = [
    models.FusionQuery(fusion=models.Fusion.RRF),
    models.FusionQuery(fusion=models.Fusion.DBSF),
    models.RrfQuery(rrf=models.Rrf(k=7)),
    models.RrfQuery(rrf=models.Rrf(weights=[3.0, 1.0])),
]


@RELAXED
@given(rng=rngs, fusion=st.sampled_from(FUSIONS), condition=filters, limit=limits)
def test_hybrid_fusion(pair: Any, rng: Any, fusion: Any, condition: Any, limit: int) -> None:
    options = {"prefetch": prefetches(rng), "query": fusion, "query_filter": condition}
    real, local = pair.both("query_points", **options, limit=limit)
    same_hits(real.points, local.points)


@RELAXED
@given(rng=rngs, limit=limits)
def test_prefetch_then_rescore_in_two_levels(pair: Any, rng: Any, limit: int) -> None:
    inner = models.Prefetch(query=vector(rng, "d"), using="d", limit=40)
    outer = models.Prefetch(prefetch=inner, query=vector(rng, "a"), using="a", limit=20)
    pair.same(prefetch=outer, query=vector(rng, "m"), using="m", limit=limit)


score = "$score"
FORMULAS = [
    models.SumExpression(sum=[score, models.MultExpression(mult=[0.25, "x"])]),
    models.DivExpression(
        div=models.DivParams(left="x", right=models.SumExpression(sum=["n", 1.0]))
    ),
    models.SumExpression(
        sum=[score, models.FieldCondition(key="tag", match=models.MatchAny(any=["t1", "t2"]))]
    ),
    models.NegExpression(neg=models.AbsExpression(abs=models.SumExpression(sum=["n", -30.0]))),
    models.MultExpression(
        mult=[
            score,
            models.ExpDecayExpression(
                exp_decay=models.DecayParamsExpression(x="x", target=5.0, scale=2.0, midpoint=0.5)
            ),
        ]
    ),
    models.GaussDecayExpression(
        gauss_decay=models.DecayParamsExpression(
            x=models.GeoDistance(
                geo_distance=models.GeoDistanceParams(
                    origin=models.GeoPoint(lon=13.0, lat=51.0), to="place"
                )
            ),
            scale=50_000.0,
        )
    ),
    models.LinDecayExpression(
        lin_decay=models.DecayParamsExpression(
            x=models.DatetimeKeyExpression(datetime_key="day"),
            target=models.DatetimeExpression(datetime="2024-01-15T00:00:00Z"),
            scale=864_000.0,
        )
    ),
    models.SumExpression(
        sum=[
            models.SqrtExpression(sqrt="x"),
            models.PowExpression(pow=models.PowParams(base="x", exponent=2.0)),
            models.LnExpression(ln=models.SumExpression(sum=["n", 1.0])),
            models.Log10Expression(log10=models.SumExpression(sum=["n", 1.0])),
            models.ExpExpression(exp=0.5),
            "absent",
        ]
    ),
]


@RELAXED
@given(rng=rngs, formula=st.sampled_from(FORMULAS), limit=limits)
def test_formula(pair: Any, rng: Any, formula: Any, limit: int) -> None:
    prefetch = models.Prefetch(query=vector(rng, "d"), using="d", limit=30)
    query = models.FormulaQuery(formula=formula, defaults={"absent": 1.5})
    real, local = pair.both("query_points", prefetch=prefetch, query=query, limit=limit)
    same_hits(real.points, local.points)


@RELAXED
@given(rng=rngs, diversity=st.sampled_from([0.0, 0.3, 0.7, 1.0]), limit=limits)
def test_mmr(pair: Any, rng: Any, diversity: float, limit: int) -> None:
    mmr = models.Mmr(diversity=diversity, candidates_limit=30)
    query = models.NearestQuery(nearest=vector(rng, "a"), mmr=mmr)
    real, local = pair.both("query_points", query=query, using="a", limit=limit)
    assert [p.id for p in real.points] == [p.id for p in local.points]


@RELAXED
@given(
    rng=rngs,
    name=st.sampled_from(["a", "d", "s"]),
    by=st.sampled_from(["tag", "many", "n"]),
    limit=st.integers(1, 5),
    size=st.integers(1, 4),
    condition=filters,
)
def test_groups(  # noqa: PLR0917
    pair: Any, rng: Any, name: str, by: str, limit: int, size: int, condition: Any
) -> None:
    real, local = pair.both(
        "query_points_groups",
        group_by=by,
        query=vector(rng, name),
        using=name,
        query_filter=condition,
        limit=limit,
        group_size=size,
    )
    shown = [[(g.id, [h.id for h in g.hits]) for g in side.groups] for side in (real, local)]
    assert shown[0] == shown[1]


@RELAXED
@given(
    key=st.sampled_from(["n", "x", "day"]),
    direction=st.sampled_from(list(models.Direction)),
    condition=filters,
    limit=limits,
)
def test_order_by(pair: Any, key: str, direction: Any, condition: Any, limit: int) -> None:
    order = models.OrderBy(key=key, direction=direction)
    real, local = pair.both("scroll", order_by=order, scroll_filter=condition, limit=limit)
    values = [[record.payload[key] for record in side[0]] for side in (real, local)]
    assert values[0] == values[1]
    query = models.OrderByQuery(order_by=order)
    real, local = pair.both("query_points", query=query, query_filter=condition, limit=limit)
    assert [p.payload[key] for p in real.points] == [p.payload[key] for p in local.points]


@RELAXED
@given(key=st.sampled_from(["tag", "many", "n"]), condition=filters, limit=limits)
def test_facets(pair: Any, key: str, condition: Any, limit: int) -> None:
    real, local = pair.both("facet", key=key, facet_filter=condition, limit=limit, exact=True)
    assert [hit.count for hit in real.hits] == [hit.count for hit in local.hits]
    every = pair.local.facet(pair.name, key, facet_filter=condition, limit=1000).hits
    counts = {hit.value: hit.count for hit in every}
    assert all(counts[hit.value] == hit.count for hit in real.hits)


@RELAXED
@given(name=names, condition=filters, limit=st.integers(1, 5))
def test_the_distance_matrix(pair: Any, name: str, condition: Any, limit: int) -> None:
    """With a sample of everything there is no chance in it."""
    options = {"query_filter": condition, "sample": 100, "limit": limit, "using": name}
    real, local = pair.both("search_matrix_pairs", **options)
    scores: dict[Any, list[float]] = {}
    for one in local.pairs:
        scores.setdefault(one.a, []).append(one.score)
    mine: dict[Any, list[float]] = {}
    for one in real.pairs:
        mine.setdefault(one.a, []).append(one.score)
    assert mine.keys() == scores.keys()
    for point, values in mine.items():
        assert values == pytest.approx(scores[point], abs=1e-4)
    offsets = pair.real.search_matrix_offsets(pair.name, **options)
    assert len(offsets.scores) == len(real.pairs) == len(offsets.offsets_row)
    cells = zip(offsets.offsets_row, offsets.offsets_col, strict=True)
    pairs = [(offsets.ids[row], offsets.ids[column]) for row, column in cells]
    assert pairs == [(one.a, one.b) for one in real.pairs]


def test_a_random_sample_is_of_the_filtered_points_and_not_always_the_same(pair: Any) -> None:
    condition = models.Filter(must=[models.FieldCondition(key="n", range=models.Range(lt=30))])
    query = models.SampleQuery(sample=models.Sample.RANDOM)
    seen = set()
    for _ in range(20):
        hits = pair.real.query_points(
            pair.name, query=query, query_filter=condition, limit=5
        ).points
        assert len({h.id for h in hits}) == 5
        assert all(h.payload["n"] < 30 for h in hits)
        seen.add(tuple(h.id for h in hits))
    assert len(seen) > 1


@RELAXED
@given(rng=rngs, count=st.integers(1, 4))
def test_batches_answer_as_single_queries_do(pair: Any, rng: Any, count: int) -> None:
    requests = [
        models.QueryRequest(query=vector(rng, name), using=name, limit=5, with_payload=True)
        for name in rng.choices(["a", "b", "m", "s"], k=count)
    ]
    real, local = pair.both("query_batch_points", requests=requests)
    for one, other in zip(real, local, strict=True):
        same_hits(one.points, other.points)
