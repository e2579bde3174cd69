"""Texts that the database turns into sparse vectors itself: the model ``qdrant/bm25``.

Qdrant's server has this one model built in, and so has Edge; every other model is a service of
its own, which is called through the gateway's ``/v1/embeddings`` instead.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import orjson
import qdrant_edge as edge

from bastide_vectordb.errors import UnsupportedError
from bastide_vectordb.json_types import EdgeValue, Json
from bastide_vectordb.wire_text import text_options
from bastide_vectordb.wire_values import fail, known_keys, number, string

MODEL = "qdrant/bm25"
_NUMBERS = ("k", "b", "avg_len")
_OPTIONS = (
    *_NUMBERS,
    "tokenizer",
    "language",
    "lowercase",
    "ascii_folding",
    "stopwords",
    "stemmer",
    "min_token_len",
    "max_token_len",
)


def is_document(value: Json) -> bool:
    """Whether ``value`` is a text, an image or an object with the model that is to embed it."""
    return isinstance(value, dict) and isinstance(value.get("model"), str)


@lru_cache(maxsize=32)
def _model(options: bytes) -> EdgeValue:
    given: dict[str, Any] = orjson.loads(options)
    out: dict[str, EdgeValue] = {k: number(given[k], k) for k in _NUMBERS if k in given}
    if "language" in given:
        out["language"] = string(given["language"], "language")
    texts = {k: v for k, v in given.items() if k not in out}
    return edge.Bm25(edge.Bm25Config(**out, **text_options(texts, "options")))


def embed(data: Json, where: str, *, query: bool) -> EdgeValue:
    """The sparse vector of a document, or of a query for documents.

    Raises:
        BadRequestError: an option is unknown or wrong.
        UnsupportedError: another model.
    """
    if data["model"].lower() != MODEL:
        raise UnsupportedError(f"{where}: embedding by the database other than {MODEL}")
    known_keys(data, ("text", "model", "options"), where)
    text = string(data.get("text"), f"{where}.text")
    options = data.get("options") or {}
    if not isinstance(options, dict):
        fail(f"{where}.options", "an object", options)
    given = {k: v for k, v in known_keys(options, _OPTIONS, where).items() if v is not None}
    model = _model(orjson.dumps(given, option=orjson.OPT_SORT_KEYS))
    return model.embed_query(text) if query else model.embed_document(text)
