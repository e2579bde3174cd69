"""Score boosting: a formula's JSON expression → Edge's expression tree. Pure."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import qdrant_edge as edge

from bastide_vectordb.errors import BadRequestError
from bastide_vectordb.json_types import EdgeValue, Json
from bastide_vectordb.wire_filter import condition_of, geo_point
from bastide_vectordb.wire_values import fail, known_keys, number, string

_MAX_DEPTH = 32
_E = edge.Expression
_DECAYS = {
    "lin_decay": edge.DecayKind.Lin,
    "gauss_decay": edge.DecayKind.Gauss,
    "exp_decay": edge.DecayKind.Exp,
}
_Reader = Callable[[Json, str, int], EdgeValue]


def formula_of(data: Json) -> EdgeValue:
    """The Edge query of a ``{"formula": …, "defaults": …}`` object.

    Raises:
        BadRequestError: an unknown operation, a wrong value, or nesting beyond 32 levels.
    """
    known_keys(data, ("formula", "defaults"), "query")
    defaults = data.get("defaults")
    if defaults is not None and not isinstance(defaults, dict):
        fail("query.defaults", "an object", defaults)
    return edge.Formula(_expression(data["formula"], "query.formula", 0), defaults or {})


def _expression(data: Json, where: str, depth: int) -> EdgeValue:
    if depth > _MAX_DEPTH:
        raise BadRequestError(f"{where}: formulas may nest at most {_MAX_DEPTH} levels deep")
    if isinstance(data, str):
        return _E.Variable(data)
    if not isinstance(data, dict):
        return _E.Constant(number(data, where))
    if len(data) == 1:
        ((kind, value),) = data.items()
        if kind in _OPERATIONS:
            return _OPERATIONS[kind](value, f"{where}.{kind}", depth + 1)
    return _E.Condition(condition_of(data, where, depth))


def _many(build: Callable[[list[Any]], EdgeValue]) -> _Reader:
    def read(data: Json, where: str, depth: int) -> EdgeValue:
        if not isinstance(data, list):
            fail(where, "a list of expressions", data)
        return build([_expression(one, f"{where}[{n}]", depth) for n, one in enumerate(data)])

    return read


def _one(build: Callable[[EdgeValue], EdgeValue]) -> _Reader:
    return lambda data, where, depth: build(_expression(data, where, depth))


def _optional(data: Json, where: str) -> float | None:
    return None if data is None else number(data, where)


def _div(data: Json, where: str, depth: int) -> EdgeValue:
    known_keys(data, ("left", "right", "by_zero_default"), where)
    return _E.Div(
        _expression(data.get("left"), f"{where}.left", depth),
        _expression(data.get("right"), f"{where}.right", depth),
        _optional(data.get("by_zero_default"), f"{where}.by_zero_default"),
    )


def _pow(data: Json, where: str, depth: int) -> EdgeValue:
    known_keys(data, ("base", "exponent"), where)
    return _E.Pow(
        _expression(data.get("base"), f"{where}.base", depth),
        _expression(data.get("exponent"), f"{where}.exponent", depth),
    )


def _decay(kind: EdgeValue) -> _Reader:
    def read(data: Json, where: str, depth: int) -> EdgeValue:
        known_keys(data, ("x", "target", "scale", "midpoint"), where)
        target = data.get("target")
        return _E.Decay(
            kind,
            _expression(data.get("x"), f"{where}.x", depth),
            None if target is None else _expression(target, f"{where}.target", depth),
            _optional(data.get("midpoint"), f"{where}.midpoint"),
            _optional(data.get("scale"), f"{where}.scale"),
        )

    return read


def _distance(data: Json, where: str, _depth: int) -> EdgeValue:
    known_keys(data, ("origin", "to"), where)
    origin = geo_point(data.get("origin"), f"{where}.origin")
    return _E.GeoDistance(origin, string(data.get("to"), f"{where}.to"))


_OPERATIONS: dict[str, _Reader] = {
    "mult": _many(_E.Mult),
    "sum": _many(_E.Sum),
    "max": _many(_E.Max),
    "min": _many(_E.Min),
    "neg": _one(_E.Neg),
    "abs": _one(_E.Abs),
    "sqrt": _one(_E.Sqrt),
    "exp": _one(_E.Exp),
    "log10": _one(_E.Log10),
    "ln": _one(_E.Ln),
    "acosh": _one(_E.Acosh),
    "div": _div,
    "pow": _pow,
    "geo_distance": _distance,
    "datetime": lambda data, where, _depth: _E.Datetime(string(data, where)),
    "datetime_key": lambda data, where, _depth: _E.DatetimeKey(string(data, where)),
    **{name: _decay(kind) for name, kind in _DECAYS.items()},
}
