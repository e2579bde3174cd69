"""A shard on disk: made, and its log forced to the disk."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import qdrant_edge as edge

from bastide_vectordb import wire_config
from bastide_vectordb.errors import ApiError, BadRequestError


def sync_wal(shard: Path) -> None:
    """Force the write-ahead log to the disk: after this the last write survives a power cut.

    Edge appends to a memory-mapped file and leaves the writing to the kernel.
    """
    with os.scandir(shard / "wal") as entries:
        for entry in entries:
            if entry.name.startswith("open-"):
                handle = os.open(entry.path, os.O_RDONLY)
                try:
                    os.fdatasync(handle)
                finally:
                    os.close(handle)


def create_shard(path: Path, settings: dict[str, Any]) -> None:
    """Make an empty shard on disk, flushed and closed.

    Raises:
        ApiError: Edge refuses the settings.
    """
    try:
        shard = edge.EdgeShard.create(str(path), wire_config.edge_config(settings))
    except ApiError:
        raise
    except Exception as error:
        raise BadRequestError(f"collection settings: {error}") from error
    shard.flush()
    shard.close()
