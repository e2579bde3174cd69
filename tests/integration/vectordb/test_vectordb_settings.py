"""Settings of collections: strict mode, indexes, vectors' parameters; each is kept and obeyed."""

from __future__ import annotations

from typing import Any

import pytest
from qdrant_client import QdrantClient, models
from qdrant_client.common.client_exceptions import ResourceExhaustedResponse
from vectordb_asks import DOT, config_of, fresh, point, status_of

pytestmark = [
    pytest.mark.integration,
    pytest.mark.filterwarnings("ignore:Api key is used with an insecure connection"),
    pytest.mark.filterwarnings("ignore:Payload indexes have no effect"),
    pytest.mark.filterwarnings("ignore:Local mode performs exact"),
]


STRICT = models.StrictModeConfig(
    enabled=True,
    max_query_limit=5,
    unindexed_filtering_retrieve=False,
    unindexed_filtering_update=False,
    search_max_hnsw_ef=64,
    search_allow_exact=False,
    search_max_oversampling=2.0,
    search_max_batchsize=2,
    upsert_max_batchsize=3,
    max_points_count=6,
    filter_max_conditions=2,
    condition_max_size=3,
    max_payload_index_count=1,
)


def has(key: str, *values: int) -> models.Filter:
    return models.Filter(
        must=[models.FieldCondition(key=key, match=models.MatchAny(any=list(values)))]
    )


def test_strict_mode_refuses_beyond_each_limit_and_nothing_within(real: QdrantClient) -> None:
    name = fresh()
    real.create_collection(name, DOT, strict_mode_config=STRICT)
    assert config_of(real, name).strict_mode_config.max_query_limit == 5
    real.create_payload_index(name, "n", models.PayloadSchemaType.INTEGER)
    real.upsert(name, [point(n, 1, n, n=n, free=n) for n in range(3)])
    real.upsert(name, [point(n, 1, n, n=n) for n in range(3, 6)])
    query = real.query_points
    params = models.SearchParams
    wide = models.QuantizationSearchParams(oversampling=3.0)
    both = models.Filter(must=[has("n", 1)] * 3)
    good: list[Any] = [
        lambda: query(name, query=[1.0, 0.0], limit=5, query_filter=has("n", 1, 2, 3)),
        lambda: query(name, query=[1.0, 0.0], search_params=params(hnsw_ef=64), limit=5),
        lambda: query(name, query=[1.0, 0.0], limit=5),
    ]
    bad: list[Any] = [
        lambda: query(name, query=[1.0, 0.0], limit=6),
        lambda: query(
            name, prefetch=models.Prefetch(query=[1.0, 0.0], limit=9), query=[1.0, 0.0], limit=5
        ),
        lambda: real.query_points_groups(name, "n", query=[1.0, 0.0], limit=3, group_size=2),
        lambda: query(name, query=[1.0, 0.0], limit=5, query_filter=has("free", 1)),
        lambda: query(name, query=[1.0, 0.0], limit=5, query_filter=has("n", 1, 2, 3, 4)),
        lambda: query(name, query=[1.0, 0.0], limit=5, query_filter=both),
        lambda: query(name, query=[1.0, 0.0], limit=5, search_params=params(hnsw_ef=65)),
        lambda: query(name, query=[1.0, 0.0], limit=5, search_params=params(exact=True)),
        lambda: query(name, query=[1.0, 0.0], limit=5, search_params=params(quantization=wide)),
        lambda: real.query_batch_points(name, [models.QueryRequest(query=1, limit=1)] * 3),
        lambda: real.scroll(name, limit=6),
        lambda: real.delete(name, has("free", 1)),
        lambda: real.upsert(name, [point(n, 1, 1) for n in range(4)]),
        lambda: real.upsert(name, [point(99, 1, 1)]),
        lambda: real.create_payload_index(name, "m", models.PayloadSchemaType.INTEGER),
    ]
    for number, call in enumerate(good):
        assert call() is not None, number
    for number, call in enumerate(bad):
        assert status_of(call) == 400, number
    real.update_collection(name, strict_mode_config=models.StrictModeConfig(enabled=False))
    for number, call in enumerate(bad):
        assert call() is not None, number


def test_strict_mode_limits_the_rate_and_says_when_to_come_back(real: QdrantClient) -> None:
    name = fresh()
    limits = models.StrictModeConfig(enabled=True, read_rate_limit=3, write_rate_limit=2)
    real.create_collection(name, DOT, strict_mode_config=limits)
    for _ in range(3):
        real.count(name)
    with pytest.raises(ResourceExhaustedResponse) as caught:
        real.count(name)
    assert 1 <= int(caught.value.retry_after_s) <= 20
    real.upsert(name, [point(1, 1, 1)])  # writes have a limit of their own


