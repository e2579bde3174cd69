"""JSON values ⇄ Edge values that all requests share: ids, vectors, payload selectors."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NoReturn
from uuid import UUID

import orjson
import qdrant_edge as edge

from bastide_vectordb.errors import BadRequestError, UnsupportedError
from bastide_vectordb.json_types import Json

# Edge writes deeper payloads than it reads: one of 124 levels, and its log cannot be replayed.
MAX_PAYLOAD_DEPTH = 100


def fail(where: str, expected: str, got: object) -> NoReturn:
    """Raise the error of one wrong value.

    Raises:
        BadRequestError: always; names the field, what was expected and what came.
    """
    shown = repr(got)
    raise BadRequestError(f"{where}: expected {expected}, got {shown[:80]}")


def loads(body: bytes) -> Json:
    """A JSON body; an empty one is an empty object.

    Raises:
        BadRequestError: not JSON.
    """
    try:
        return orjson.loads(body) if body else {}
    except orjson.JSONDecodeError as error:
        raise BadRequestError(f"body is not JSON: {error}") from error


def known_keys(data: Json, allowed: Iterable[str], where: str) -> dict[str, Any]:
    """``data`` as an object that has no keys but ``allowed``.

    Raises:
        BadRequestError: not an object, or it has an unknown key.
    """
    if not isinstance(data, dict):
        fail(where, "an object", data)
    extra = data.keys() - set(allowed)
    if extra:
        names = ", ".join(sorted(allowed))
        raise BadRequestError(
            f"{where}: unknown field {', '.join(map(repr, sorted(extra)))}, expected one of {names}"
        )
    if data.get("shard_key") is not None:
        raise UnsupportedError("shard_key")
    return data


def point_id(value: Json, where: str = "id") -> int | str:
    """A point id: an unsigned 64-bit integer or a UUID.

    Raises:
        BadRequestError: anything else.
    """
    if type(value) is int and 0 <= value < 1 << 64:
        return value
    if isinstance(value, str):
        try:
            return str(UUID(value))
        except ValueError:
            pass
    fail(where, "an unsigned integer or a UUID", value)


def point_id_of_path(text: str) -> int | str:
    """A point id out of a URL."""
    return point_id(int(text) if text.isascii() and text.isdigit() else text)


def point_ids(values: Json, where: str = "ids") -> list[int | str]:
    """A list of point ids."""
    if not isinstance(values, list):
        fail(where, "a list of point ids", values)
    return [point_id(value, where) for value in values]


def count(value: Json, where: str, *, least: int = 0) -> int:
    """A whole number of at least ``least``."""
    if type(value) is not int or value < least or value >= 1 << 32:
        fail(where, f"a whole number of at least {least}", value)
    return value


def number(value: Json, where: str) -> float:
    """A number; ``true`` and ``false`` are none."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        fail(where, "a number", value)
    return float(value)


def string(value: Json, where: str) -> str:
    """A string."""
    if not isinstance(value, str):
        fail(where, "a string", value)
    return value


def boolean(value: Json, where: str) -> bool:
    """``true`` or ``false``."""
    if not isinstance(value, bool):
        fail(where, "true or false", value)
    return value


def _too_deep(value: Json, left: int) -> bool:
    if left <= 0:
        return True
    items = value.values() if isinstance(value, dict) else value
    return any(_too_deep(item, left - 1) for item in items if isinstance(item, (dict, list)))


def payload(value: Json, where: str = "payload", key: Json = None) -> dict[str, Any] | None:
    """A payload object, or nothing.

    Args:
        value: The object.
        where: Where it stands, for errors.
        key: The field below which it is put.

    Raises:
        BadRequestError: not an object, or so deep that Edge could not read it again.
    """
    if value is None:
        return None
    if not isinstance(value, dict):
        fail(where, "an object", value)
    steps = 0 if key is None else 1 + key.count(".") + key.count("[")
    if _too_deep(value, MAX_PAYLOAD_DEPTH - steps):
        raise BadRequestError(f"{where}: more than {MAX_PAYLOAD_DEPTH} levels deep")
    return value


def with_payload(value: Json, *, default: bool) -> Json:
    """Which payload fields to return, in Edge's form."""
    if value is None:
        return default
    if isinstance(value, (bool, list)):
        return value
    if isinstance(value, dict) and len(value) == 1:
        if "include" in value:
            return edge.PayloadSelector.Include(keys=value["include"])
        if "exclude" in value:
            return edge.PayloadSelector.Exclude(keys=value["exclude"])
    fail("with_payload", "true, false, a list of fields, or include/exclude", value)


def with_vector(value: Json) -> Json:
    """Which vectors to return, in Edge's form."""
    if value is None:
        return False
    if isinstance(value, (bool, list)):
        return value
    fail("with_vector", "true, false or a list of vector names", value)
