"""The vector DB stores, finds by meaning and by filter, and deletes."""

from __future__ import annotations

import numpy as np
import pytest
from qdrant_client import QdrantClient, models

from bastide.verify.suite import Saw

pytestmark = pytest.mark.area("Vector DB")

POINTS, WIDTH = 60, 32


@pytest.fixture(scope="module")
def filled(vectordb: QdrantClient, collection: str) -> str:
    """A collection of 60 points of three tenants, with an index on the tenant."""
    vectordb.create_collection(
        collection,
        vectors_config=models.VectorParams(size=WIDTH, distance=models.Distance.COSINE),
    )
    vectordb.create_payload_index(
        collection, "tenant", field_schema=models.PayloadSchemaType.KEYWORD
    )
    vectordb.upsert(
        collection,
        points=[
            models.PointStruct(
                id=number,
                vector=vector.tolist(),
                payload={"tenant": f"tenant-{number % 3}", "number": number},
            )
            for number, vector in enumerate(_vectors())
        ],
        wait=True,
    )
    return collection


def _vectors() -> np.ndarray[tuple[int, int], np.dtype[np.float64]]:
    made: np.ndarray[tuple[int, int], np.dtype[np.float64]] = np.random.default_rng(
        7
    ).standard_normal((POINTS, WIDTH))
    return made


def test_points_are_stored(vectordb: QdrantClient, filled: str, saw: Saw) -> None:
    """Every point that was sent is counted, and comes back with its payload"""
    found = vectordb.count(filled, exact=True).count
    saw(f"{found} points")
    assert found == POINTS
    point = vectordb.retrieve(filled, ids=[17], with_payload=True)[0]
    assert point.payload == {"tenant": "tenant-2", "number": 17}


def test_search_is_exact(vectordb: QdrantClient, filled: str) -> None:
    """The nearest points are those that arithmetic says"""
    vectors = _vectors()
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    right = np.argsort(-(unit @ unit[5]))[:5].tolist()
    found = vectordb.query_points(filled, query=vectors[5].tolist(), limit=5).points
    assert [point.id for point in found] == right


def test_filter_keeps_tenants_apart(vectordb: QdrantClient, filled: str) -> None:
    """A search for one tenant never shows another's points"""
    only = models.Filter(
        must=[models.FieldCondition(key="tenant", match=models.MatchValue(value="tenant-1"))]
    )
    query = _vectors()[0].tolist()  # a point of tenant-0 is the nearest of all
    found = vectordb.query_points(filled, query=query, query_filter=only, limit=POINTS).points
    assert len(found) == POINTS // 3
    assert {(point.payload or {})["tenant"] for point in found} == {"tenant-1"}


def test_points_can_be_deleted(vectordb: QdrantClient, filled: str) -> None:
    """Points deleted by a filter are gone, and the others stay"""
    high = models.Filter(must=[models.FieldCondition(key="number", range=models.Range(gte=50))])
    vectordb.delete(filled, points_selector=models.FilterSelector(filter=high), wait=True)
    assert vectordb.count(filled, exact=True).count == 50
    assert vectordb.retrieve(filled, ids=[55]) == []
