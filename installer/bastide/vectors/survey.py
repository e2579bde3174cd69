"""What a vector DB holds, for people and machines."""

from __future__ import annotations

from dataclasses import dataclass

from bastide.vectors import shape
from bastide.vectors.endpoint import Endpoint, RefusedError


@dataclass(frozen=True)
class CollectionStatus:
    """One collection.

    Args:
        name: Its name.
        status: ``green``, ``yellow`` (being optimised), ``grey`` or ``red``.
        points: How many points it has.
        indexed_vectors: How many vectors the HNSW index has.
        segments: Parts that it is stored in.
        vectors: Names of its vectors; the unnamed one is empty.
        payload_indexes: Fields with an index.
        replication_factor: Copies of each shard.
        aliases: Its other names.
    """

    name: str
    status: str
    points: int
    indexed_vectors: int
    segments: int
    vectors: tuple[str, ...]
    payload_indexes: tuple[str, ...]
    replication_factor: int
    aliases: tuple[str, ...]


@dataclass(frozen=True)
class VectorStatus:
    """A vector DB.

    Args:
        url: Its address.
        engine: ``edge`` or ``server``.
        version: The engine's version.
        peers: Addresses of a cluster's members; none outside a cluster.
        collections: What it holds, by name.
    """

    url: str
    engine: str
    version: str
    peers: tuple[str, ...]
    collections: tuple[CollectionStatus, ...]


def survey(endpoint: Endpoint) -> VectorStatus:
    """Return what a vector DB holds.

    Raises:
        ApplyError: It does not answer, or refuses.
    """
    engine, version = endpoint.engine()
    aliases = endpoint.aliases()
    found = []
    for name in endpoint.collections():
        info = endpoint.info(name)
        found.append(
            CollectionStatus(
                name=name,
                status=str(info.get("status", "")),
                points=int(info.get("points_count") or 0),
                indexed_vectors=int(info.get("indexed_vectors_count") or 0),
                segments=int(info.get("segments_count") or 0),
                vectors=shape.vector_names(info),
                payload_indexes=tuple(shape.indexes(info)),
                replication_factor=int(info["config"]["params"].get("replication_factor") or 1),
                aliases=tuple(sorted(a for a, target in aliases.items() if target == name)),
            )
        )
    return VectorStatus(endpoint.url, str(engine), version, _peers(endpoint), tuple(found))


def _peers(endpoint: Endpoint) -> tuple[str, ...]:
    try:
        peers = endpoint.ask("GET", "/cluster").get("peers", {})
    except RefusedError:  # an older service, or a key that may not know
        return ()
    return tuple(sorted(str(peer.get("uri", "")) for peer in peers.values()))
