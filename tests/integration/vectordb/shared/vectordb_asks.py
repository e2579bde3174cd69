"""What tests of the vector DB's API ask with."""

from __future__ import annotations

import uuid
from typing import Any

import pytest
from qdrant_client import QdrantClient, models
from qdrant_client.http.exceptions import UnexpectedResponse

DOT = models.VectorParams(size=2, distance=models.Distance.DOT)


def config_of(client: QdrantClient, name: str) -> Any:
    return client.get_collection(name).config


def fresh() -> str:
    return f"c-{uuid.uuid4().hex[:8]}"


def point(number: int, *vector: float, **payload: Any) -> models.PointStruct:
    return models.PointStruct(id=number, vector=list(vector), payload=payload)


def status_of(call: Any, *args: Any, **options: Any) -> int:
    with pytest.raises(UnexpectedResponse) as caught:
        call(*args, **options)
    return caught.value.status_code or 0
