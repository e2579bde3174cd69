"""Who may do what. Pure."""

from __future__ import annotations

import hmac
from collections.abc import Iterable

from bastide_vectordb.config import Keys
from bastide_vectordb.errors import ApiError

OPEN_PATHS = frozenset({"/", "/healthz", "/livez", "/readyz"})


def _offered(headers: Iterable[tuple[bytes, bytes]]) -> bytes | None:
    bearer = None
    for name, value in headers:
        if name == b"api-key":
            return value
        if name == b"authorization" and value[:7].lower() == b"bearer ":
            bearer = value[7:].strip()
    return bearer


def _equal(offered: bytes, key: bytes | None) -> bool:
    return key is not None and hmac.compare_digest(offered, key)


def check(keys: Keys, headers: Iterable[tuple[bytes, bytes]], path: str, *, reading: bool) -> None:
    """Let a request pass, or refuse it.

    Args:
        keys: The service's keys.
        headers: The request's headers, names in lower case.
        path: The URL's path.
        reading: Whether the read-only key suffices for what is asked.

    Raises:
        ApiError: 401 without a right key, 403 where the read-only key does not suffice.
    """
    if keys.full is None or path in OPEN_PATHS:
        return
    offered = _offered(headers)
    if offered is None:
        raise ApiError(401, "Must provide an API key or an Authorization bearer token")
    # Both are compared, whatever the first says: the time taken must not tell them apart.
    full, read_only = _equal(offered, keys.full), _equal(offered, keys.read_only)
    if full:
        return
    if not read_only:
        raise ApiError(401, "Invalid API key or JWT")
    if not reading:
        raise ApiError(403, "Forbidden: this needs the full API key; the read-only key was given")
