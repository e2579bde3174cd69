"""How text is cut into words: the options that text indexes and BM25 share. Pure."""

from __future__ import annotations

from typing import Any

import qdrant_edge as edge

from bastide_vectordb.json_types import EdgeValue, Json
from bastide_vectordb.wire_values import boolean, count, fail, known_keys, string

TEXT_OPTIONS = (
    "tokenizer",
    "min_token_len",
    "max_token_len",
    "lowercase",
    "ascii_folding",
    "stopwords",
    "stemmer",
)
_COUNTS = ("min_token_len", "max_token_len")
_SWITCHES = ("lowercase", "ascii_folding")


def member(group: EdgeValue, name: Json, where: str) -> EdgeValue:
    """The member of one of Edge's enumerations that Qdrant's JSON calls ``name``.

    Raises:
        BadRequestError: there is none.
    """
    known = {key.lower(): key for key in vars(group) if key[:1].isupper()}
    wanted = string(name, where).replace("_", "").lower()
    if wanted not in known:
        fail(where, f"one of {', '.join(sorted(known))}", name)
    return getattr(group, known[wanted])


def _stopwords(data: Json, where: str) -> EdgeValue:
    if isinstance(data, str):
        return member(edge.Language, data, where)
    known_keys(data, ("languages", "custom"), where)
    lists = {key: data.get(key) or [] for key in ("languages", "custom")}
    for key, value in lists.items():
        if not isinstance(value, list):
            fail(f"{where}.{key}", "a list of strings", value)
    return edge.StopwordsSet(
        languages={member(edge.Language, item, where) for item in lists["languages"]},
        custom={string(item, where) for item in lists["custom"]},
    )


def _stemmer(data: Json, where: str) -> EdgeValue:
    known_keys(data, ("type", "language"), where)
    kind = data.get("type")
    if kind == "none":
        return edge.DisabledStemmer()
    if kind != "snowball":
        fail(f"{where}.type", "snowball or none", kind)
    return edge.SnowballParams(member(edge.SnowballLanguage, data.get("language"), where))


def text_options(data: dict[str, Any], where: str) -> dict[str, EdgeValue]:
    """Edge's arguments for the options among ``TEXT_OPTIONS`` that are given.

    Raises:
        BadRequestError: a wrong value.
    """
    out: dict[str, EdgeValue] = {}
    for name, value in data.items():
        here = f"{where}.{name}"
        if name in _COUNTS:
            out[name] = count(value, here)
        elif name in _SWITCHES:
            out[name] = boolean(value, here)
        elif name == "tokenizer":
            out[name] = member(edge.TokenizerType, value, here)
        elif name == "stopwords":
            out[name] = _stopwords(value, here)
        elif name == "stemmer":
            out[name] = _stemmer(value, here)
    return out
