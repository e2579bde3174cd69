"""Vector data from a backup: received and proved beside the live data, then exchanged with it.

The data that was live lies aside afterwards, under a name that no command puts back or removes.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO

from bastide_host import copying
from bastide_host.backup import drop_leftovers, fenced, require_settled
from bastide_host.data import check_data, exchange
from bastide_host.fence import as_json, lift_fence
from bastide_host.host import (
    BLOCK,
    AgentError,
    JsonObject,
    Paths,
    fsync_directory,
    read_json,
    run,
    tail,
    write_atomic,
)
from bastide_host.snapshot import (
    MARKER,
    RESERVE,
    drop_snapshot,
    exchanged,
    folder_of,
    stamp_of,
)
from bastide_host.units import wait_healthy
from bastide_host.vectors import UNIT, RefusedError, VectorDb

PREFIX = "restore-"
LIVE_DATA = "BAS-6132"
OTHER_ENGINE = "BAS-6133"
NOT_RECEIVED = "BAS-6134"
NOT_EQUAL = "BAS-6135"
_UP_SECONDS = 300.0


def restore_receive(paths: Paths, given: Mapping[str, Any], stream: BinaryIO) -> JsonObject:
    """Take a tar archive of a storage in beside the live data and prove every file of it.

    Nothing that is live changes. What an earlier, cut-off restore left is removed.

    Args:
        paths: The host's paths.
        given: ``id``, the name here; ``stamp``, the backup's; ``replace``: whether live data may
            be put aside.
        stream: The archive.

    Raises:
        AgentError: There is live data and no leave to replace it, another engine, too little
            room, or what came is not what the stamp says.
    """
    name, stamp = _own(given), given["stamp"]
    require_settled(paths, PREFIX)
    _require_leave(paths, given, stamp)
    drop_leftovers(paths, PREFIX)
    paths.snapshots.mkdir(mode=0o700, parents=True, exist_ok=True)
    _require_room(paths, stamp["size"])
    _make_storage(paths)
    folder = folder_of(paths, name)
    try:
        _unpack(folder, stream)
        _require_same(folder / "storage", stamp["files"])
        _finish(paths, folder, {**stamp, "id": name, "generation": None})
    except BaseException:
        with contextlib.suppress(OSError):
            drop_snapshot(paths, name)
        raise
    return {"changed": True, "files": len(stamp["files"]), "bytes": stamp["size"]}


def restore_activate(paths: Paths, given: Mapping[str, Any]) -> JsonObject:
    """Exchange live and received data behind the fence, and prove what is served then.

    If it cannot be proved, the data before is live again.

    Args:
        paths: The host's paths.
        given: ``id``, the received data's name here.

    Raises:
        AgentError: The service does not come up with it, or answers otherwise than the backup says.
    """
    name = _own(given)
    require_settled(paths, PREFIX)
    stamp = stamp_of(folder_of(paths, name))
    if stamp is None:
        raise AgentError(NOT_RECEIVED, f"there is no complete copy {name}", "restore again")
    try:
        fenced(paths, name)
        empty = _is_empty(paths)
        _exchange(paths, name)
        try:
            _prove(paths, stamp)
        except BaseException:
            _exchange(paths, name)
            drop_snapshot(paths, name)
            raise
    finally:
        lift_fence(paths)
    aside = _put_aside(paths, name, keep=not empty)
    probes = sum(len(each) for each in stamp["probes"].values())
    return {
        "changed": True,
        "points": stamp["points"],
        "probes": probes,
        "files": len(stamp["files"]),
        "asked": stamp["asked"],
        "aside": aside,
    }


def _require_leave(paths: Paths, given: Mapping[str, Any], stamp: Mapping[str, Any]) -> None:
    """Check engine and live data; a service that does not answer needs leave to be replaced."""
    try:
        database = VectorDb(paths)
        engine, points = database.versions()["edge"], database.counts()
    except (OSError, ValueError, KeyError, RefusedError) as error:
        if given.get("replace"):
            return  # damaged data is what a restore is for; the proof is still to come
        raise AgentError(
            LIVE_DATA,
            f"the vector DB could not be asked whether it has data: it {error}",
            "see journalctl --namespace=+bastide --unit=bastide-vectordb; --replace-data puts "
            "aside what there is",
        ) from error
    if stamp["edge"] and engine.split(".")[:2] != stamp["edge"].split(".")[:2]:
        raise AgentError(
            OTHER_ENGINE,
            f"the data is of Qdrant Edge {stamp['edge']}, this host has {engine or 'another one'}",
            f"apply the release that the backup is of, restore, then upgrade; it was made by"
            f" vectordb {stamp['creator']}",
        )
    if points and not given.get("replace"):
        many = ", ".join(f"{name} ({count} points)" for name, count in sorted(points.items())[:5])
        raise AgentError(
            LIVE_DATA,
            f"this host has live data: {many}",
            "give --replace-data: the live data is kept aside, and the backup's takes its place",
        )


def _is_empty(paths: Paths) -> bool:
    """Whether the service says that it has no collection; one that does not answer may have."""
    try:
        return not VectorDb(paths).counts()
    except (OSError, ValueError, KeyError, RefusedError):
        return False


def _require_room(paths: Paths, size: int) -> None:
    state = os.statvfs(paths.snapshots)
    free = state.f_bavail * state.f_frsize
    if free < size + RESERVE:
        raise AgentError(
            "BAS-6073",
            f"{paths.snapshots}: the data needs {size} bytes, {RESERVE} must stay free, and {free}"
            f" are: {size + RESERVE - free} are lacking; nothing was changed",
            f"free that much on the file system of {paths.snapshots}",
        )


def _make_storage(paths: Paths) -> None:
    """Make an empty storage where somebody has removed it: names are exchanged, not made."""
    if not paths.storage.is_dir():
        paths.storage.mkdir(mode=0o700, parents=True)
        owner = paths.storage.parent.stat()
        os.chown(paths.storage, owner.st_uid, owner.st_gid)


def _unpack(folder: Path, stream: BinaryIO) -> None:
    """Let tar unpack the stream; owners are set afterwards, whatever the archive says."""
    folder.mkdir(mode=0o700)
    argv = [
        "tar", "--extract", "--file=-", "--no-same-owner", "--preserve-permissions",
        "--delay-directory-restore", f"--directory={folder}",
    ]  # fmt: skip
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        try:
            while block := stream.read(BLOCK):
                process.stdin.write(block)  # type: ignore[union-attr]
            _out, words = process.communicate()
        except BrokenPipeError:
            _out, words = process.communicate()
    if process.returncode != 0 or not (folder / "storage").is_dir():
        said = words.decode("utf-8", "replace").strip().splitlines()[-3:]
        raise AgentError(NOT_RECEIVED, f"the data did not arrive whole: {'; '.join(said)}")


def _require_same(storage: Path, files: Mapping[str, str]) -> None:
    damage = copying.differences(storage, dict(files))
    if damage:
        raise AgentError(
            NOT_RECEIVED,
            f"what came from the backup is not what was saved: {'; '.join(damage[:5])}",
            "verify the backup: bastide backup verify; then restore again",
        )


def _finish(paths: Paths, folder: Path, stamp: JsonObject) -> None:
    """Give the copy the owner of the live data, its mark, and last its stamp."""
    storage, owner = folder / "storage", paths.storage.stat()
    write_atomic(storage / MARKER, as_json({"id": folder.name}), 0o640)
    for path in [storage, *storage.rglob("*")]:
        os.chown(path, owner.st_uid, owner.st_gid, follow_symlinks=False)
    copying.sync_file_system(folder)
    write_atomic(folder / "snapshot.json", as_json(stamp), 0o600)


def _exchange(paths: Paths, name: str) -> None:
    """Stop the service, exchange the data, start it again."""
    stopped = run(["systemctl", "stop", UNIT], timeout=300)
    if stopped.returncode != 0:
        raise AgentError(NOT_EQUAL, f"{UNIT} does not stop: {tail(stopped)}")
    try:
        exchange(paths, name)
    finally:
        run(["systemctl", "reset-failed", UNIT], timeout=20)
        run(["systemctl", "start", UNIT], timeout=300)


def _prove(paths: Paths, stamp: JsonObject) -> None:
    services = (read_json(paths.current / "etc/host.json") or {}).get("services", {})
    wait_healthy(paths, UNIT, services[UNIT], _UP_SECONDS)
    differences = check_data(paths, stamp)
    if differences:
        raise AgentError(
            NOT_EQUAL,
            f"the restored data does not answer as it did: {'; '.join(differences[:5])}",
            "the data before is live again; verify the backup, then restore again",
        )


def _put_aside(paths: Paths, name: str, *, keep: bool) -> str:
    """Give the data that was live before its own name; remove it if it was empty."""
    folder = folder_of(paths, name)
    if not exchanged(paths, name) or not folder.is_dir():
        return ""
    (folder / "snapshot.json").unlink(missing_ok=True)
    if not keep:
        copying.remove_tree(folder)
        return ""
    aside = folder.with_name(f"aside-{name}")
    folder.rename(aside)
    fsync_directory(paths.snapshots)
    return str(aside)


def _own(given: Mapping[str, Any]) -> str:
    name = str(given.get("id", ""))
    if not name.startswith(PREFIX) or Path(name).name != name:
        raise AgentError("BAS-6050", f"{name!r} is no restore's name")
    return name
