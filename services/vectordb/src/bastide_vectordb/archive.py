"""The snapshot file: a plain tar of one shard, a manifest first. Reading trusts nothing in it.

Edge preallocates its files; each is stored without the hole at its end, whose length the manifest
knows. The write-ahead log is part of a shard even when it is empty: Edge numbers writes by it, and
a shard with a fresh log would ignore writes as long as they count less than those it has seen.
"""

from __future__ import annotations

import hashlib
import io
import os
import tarfile
from dataclasses import asdict, dataclass
from pathlib import Path, PurePosixPath
from typing import IO, Any

import orjson

from bastide_vectordb import files
from bastide_vectordb.errors import BadRequestError
from bastide_vectordb.json_types import Json

MANIFEST = "bastide-snapshot.json"
_SHARD = "shard"
_MANIFEST_BYTES = 16 << 20
_CHUNK = 1 << 20


@dataclass(frozen=True)
class Stamp:
    """What a snapshot is of, and who made it; also stored beside the snapshot.

    Args:
        creator: Version of this service.
        edge: Version of Qdrant Edge, which owns the files' format.
        collection: The collection's name.
        settings: The collection's settings.
        points: Number of points; a restored shard must have as many.
        created: UTC time, ISO 8601.
    """

    creator: str
    edge: str
    collection: str
    settings: dict[str, Any]
    points: int
    created: str


class _Hashed(io.RawIOBase):
    """A writable file that hashes what passes."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self.digest = hashlib.sha256()

    def writable(self) -> bool:
        return True

    def write(self, data: Json) -> int:
        self.digest.update(data)
        return self._file.write(data)


def _stored_size(path: Path) -> int:
    """Size of a file without the hole at its end."""
    handle = os.open(path, os.O_RDONLY)
    try:
        end = 0
        for _, end in files.data_ranges(handle, os.fstat(handle).st_size):  # noqa: B007
            pass
        return end
    finally:
        os.close(handle)


def pack(shard: Path, stamp: Stamp, target: Path) -> str:
    """Write a snapshot of ``shard`` to ``target``, flushed; returns its SHA-256 in hex."""
    paths = sorted(path for path in shard.rglob("*") if path.is_file())
    sizes = {str(path.relative_to(shard)): path.stat().st_size for path in paths}
    manifest = orjson.dumps({"format": 1, **asdict(stamp), "files": sizes})
    with target.open("xb") as file:
        hashed = _Hashed(file)
        with tarfile.open(fileobj=hashed, mode="w|", format=tarfile.PAX_FORMAT) as tar:
            head = tarfile.TarInfo(MANIFEST)
            head.size = len(manifest)
            tar.addfile(head, io.BytesIO(manifest))
            for path in paths:
                entry = tarfile.TarInfo(f"{_SHARD}/{path.relative_to(shard)}")
                entry.size = _stored_size(path)
                entry.mode = 0o640
                with path.open("rb") as source:
                    tar.addfile(entry, source)
        file.flush()
        os.fsync(file.fileno())
    return hashed.digest.hexdigest()


def _manifest(tar: tarfile.TarFile, name: str) -> tuple[Stamp, dict[str, int]]:
    first = tar.next()
    if first is None or first.name != MANIFEST or first.size > _MANIFEST_BYTES:
        raise BadRequestError(
            f"{name}: not a snapshot of Bastide vectordb; Qdrant server's snapshots are restored "
            "by the engine 'server'"
        )
    held = tar.extractfile(first)
    data = orjson.loads(held.read() if held is not None else b"")
    if data.pop("format", None) != 1:
        raise BadRequestError(f"{name}: the snapshot's format is not known to this version")
    sizes = {str(path): int(size) for path, size in data.pop("files").items()}
    return Stamp(**data), sizes


def _relative(entry: tarfile.TarInfo, name: str) -> PurePosixPath:
    path = PurePosixPath(entry.name)
    if not entry.isreg() or path.is_absolute() or ".." in path.parts or path.parts[0] != _SHARD:
        raise BadRequestError(f"{name}: unexpected entry {entry.name!r} in the snapshot")
    return PurePosixPath(*path.parts[1:])


def _extract(source: IO[bytes], target: Path, size: int) -> None:
    target.parent.mkdir(parents=True, exist_ok=True, mode=0o750)
    with target.open("xb") as file:
        while data := source.read(_CHUNK):
            file.write(data)
        file.truncate(size)
        file.flush()
        os.fsync(file.fileno())


def unpack(source: Path, target: Path) -> Stamp:
    """Unpack a snapshot's shard into ``target``, a folder that does not exist yet.

    Raises:
        BadRequestError: not a snapshot, damaged, or with entries that lead elsewhere.
    """
    name = source.name
    target.mkdir(mode=0o750)
    try:
        with tarfile.open(source, mode="r:") as tar:
            stamp, sizes = _manifest(tar, name)
            missing = set(sizes)
            for entry in tar:
                if entry.name == MANIFEST:
                    continue
                path = str(_relative(entry, name))
                held = tar.extractfile(entry)
                if path not in missing or held is None or entry.size > sizes[path]:
                    raise BadRequestError(f"{name}: unexpected entry {entry.name!r}")
                missing.discard(path)
                _extract(held, target / path, sizes[path])
    except (tarfile.TarError, EOFError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise BadRequestError(f"{name}: damaged or not a snapshot: {error}") from error
    if missing:
        raise BadRequestError(f"{name}: damaged: {len(missing)} files are missing")
    return stamp
