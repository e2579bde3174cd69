"""Frames between the HTTP process and an engine process, over a socket pair. Pure."""

from __future__ import annotations

import struct
from collections.abc import Iterator

import orjson

_REQUEST = struct.Struct("<IIBI")  # length of what follows, number, operation, length of meta
_RESPONSE = struct.Struct("<IIH")  # length of what follows, number, HTTP status

OPERATIONS = (
    "create",
    "open",
    "close",
    "upsert",
    "delete",
    "set_payload",
    "overwrite_payload",
    "delete_payload",
    "clear_payload",
    "update_vectors",
    "delete_vectors",
    "batch",
    "index_create",
    "index_delete",
    "vector_create",
    "vector_delete",
    "query",
    "query_batch",
    "query_groups",
    "scroll",
    "count",
    "facet",
    "matrix_pairs",
    "matrix_offsets",
    "retrieve",
    "get_point",
    "info",
    "flush",
    "optimize",
    "vector_names",
)
WRITES = frozenset(OPERATIONS[3:16])
_CODES = {name: code for code, name in enumerate(OPERATIONS)}


def request(number: int, operation: str, body: bytes, meta: dict[str, object] | None) -> bytes:
    """One request frame."""
    extra = orjson.dumps(meta) if meta else b""
    length = _REQUEST.size - 4 + len(extra) + len(body)
    return _REQUEST.pack(length, number, _CODES[operation], len(extra)) + extra + body


def response(number: int, status: int, body: bytes) -> bytes:
    """One response frame."""
    return _RESPONSE.pack(_RESPONSE.size - 4 + len(body), number, status) + body


class Requests:
    """Splits a byte stream into request frames."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, data: bytes) -> None:
        """Add received bytes."""
        self._buffer += data

    def __iter__(self) -> Iterator[tuple[int, str, dict[str, object], bytes]]:
        """Number, operation, meta and body of every whole frame so far."""
        buffer = self._buffer
        while len(buffer) >= _REQUEST.size:
            length, number, code, extra = _REQUEST.unpack_from(buffer)
            if len(buffer) < length + 4:
                return
            start = _REQUEST.size + extra
            meta = orjson.loads(buffer[_REQUEST.size : start]) if extra else {}
            body = bytes(buffer[start : length + 4])
            del buffer[: length + 4]
            yield number, OPERATIONS[code], meta, body


class Responses:
    """Splits a byte stream into response frames."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, data: bytes) -> Iterator[tuple[int, int, bytes]]:
        """Number, status and body of every frame that ``data`` completes."""
        buffer = self._buffer
        buffer += data
        while len(buffer) >= _RESPONSE.size:
            length, number, status = _RESPONSE.unpack_from(buffer)
            if len(buffer) < length + 4:
                return
            body = bytes(buffer[_RESPONSE.size : length + 4])
            del buffer[: length + 4]
            yield number, status, body