def test_payload_indexes_keep_every_parameter(real: QdrantClient) -> None:
    name = fresh()
    real.create_collection(name, DOT)
    text = models.TextIndexParams(
        type=models.TextIndexType.TEXT,
        tokenizer=models.TokenizerType.WORD,
        min_token_len=2,
        max_token_len=20,
        lowercase=True,
        phrase_matching=True,
        stopwords=models.StopwordsSet(languages=[models.Language.ENGLISH], custom=["pump"]),
        stemmer=models.SnowballParams(
            type=models.Snowball.SNOWBALL, language=models.SnowballLanguage.ENGLISH
        ),
    )
    keyword = models.KeywordIndexParams(
        type=models.KeywordIndexType.KEYWORD, is_tenant=True, prefix=True, on_disk=True
    )
    integer = models.IntegerIndexParams(
        type=models.IntegerIndexType.INTEGER, lookup=True, range=False
    )
    wanted: dict[str, Any] = {"text": text, "word": keyword, "n": integer}
    for field, schema in wanted.items():
        real.create_payload_index(name, field, schema)
    shown: Any = real.get_collection(name).payload_schema
    for field, schema in wanted.items():
        given = schema.model_dump(exclude_none=True)
        assert shown[field].params is not None
        have = shown[field].params.model_dump(exclude_none=True)
        assert {key: have.get(key) for key in given} == given, field
    real.upsert(
        name, [point(1, 1, 0, text="the pumps run", word="alpha"), point(2, 0, 1, word="beta")]
    )

    def found(key: str, match: Any) -> list[Any]:
        condition = models.Filter(must=[models.FieldCondition(key=key, match=match)])
        return [r.id for r in real.scroll(name, condition)[0]]

    assert found("text", models.MatchText(text="running")) == [1]  # stemmed
    assert found("word", models.MatchPrefix(prefix="al")) == [1]
    assert found("word", models.MatchSubstring(substring="et")) == [2]


QUANTIZATIONS: list[Any] = [
    models.ScalarQuantization(
        scalar=models.ScalarQuantizationConfig(type=models.ScalarType.INT8, quantile=0.99)
    ),
    models.ProductQuantization(
        product=models.ProductQuantizationConfig(compression=models.CompressionRatio.X4)
    ),
    models.BinaryQuantization(
        binary=models.BinaryQuantizationConfig(encoding=models.BinaryQuantizationEncoding.TWO_BITS)
    ),
    models.TurboQuantization(
        turbo=models.TurboQuantQuantizationConfig(bits=models.TurboQuantBitSize.BITS4)
    ),
]


@pytest.mark.parametrize(
    "quantization", QUANTIZATIONS, ids=lambda q: next(iter(type(q).model_fields))
)
def test_collections_change_their_vectors_settings(real: QdrantClient, quantization: Any) -> None:
    name = fresh()
    real.create_collection(
        name, {"a": models.VectorParams(size=8, distance=models.Distance.COSINE)}
    )
    real.upsert(
        name,
        [models.PointStruct(id=n, vector={"a": [n, 1, *[0.5] * 6]}) for n in range(1, 50)],
    )
    real.update_collection(
        name,
        vectors_config={
            "a": models.VectorParamsDiff(
                hnsw_config=models.HnswConfigDiff(m=8),
                quantization_config=quantization,
                on_disk=True,
            )
        },
    )
    params = config_of(real, name).params.vectors["a"]
    assert (params.hnsw_config.m, params.on_disk) == (8, True)
    assert params.quantization_config == quantization
    query = [49.0, 1, *[0.5] * 6]
    assert real.query_points(name, query=query, using="a", limit=1).points[0].id == 49
    real.update_collection(
        name,
        vectors_config={"a": models.VectorParamsDiff(quantization_config=models.Disabled.DISABLED)},
    )
    assert config_of(real, name).params.vectors["a"].quantization_config is None


@pytest.mark.parametrize("datatype", ["float16", "uint8", "turbo8", "turbo16"])
def test_vectors_are_stored_in_each_type(real: QdrantClient, datatype: str) -> None:
    name = fresh()
    params = models.VectorParams(
        size=4, distance=models.Distance.DOT, datatype=models.Datatype(datatype)
    )
    real.create_collection(name, params)
    real.upsert(name, [point(n, n, 1, 2, 3) for n in range(1, 20)])
    assert real.query_points(name, query=[1.0, 0, 0, 0], limit=1).points[0].id == 19
