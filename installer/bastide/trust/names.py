"""Which metadata files a bundle has, for those who do not verify them; needs no tuf."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from bastide.layout import TIMESTAMP, metadata_path

ReadFile = Callable[[str], bytes | None]
MAX_ROOTS = 1024  # rotations in a publisher's life; bounds what a medium can make us read


def metadata_names(read: ReadFile) -> tuple[str, ...]:
    """Return the metadata files that a bundle has, without believing anything in them."""
    names: list[str] = []
    version = 1
    while version <= MAX_ROOTS and read(metadata_path("root", version)) is not None:
        names.append(metadata_path("root", version))
        version += 1
    name, role = TIMESTAMP, "snapshot"
    while name and (data := read(name)) is not None:
        names.append(name)
        name = _next_name(data, role)
        role = "targets" if role == "snapshot" else ""
    return tuple(names)


def _next_name(data: bytes, role: str) -> str:
    try:
        plain: Any = json.loads(data)
        version = plain["signed"]["meta"][f"{role}.json"]["version"]
    except (ValueError, LookupError, TypeError, RecursionError):
        return ""
    return metadata_path(role, version) if type(version) is int else ""
