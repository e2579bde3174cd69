"""Rules of the vector DB's engine that no upgrade manifest can lift. Pure.

Qdrant's server goes one minor at a time, from the last patch of each, and never down. Of its Linux
archives, three were built without RocksDB and silently lose data that older versions wrote
(docs/upgrade-manifest.md). A data folder of one engine is not the other's.
"""

from __future__ import annotations

import re

from bastide.errors import ConfigError
from bastide.schema.artifact import ArtifactKind, Component, Manifest
from bastide.schema.release import Release
from bastide.schema.site import Site
from bastide.schema.vectordb import VectorEngine

EDGE = "edge"
SERVER = "server"
WITHOUT_ROCKSDB = frozenset({(1, 16, 2), (1, 16, 3), (1, 17, 0)})
# The patch from which data may go on to the next minor, by minor of Qdrant 1.
LAST_PATCH = {15: 5, 16: 1, 17: 1, 18: 3}

NOT_IN_RELEASE = "BAS-2140"
PROGRAM = "qdrant"

Version = tuple[int, int, int]


def require_engine(site: Site, manifest: Manifest) -> None:
    """Refuse a site whose engine the bundle does not carry.

    Raises:
        ConfigError: It carries the other one.
    """
    programs = manifest.of_kind(ArtifactKind.BINARY)
    server = any(a.name == PROGRAM and Component.VECTORDB in a.components for a in programs)
    if server != (site.vectordb.engine is VectorEngine.SERVER):
        carried = VectorEngine.SERVER if server else VectorEngine.EDGE
        raise ConfigError(
            f"site.yaml: vectordb.engine is {site.vectordb.engine}, but the release "
            f"{manifest.release} carries the engine {carried}",
            code=NOT_IN_RELEASE,
            hint=f"set vectordb.engine: {carried}, or import a bundle of a release with the other "
            "engine; data moves by bastide vectordb migrate",
        )


def why_engine_forbids(before: Release, after: Release) -> str:
    """Return which rule of the engine forbids the step; empty if none does."""
    old, new = before.components[Component.VECTORDB], after.components[Component.VECTORDB]
    if old.engine != new.engine:
        moved = any(m.component is Component.VECTORDB for m in after.upgrade.data_migrations)
        what = f"the vector DB's engine changes from {old.engine} to {new.engine}"
        return "" if moved else f"{what}, and no data migration moves the data"
    if old.version == new.version or old.engine not in {EDGE, SERVER}:
        return ""
    first, second = _version(old.version), _version(new.version)
    step = f"the vector DB would go from {old.version} to {new.version}"
    if first is None or second is None:
        return f"{step}, and these versions cannot be compared"
    if second < first:
        return f"{step}, and its data cannot be read by an older version"
    return _server_rule(first, second, step) if old.engine == SERVER else ""


def _server_rule(first: Version, second: Version, step: str) -> str:
    if second in WITHOUT_ROCKSDB:
        return f"{step}, whose archive lacks RocksDB and silently loses older data"
    if second[:2] == first[:2]:
        return ""
    if second[0] != first[0] or second[1] > first[1] + 1:
        return f"{step}; Qdrant goes one minor at a time"
    patch = LAST_PATCH.get(first[1], 0) if first[0] == 1 else 0
    if first[2] < patch:
        return f"{step}; it has to be 1.{first[1]}.{patch} before the next minor"
    return ""


def _version(text: str) -> Version | None:
    found = re.fullmatch(r"v?(\d+)\.(\d+)\.(\d+)", text)
    return (int(found[1]), int(found[2]), int(found[3])) if found else None
