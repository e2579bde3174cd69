"""Payload indexes: Qdrant's JSON ⇄ Edge's schemas. Pure."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import qdrant_edge as edge

from bastide_vectordb.json_types import Json
from bastide_vectordb.wire_values import fail, known_keys, string

_SCHEMAS: dict[str, tuple[Any, Callable[..., Any], tuple[str, ...]]] = {
    "keyword": (edge.PayloadSchemaType.Keyword, edge.KeywordIndexParams, ("is_tenant",)),
    "integer": (
        edge.PayloadSchemaType.Integer,
        edge.IntegerIndexParams,
        ("lookup", "range", "is_principal"),
    ),
    "float": (edge.PayloadSchemaType.Float, edge.FloatIndexParams, ("is_principal",)),
    "geo": (edge.PayloadSchemaType.Geo, edge.GeoIndexParams, ()),
    "bool": (edge.PayloadSchemaType.Bool, edge.BoolIndexParams, ()),
    "datetime": (edge.PayloadSchemaType.Datetime, edge.DatetimeIndexParams, ("is_principal",)),
    "uuid": (edge.PayloadSchemaType.Uuid, edge.UuidIndexParams, ("is_tenant",)),
    "text": (
        edge.PayloadSchemaType.Text,
        edge.TextIndexParams,
        (
            "tokenizer",
            "min_token_len",
            "max_token_len",
            "lowercase",
            "phrase_matching",
            "ascii_folding",
        ),
    ),
}


def index_schema(data: Json) -> tuple[str, Any, dict[str, Any] | None]:
    """An index's type name, Edge's schema of it, and its parameters as given.

    Raises:
        BadRequestError: the schema is missing, unknown or has an unknown parameter.
    """
    if isinstance(data, str):
        if data not in _SCHEMAS:
            fail("field_schema", ", ".join(_SCHEMAS), data)
        return data, _SCHEMAS[data][0], None
    if not isinstance(data, dict) or data.get("type") not in _SCHEMAS:
        fail("field_schema", f"{', '.join(_SCHEMAS)}, or an object with such a type", data)
    kind = data["type"]
    _, params, keys = _SCHEMAS[kind]
    known_keys(data, ("type", "on_disk", "enable_hnsw", *keys), "field_schema")
    given = {name: value for name, value in data.items() if name != "type" and value is not None}
    if "tokenizer" in given:
        name = string(given["tokenizer"], "field_schema.tokenizer").capitalize()
        if not hasattr(edge.TokenizerType, name):
            fail("field_schema.tokenizer", "prefix, whitespace, word or multilingual", name)
        return kind, params(**{**given, "tokenizer": getattr(edge.TokenizerType, name)}), data
    return kind, params(**given), data


def index_to_json(index: Json) -> dict[str, Any]:
    """A payload index of Edge's as Qdrant's collection info shows it."""
    kind = next(name for name, row in _SCHEMAS.items() if row[0] == index.data_type)
    out: dict[str, Any] = {"data_type": kind, "points": index.points}
    if index.params is not None:
        shown = {
            key: value
            for key in ("on_disk", "enable_hnsw", *_SCHEMAS[kind][2])
            if (value := getattr(index.params, key, None)) is not None
        }
        if "tokenizer" in shown:
            shown["tokenizer"] = str(shown["tokenizer"]).rpartition(".")[2].lower()
        out["params"] = {"type": kind, **shown}
    return out
