"""Snapshots of the vector DB's data: copies of a storage that lies still.

``snapshots/<id>/storage`` is a copy of the storage; ``snapshot.json`` beside it, its stamp, is
written last, so that a copy without one is none. Each copy carries a file that says which it is:
after an exchange it lies in the live storage, and the disk alone tells what lies where.
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
import stat
from pathlib import Path

from bastide_host import copying
from bastide_host.fence import AGAIN, as_json, now, still, why_not_quiet
from bastide_host.host import (
    AgentError,
    JsonObject,
    Paths,
    fsync_directory,
    read_json,
    write_atomic,
)
from bastide_host.vectors import RefusedError, VectorDb

FORMAT = "bastide.snapshot/1"
MARKER = ".bastide-data"
RESERVE = 64 << 20  # bytes that stay free
_KEYS = {"generation", "created", "creator", "asked", "points", "probes", "size", "files"}
_ATTEMPTS = 3
_STAMP_BYTES = 1 << 20


def folder_of(paths: Paths, snapshot_id: str) -> Path:
    """Return where a snapshot lies.

    Raises:
        AgentError: That is no name of one.
    """
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}", snapshot_id):
        raise AgentError("BAS-6077", f"{snapshot_id!r} is no snapshot's id")
    return paths.snapshots / snapshot_id


def stamp_of(folder: Path) -> JsonObject | None:
    """Return a snapshot's stamp; None: it is not complete."""
    stamp = read_json(folder / "snapshot.json") or {}
    fits = stamp.get("format") == FORMAT and stamp.get("id") == folder.name
    return stamp if fits and set(stamp) >= _KEYS else None


def marked(storage: Path) -> str:
    """Return the id of the snapshot that a storage is, empty if it is none."""
    return str((read_json(storage / MARKER) or {}).get("id", ""))


def exchanged(paths: Paths, snapshot_id: str) -> bool:
    """Return whether the live data is that of a snapshot: as the disk says."""
    return marked(paths.storage) == snapshot_id


def drop_snapshot(paths: Paths, snapshot_id: str) -> bool:
    """Remove what lies under a snapshot's name, whole or not; return whether there was any."""
    folder = folder_of(paths, snapshot_id)
    if not folder.is_dir():
        return False
    if (folder / "snapshot.json").exists():  # first: without it the rest is no snapshot
        (folder / "snapshot.json").unlink()
        fsync_directory(folder)
    copying.remove_tree(folder)
    return True


def take_snapshot(paths: Paths, snapshot_id: str, generation: int | None) -> JsonObject:
    """Copy the fenced storage; return the stamp. One that is complete is kept as it is.

    Args:
        paths: The host's paths.
        snapshot_id: Its name.
        generation: The generation whose data it is.

    Raises:
        AgentError: No fence, too little room, the service does not come to rest, or the copy
            is not what was read. Nothing is left of the attempt.
    """
    folder = folder_of(paths, snapshot_id)
    if exchanged(paths, snapshot_id):
        raise AgentError("BAS-6077", f"the live data is the snapshot {snapshot_id} itself")
    known = stamp_of(folder)
    if known:
        if marked(folder / "storage") == snapshot_id:
            return known
        raise AgentError("BAS-6077", f"{folder} holds other data than that of its name")
    if not paths.fence.exists():
        raise AgentError("BAS-6070", f"no snapshot without a fence: {paths.fence} is not there")
    paths.snapshots.mkdir(mode=0o700, parents=True, exist_ok=True)
    with still(paths) as database:
        try:
            return _taken(paths, folder, database, generation)
        except BaseException as error:
            with contextlib.suppress(OSError):
                drop_snapshot(paths, snapshot_id)
            if isinstance(error, (OSError, ValueError, RefusedError)):
                full = getattr(error, "errno", 0) == errno.ENOSPC
                code = "BAS-6073" if full else "BAS-6074"
                raise AgentError(code, f"no snapshot {snapshot_id}: {error}", AGAIN) from error
            raise


