"""What a collection's folder says of itself: ``collection.json``."""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

META = "collection.json"


@dataclass(frozen=True)
class Stored:
    """What ``collection.json`` holds.

    Args:
        settings: The collection's settings as created or changed.
        shard: Name of the shard's folder beside this file.
        created: Unix time of creation, seconds.
        pending: Settings that were about to hold when this was written; None: none.
    """

    settings: dict[str, Any]
    shard: str
    created: float
    pending: dict[str, Any] | None = None

    def dump(self) -> bytes:
        """As JSON."""
        data = {"format": 1, **self.__dict__}
        if self.pending is None:  # an earlier version of the service knows no such field
            del data["pending"]
        return orjson.dumps(data, option=orjson.OPT_INDENT_2)

    @classmethod
    def load(cls, path: Path) -> Stored:
        """From a file.

        Raises:
            ValueError: not a collection file of a format that we know.
        """
        data = orjson.loads(path.read_bytes())
        if data.pop("format", None) != 1:
            raise ValueError(f"{path}: unknown format of collection file")
        return cls(**data)


def new_shard_name() -> str:
    """A name for a shard's folder that was never used before."""
    return f"shard-{uuid.uuid4().hex[:12]}"
