"""Payload indexes: Qdrant's JSON ⇄ Edge's schemas. Pure."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import qdrant_edge as edge

from bastide_vectordb.json_types import EdgeValue, Json
from bastide_vectordb.wire_text import TEXT_OPTIONS, member, text_options
from bastide_vectordb.wire_values import boolean, fail, known_keys, string

_SWITCHES = ("on_disk", "enable_hnsw")
_SCHEMAS: dict[str, tuple[Any, Callable[..., Any], tuple[str, ...]]] = {
    "keyword": (edge.PayloadSchemaType.Keyword, edge.KeywordIndexParams, ("is_tenant", "prefix")),
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
        ("phrase_matching", "scoring", *TEXT_OPTIONS),
    ),
}


def _scoring(data: Json) -> EdgeValue:
    if isinstance(data, bool):
        return data
    known_keys(data, ("type",), "field_schema.scoring")
    if data.get("type", "bm25") != "bm25":
        fail("field_schema.scoring.type", "bm25", data["type"])
    return edge.TextScoringParams(edge.TextScoringType.Bm25)


def _argument(name: str, value: Json) -> EdgeValue:
    where = f"field_schema.{name}"
    if name == "memory":
        return member(edge.Memory, value, where)
    if name == "nested":
        return string(value, where)
    return _scoring(value) if name == "scoring" else boolean(value, where)


def index_schema(data: Json) -> tuple[str, Any, dict[str, Any] | None]:
    """An index's type name, Edge's schema of it, and its parameters as given.

    Raises:
        BadRequestError: the schema is missing, unknown or has an unknown parameter.
    """
    if isinstance(data, str):
        if data not in _SCHEMAS:
            fail("field_schema", ", ".join(_SCHEMAS), data)
        return data, _SCHEMAS[data][0], None
    kind = data.get("type") if isinstance(data, dict) else None
    if not isinstance(kind, str) or kind not in _SCHEMAS:
        fail("field_schema", f"{', '.join(_SCHEMAS)}, or an object with such a type", data)
    _, params, keys = _SCHEMAS[kind]
    known_keys(data, ("type", *_SWITCHES, "memory", "nested", *keys), "field_schema")
    given = {name: value for name, value in data.items() if name != "type" and value is not None}
    texts = {name: value for name, value in given.items() if name in TEXT_OPTIONS}
    rest = {name: _argument(name, value) for name, value in given.items() if name not in texts}
    return kind, params(**rest, **text_options(texts, "field_schema")), data


def _shown(value: EdgeValue) -> Json:
    """One parameter of an index of Edge's as JSON."""
    if isinstance(value, edge.StopwordsSet):
        return {
            "languages": sorted(map(_shown, value.languages or ())),
            "custom": sorted(value.custom or ()),
        }
    if isinstance(value, edge.SnowballParams):
        return {"type": "snowball", "language": _shown(value.language)}
    if isinstance(value, edge.DisabledStemmer):
        return {"type": "none"}
    if isinstance(value, edge.TextScoringParams):
        return True
    return value if isinstance(value, (bool, int, str)) else str(value).rpartition(".")[2].lower()


def index_to_json(index: Json) -> dict[str, Any]:
    """A payload index of Edge's as Qdrant's collection info shows it."""
    kind = next(name for name, row in _SCHEMAS.items() if row[0] == index.data_type)
    out: dict[str, Any] = {"data_type": kind, "points": index.points}
    if index.params is not None:
        shown = {
            key: _shown(value)
            for key in (*_SWITCHES, "memory", "nested", *_SCHEMAS[kind][2])
            if (value := getattr(index.params, key, None)) is not None
        }
        out["params"] = {"type": kind, **shown}
    return out