def _taken(
    paths: Paths, folder: Path, database: VectorDb | None, generation: int | None
) -> JsonObject:
    for left in range(_ATTEMPTS - 1, -1, -1):
        drop_snapshot(paths, folder.name)
        _check_room(paths)
        files = _copied(paths, folder)
        asked = _asked(database)
        moved = _moved(paths, files, database)
        if not moved:
            break
        if not left:
            raise AgentError("BAS-6074", f"data changed while it was copied: {moved}", AGAIN)
    damage = copying.differences(folder / "storage", files)
    if damage:
        raise AgentError(
            "BAS-6074",
            f"the copy in {folder} is not what was read: {'; '.join(damage[:5])}",
            "the disk or its controller is at fault; see the kernel's log",
        )
    _mark(folder)
    size = copying.allocated_bytes(folder / "storage")
    head = {"format": FORMAT, "id": folder.name, "generation": generation, "created": now()}
    stamp = {**head, **asked, "size": size, "files": files}
    write_atomic(folder / "snapshot.json", as_json(stamp), 0o600)
    return stamp


def _check_room(paths: Paths) -> None:
    need = copying.needed_bytes(paths.storage, paths.snapshots) + _STAMP_BYTES
    state = os.statvfs(paths.snapshots)
    free = state.f_bavail * state.f_frsize
    if free < need + RESERVE:
        raise AgentError(
            "BAS-6073",
            f"{paths.snapshots}: a snapshot of the data needs {need} bytes, {RESERVE} must stay"
            f" free, and {free} are: {need + RESERVE - free} are lacking; nothing was copied",
            f"free that much on the file system of {paths.snapshots}, then apply again",
        )


def _copied(paths: Paths, folder: Path) -> dict[str, str]:
    folder.mkdir(mode=0o700)
    files = copying.copy_tree(paths.storage, folder / "storage")
    if files.pop(MARKER, None) is not None:  # of the snapshot that the live data once was
        (folder / "storage" / MARKER).unlink()
    copying.sync_file_system(folder)
    return files


def _asked(database: VectorDb | None) -> JsonObject:
    """Return what the service knows of the data, by which equality is proved later."""
    if database is None:
        return {"creator": "", "edge": "", "points": {}, "probes": {}, "asked": False}
    points = database.counts()
    probes = {name: database.probes(name) for name in points}
    return {**database.versions(), "points": points, "probes": probes, "asked": True}


def _moved(paths: Paths, files: dict[str, str], database: VectorDb | None) -> str:
    """Return what has changed since it was copied, empty if nothing has."""
    if database is not None:
        fault = why_not_quiet(database)
        if fault:
            return fault
    here = copying.scan(paths.storage)
    names = {name for name, state in here.items() if stat.S_ISREG(state.st_mode)} - {MARKER}
    changed = names.symmetric_difference(files)
    changed |= {n for n in names & set(files) if copying.digest_of(paths.storage / n) != files[n]}
    return ", ".join(sorted(changed)[:5])


def _mark(folder: Path) -> None:
    storage = folder / "storage"
    owner, mine = storage.stat(), storage / MARKER
    write_atomic(mine, as_json({"id": folder.name}), 0o640)
    os.chown(mine, owner.st_uid, owner.st_gid)
    os.utime(storage, ns=(owner.st_atime_ns, owner.st_mtime_ns))
    fsync_directory(storage)


def snapshot_damage(paths: Paths, snapshot_id: str) -> list[str]:
    """Return how a snapshot's files differ from its stamp; reads all of them."""
    folder = folder_of(paths, snapshot_id)
    stamp = stamp_of(folder)
    if stamp is None or marked(folder / "storage") != snapshot_id:
        return [f"there is no complete snapshot {snapshot_id}"]
    files = copying.differences(folder / "storage", {**stamp["files"], MARKER: ""})
    return [line for line in files if not line.startswith(MARKER)]
