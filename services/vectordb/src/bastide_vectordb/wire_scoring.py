"""How hits are scored: the ``query`` field of a query → Edge's query types."""

from __future__ import annotations

from collections.abc import Callable

import qdrant_edge as edge

from bastide_vectordb import wire_examples
from bastide_vectordb.errors import BadRequestError, UnsupportedError
from bastide_vectordb.json_types import EdgeValue, Json
from bastide_vectordb.wire_bm25 import is_document
from bastide_vectordb.wire_examples import VectorSource
from bastide_vectordb.wire_formula import formula_of
from bastide_vectordb.wire_values import count, fail, known_keys, number, string

_RRF_K = 2  # Qdrant's default constant of reciprocal rank fusion


def scoring_of(data: Json, using: str, source: VectorSource, limit: int) -> Json:
    """Edge's query of a JSON query; None (plain listing by id) stays None.

    Args:
        data: A vector, a point id, or an object that names the kind of query.
        using: The vector's name, empty for the unnamed one.
        source: Resolves ids to vectors.
        limit: Hits wanted; the default number of candidates for diversity.

    Raises:
        BadRequestError: not a query.
        UnsupportedError: a kind that Edge, or this service, does not have.
    """
    if data is None:
        return None
    if not isinstance(data, dict) or data.keys() == {"indices", "values"} or is_document(data):
        return edge.Query.Nearest(source.vector(data, using, "query"), using or None)
    for kind, read in _KINDS.items():
        if kind in data:
            return read(data, using, source, limit)
    if data.keys() & {"image", "object", "model"}:
        raise UnsupportedError("query: embedding by the database other than qdrant/bm25")
    return fail("query", f"a vector, a point id or one of {', '.join(_KINDS)}", sorted(data))


def _nearest(data: Json, using: str, source: VectorSource, limit: int) -> Json:
    known_keys(data, ("nearest", "mmr"), "query")
    vector = source.vector(data["nearest"], using, "query.nearest")
    mmr = data.get("mmr")
    if mmr is None:
        return edge.Query.Nearest(vector, using or None)
    known_keys(mmr, ("diversity", "candidates_limit"), "query.mmr")
    diversity = mmr.get("diversity")
    candidates = mmr.get("candidates_limit")
    return edge.Mmr(
        vector=vector,
        using=using or None,
        lambda_=1.0 - (0.5 if diversity is None else number(diversity, "query.mmr.diversity")),
        candidates_limit=limit if candidates is None else count(candidates, "candidates_limit"),
    )


def _fusion(data: Json) -> Json:
    if data == "rrf":
        return edge.Fusion.Rrf(k=_RRF_K)
    if data == "dbsf":
        return edge.Fusion.Dbsf()
    return fail("query.fusion", "rrf or dbsf", data)


def _rrf(data: Json) -> Json:
    known_keys(data, ("k", "weights"), "query.rrf")
    k = data.get("k")
    weights = data.get("weights")
    if weights is not None:
        if not isinstance(weights, list):
            fail("query.rrf.weights", "a list of numbers", weights)
        weights = [number(weight, "query.rrf.weights") for weight in weights]
    return edge.Fusion.Rrf(k=_RRF_K if k is None else count(k, "query.rrf.k"), weights=weights)


def order_by(data: Json, where: str = "order_by") -> Json:
    """An ordering by a payload field; None stays None."""
    if data is None:
        return None
    if isinstance(data, str):
        return edge.OrderBy(key=data)
    known_keys(data, ("key", "direction", "start_from"), where)
    ways = {"asc": edge.Direction.Asc, "desc": edge.Direction.Desc, None: None}
    way = data.get("direction")
    if way not in ways:
        fail(f"{where}.direction", "asc or desc", way)
    key = string(data.get("key"), f"{where}.key")
    return edge.OrderBy(key=key, direction=ways[way], start_from=data.get("start_from"))


def _text(data: Json, using: str, _source: VectorSource, _limit: int) -> EdgeValue:
    """BM25 over a payload field's text index; ``using`` names the field."""
    asked = known_keys(data, ("text",), "query")["text"]
    if not using:
        raise BadRequestError("using: a text query needs the name of the payload field")
    if isinstance(asked, str):
        return edge.TextQuery(using, asked)
    known_keys(asked, ("query", "scoring"), "query.text")
    text = string(asked.get("query"), "query.text.query")
    scoring = asked.get("scoring")
    if scoring is None:
        return edge.TextQuery(using, text)
    known_keys(scoring, ("bm25",), "query.text.scoring")
    given = known_keys(scoring.get("bm25"), ("k", "b"), "query.text.scoring.bm25")
    params = {
        k: number(v, f"query.text.scoring.bm25.{k}") for k, v in given.items() if v is not None
    }
    return edge.TextQuery(using, text, edge.Bm25Params(**params))


def _sample(data: Json) -> Json:
    if data != "random":
        fail("query.sample", "random", data)
    return edge.Sample.Random


_Reader = Callable[[Json, str, VectorSource, int], EdgeValue]


def _examples(name: str, read: Callable[[Json, str, VectorSource], EdgeValue]) -> _Reader:
    """A kind of query that starts from vectors or points."""
    return lambda data, using, source, _: read(
        known_keys(data, (name,), "query")[name], using, source
    )


def _plain(name: str, read: Callable[[Json], EdgeValue]) -> _Reader:
    """A kind of query that knows no vectors."""
    return lambda data, *_: read(known_keys(data, (name,), "query")[name])


_KINDS: dict[str, _Reader] = {
    "nearest": _nearest,
    "recommend": _examples("recommend", wire_examples.recommend),
    "discover": _examples("discover", wire_examples.discover),
    "context": _examples("context", wire_examples.context),
    "relevance_feedback": _examples("relevance_feedback", wire_examples.feedback),
    "order_by": _plain("order_by", order_by),
    "fusion": _plain("fusion", _fusion),
    "rrf": _plain("rrf", _rrf),
    "sample": _plain("sample", _sample),
    "formula": lambda data, *_: formula_of(data),
    "text": _text,
}
