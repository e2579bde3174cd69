"""How vectors are compressed: Qdrant's JSON → Edge's settings. Pure."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import qdrant_edge as edge

from bastide_vectordb.json_types import EdgeValue, Json
from bastide_vectordb.wire_text import member
from bastide_vectordb.wire_values import boolean, fail, known_keys, number

_RATIOS = {f"x{n}": getattr(edge.CompressionRatio, f"X{n}") for n in (4, 8, 16, 32, 64)}
_BITS = {
    "bits1": edge.TurboQuantBitSize.Bits1,
    "bits1_5": edge.TurboQuantBitSize.Bits1_5,
    "bits2": edge.TurboQuantBitSize.Bits2,
    "bits4": edge.TurboQuantBitSize.Bits4,
    "bits8": edge.TurboQuantBitSize.Bits8,
}


def _scalar(given: dict[str, Any], common: dict[str, EdgeValue], where: str) -> EdgeValue:
    if given.get("type", "int8") != "int8":
        fail(f"{where}.type", "int8", given["type"])
    quantile = given.get("quantile")
    if quantile is not None and not 0.5 <= number(quantile, f"{where}.quantile") <= 1:
        fail(f"{where}.quantile", "0.5 to 1", quantile)
    return edge.ScalarQuantizationConfig(type=edge.ScalarType.Int8, quantile=quantile, **common)


def _product(given: dict[str, Any], common: dict[str, EdgeValue], where: str) -> EdgeValue:
    ratio = given.get("compression")
    if not isinstance(ratio, str) or ratio not in _RATIOS:
        fail(f"{where}.compression", ", ".join(_RATIOS), ratio)
    return edge.ProductQuantizationConfig(compression=_RATIOS[ratio], **common)


def _binary(given: dict[str, Any], common: dict[str, EdgeValue], where: str) -> EdgeValue:
    groups = {
        "encoding": edge.BinaryQuantizationEncoding,
        "query_encoding": edge.BinaryQuantizationQueryEncoding,
    }
    chosen = {
        name: member(group, given[name], f"{where}.{name}")
        for name, group in groups.items()
        if name in given
    }
    return edge.BinaryQuantizationConfig(**chosen, **common)


def _turbo(given: dict[str, Any], common: dict[str, EdgeValue], where: str) -> EdgeValue:
    bits = given.get("bits")
    if bits is not None and (not isinstance(bits, str) or bits not in _BITS):
        fail(f"{where}.bits", ", ".join(_BITS), bits)
    return edge.TurboQuantQuantizationConfig(bits=None if bits is None else _BITS[bits], **common)


_Builder = Callable[[dict[str, Any], dict[str, EdgeValue], str], EdgeValue]
_KINDS: dict[str, tuple[_Builder, tuple[str, ...]]] = {
    "scalar": (_scalar, ("type", "quantile")),
    "product": (_product, ("compression",)),
    "binary": (_binary, ("encoding", "query_encoding")),
    "turbo": (_turbo, ("bits",)),
}


def quantization(data: Json, where: str = "quantization_config") -> EdgeValue:
    """Edge's quantisation settings; None and ``"Disabled"`` are none.

    Raises:
        BadRequestError: an unknown kind or parameter, or a wrong value.
    """
    if data is None or data == "Disabled":
        return None
    if not isinstance(data, dict) or len(data) != 1 or next(iter(data)) not in _KINDS:
        fail(where, f"one of {', '.join(_KINDS)}", data)
    ((kind, value),) = data.items()
    build, keys = _KINDS[kind]
    here = f"{where}.{kind}"
    known_keys(value, ("always_ram", "memory", *keys), here)
    given = {name: item for name, item in value.items() if item is not None}
    common: dict[str, EdgeValue] = {}
    if "always_ram" in given:
        common["always_ram"] = boolean(given["always_ram"], f"{here}.always_ram")
    if "memory" in given:
        common["memory"] = member(edge.Memory, given["memory"], f"{here}.memory")
    return build(given, common, here)
