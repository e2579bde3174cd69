"""Nothing is had without a key, and the read-only key cannot change anything."""

from __future__ import annotations

from typing import Any

import httpx
import openai
import pytest
from qdrant_client import QdrantClient, models
from qdrant_client.http.exceptions import UnexpectedResponse

from bastide.schema.expectations import Expectations
from bastide.verify.suite import PREFIX, Key, Saw

pytestmark = pytest.mark.area("API keys")

WRONG = {"Authorization": "Bearer bst_this-is-not-a-key"}
EMPTY: dict[str, str] = {}
OPENAI_ROUTES = (
    ("GET", "/v1/models"),
    ("POST", "/v1/chat/completions"),
    ("POST", "/v1/completions"),
    ("POST", "/v1/responses"),
    ("POST", "/v1/embeddings"),
)
QDRANT_ROUTES = (("GET", "/vectordb/collections"), ("PUT", "/vectordb/collections/x"))


def _answers(web: httpx.Client, routes: tuple[tuple[str, str], ...]) -> list[tuple[str, Any]]:
    found = []
    for method, path in routes:
        for headers in (EMPTY, WRONG, {"api-key": "bst_wrong"}, {"Authorization": "Basic eDp4"}):
            body: dict[str, str] | None = None if method == "GET" else {}
            answer = web.request(method, path, headers=headers, json=body)
            found.append((f"{method} {path} with {headers or 'no key'}", answer))
    return found


def test_openai_routes_demand_a_key(web: httpx.Client, saw: Saw) -> None:
    """Without a key or with a wrong one, /v1 answers 401 in OpenAI's error shape"""
    answers = _answers(web, OPENAI_ROUTES)
    for what, answer in answers:
        assert answer.status_code == 401, f"{what}: expected 401, found {answer.status_code}"
        error = answer.json()["error"]
        assert error["code"] == "invalid_api_key", f"{what}: {error}"
        assert error["message"], f"{what}: no message"
    saw(f"{len(answers)} requests, all refused")


def test_vectordb_demands_a_key(web: httpx.Client, saw: Saw) -> None:
    """Without a key or with a wrong one, /vectordb answers 401 in Qdrant's error shape"""
    answers = _answers(web, QDRANT_ROUTES)
    for what, answer in answers:
        assert answer.status_code == 401, f"{what}: expected 401, found {answer.status_code}"
        assert answer.json()["status"]["error"], f"{what}: {answer.text}"
    saw(f"{len(answers)} requests, all refused")


def test_clients_understand_the_refusal(chat: openai.OpenAI) -> None:
    """The `openai` client reports a wrong key as what it is"""
    with pytest.raises(openai.AuthenticationError) as refusal:
        chat.with_options(api_key="bst_wrong").models.list()
    assert refusal.value.code == "invalid_api_key"


def test_health_needs_no_key(web: httpx.Client, saw: Saw) -> None:
    """/healthz answers 200 without a key: every service has a live server"""
    answer = web.get("/healthz")
    saw(answer.text.strip())
    assert answer.status_code == 200, f"expected 200, found {answer.status_code}: {answer.text}"


def test_inner_routes_are_closed(web: httpx.Client, api_key: Key) -> None:
    """Metrics and unknown routes are not served, even with a key"""
    for path in ("/metrics", "/vectordb/metrics", "/vectordb/telemetry", "/docs", "/"):
        answer = web.get(path, headers={"api-key": api_key.value})
        assert answer.status_code == 404, f"{path}: expected 404, found {answer.status_code}"


def test_read_only_key_can_read(
    expected: Expectations, chat: openai.OpenAI, vectordb_reader: QdrantClient, read_only_key: Key
) -> None:
    """The read-only key lists models and collections"""
    served = chat.with_options(api_key=read_only_key.value).models.list()
    assert expected.chat_model in {model.id for model in served}
    assert vectordb_reader.get_collections() is not None


def test_read_only_key_cannot_write(vectordb: QdrantClient, vectordb_reader: QdrantClient) -> None:
    """The read-only key can neither create nor delete a collection"""
    name = f"{PREFIX}0-never"
    parameters = models.VectorParams(size=4, distance=models.Distance.COSINE)
    refused = []
    with pytest.raises(UnexpectedResponse) as refusal:
        vectordb_reader.create_collection(name, vectors_config=parameters)
    refused.append(refusal.value.status_code)
    with pytest.raises(UnexpectedResponse) as refusal:
        vectordb_reader.delete_collection(name)
    refused.append(refusal.value.status_code)
    assert refused == [403, 403], f"expected 403 twice, found {refused}"
    assert not vectordb.collection_exists(name)


def test_read_only_key_takes_no_snapshot(web: httpx.Client, read_only_key: Key) -> None:
    """The read-only key cannot have the vector DB's data written into a snapshot"""
    answer = web.post("/vectordb/snapshots", headers={"api-key": read_only_key.value})
    assert answer.status_code == 403, f"expected 403, found {answer.status_code}: {answer.text}"
    assert answer.json()["status"]["error"]
