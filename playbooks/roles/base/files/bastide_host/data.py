"""The vector DB's data in an upgrade: what the other modules and the control node ask for."""

from __future__ import annotations

from collections.abc import Iterable

from bastide_host import copying
from bastide_host.fence import as_json, lift_fence, raise_fence, stopped
from bastide_host.host import (
    AgentError,
    JsonObject,
    Paths,
    fsync_directory,
    read_json,
    write_atomic,
)
from bastide_host.snapshot import (
    drop_snapshot,
    exchanged,
    folder_of,
    marked,
    snapshot_damage,
    stamp_of,
    take_snapshot,
)
from bastide_host.vectors import RefusedError, VectorDb, same_hits

__all__ = [
    "check_data",
    "data",
    "data_bytes",
    "drop_asides",
    "drop_snapshot",
    "exchange",
    "exchanged",
    "find_snapshot",
    "lift_fence",
    "list_snapshots",
    "other_folders",
    "raise_fence",
    "restore",
    "set_aside",
    "snapshot_damage",
    "take_snapshot",
]
ASIDE = "aside.json"
ASIDE_PREFIX = "aside-"
_SHOWN = ("id", "generation", "created", "creator", "size", "points")


def exchange(paths: Paths, snapshot_id: str) -> None:
    """Exchange the live data with a snapshot, in one rename; no byte is copied.

    Whoever calls it twice is where they began: see ``exchanged`` and ``restore``.

    Raises:
        AgentError: The service runs, the snapshot is not complete, or the file system cannot.
    """
    copy = folder_of(paths, snapshot_id) / "storage"
    if stamp_of(copy.parent) is None or not copy.is_dir():
        raise AgentError(
            "BAS-6077",
            f"there is no complete snapshot {snapshot_id}",
            "bastide_host.py data lists those that there are",
        )
    with stopped(paths) as at_rest:
        if not at_rest:
            raise AgentError(
                "BAS-6075",
                f"{paths.storage} is in use: the vector DB service runs",
                "stop bastide-vectordb.service first",
            )
        copying.exchange_names(paths.storage, copy)


def restore(paths: Paths, snapshot_id: str) -> bool:
    """Make a snapshot the live data unless it is; return whether it was not."""
    if exchanged(paths, snapshot_id):
        return False
    exchange(paths, snapshot_id)
    return True


def find_snapshot(paths: Paths, snapshot_id: str) -> JsonObject | None:
    """Return the stamp of a snapshot, wherever its data lies now; None if it is not complete."""
    return stamp_of(folder_of(paths, snapshot_id))


def set_aside(paths: Paths, snapshot_id: str, generation: int | None) -> None:
    """Give what a snapshot that is live now was exchanged for a name of its own.

    It is the data that a rollback left, for people: no command puts it back. It goes with the
    generation under which it was written.

    Args:
        paths: The host's paths.
        snapshot_id: The snapshot's id.
        generation: The generation that was left.
    """
    folder = folder_of(paths, snapshot_id)
    if exchanged(paths, snapshot_id) and folder.is_dir():
        write_atomic(folder / ASIDE, as_json({"generation": generation}), 0o600)
        (folder / "snapshot.json").unlink(missing_ok=True)
        folder.rename(folder.with_name(f"{ASIDE_PREFIX}{snapshot_id}"))
        fsync_directory(paths.snapshots)


def drop_asides(paths: Paths, generations: Iterable[int]) -> list[str]:
    """Remove the data that rollbacks set aside when they left one of ``generations``."""
    going = set(generations)
    dropped = [
        folder
        for folder in sorted(paths.snapshots.glob(f"{ASIDE_PREFIX}*"))
        if (read_json(folder / ASIDE) or {}).get("generation") in going
    ]
    for folder in dropped:
        drop_snapshot(paths, folder.name)
    return [str(folder) for folder in dropped]


def check_data(paths: Paths, stamp: JsonObject) -> list[str]:
    """Ask the live service; return how its data differs from a stamp. Nothing: it is equal.

    Raises:
        AgentError: The service does not answer.
    """
    if not stamp["asked"]:  # taken while the service did not run: nobody could be asked
        return []
    database = VectorDb(paths)
    try:
        return _differences(database, stamp)
    except (OSError, ValueError, KeyError, RefusedError) as error:
        raise AgentError(
            "BAS-6078",
            f"the vector DB could not be asked for its data: it {error}",
            "see journalctl --namespace=+bastide --unit=bastide-vectordb",
        ) from error


def _differences(database: VectorDb, stamp: JsonObject) -> list[str]:
    wanted, found = stamp["points"], database.counts()
    lines = [f"collection {name!r} was not there" for name in sorted(set(found) - set(wanted))]
    for name, number in sorted(wanted.items()):
        if name not in found:
            lines.append(f"collection {name!r} is missing")
        elif found[name] != number:
            lines.append(f"collection {name!r} has {found[name]} points, expected {number}")
        else:
            lines += [
                f"collection {name!r}: the nearest to point {probe['point']} are others"
                for probe in stamp["probes"][name]
                if not _as_it_was(database, name, probe)
            ]
    return lines


def _as_it_was(database: VectorDb, name: str, probe: JsonObject) -> bool:
    try:
        return same_hits(probe["hits"], database.hits(name, probe))
    except RefusedError as error:
        if error.status != 404:
            raise
        return False  # the point is gone


def list_snapshots(paths: Paths) -> list[JsonObject]:
    """Return the complete snapshots, oldest first."""
    folders = [path for path in paths.snapshots.glob("*") if path.is_dir()]
    stamps = [s for f in folders if (s := stamp_of(f)) and marked(f / "storage") == f.name]
    return sorted(
        ({key: stamp[key] for key in _SHOWN} for stamp in stamps),
        key=lambda each: (each["created"], each["id"]),
    )


def other_folders(paths: Paths) -> dict[str, str]:
    """Return what lies among the snapshots and is none: id → ``displaced`` or ``incomplete``.

    Displaced data was live until a snapshot took its place.
    """
    known = {each["id"] for each in list_snapshots(paths)}
    return {
        path.name: "displaced" if stamp_of(path) else "incomplete"
        for path in sorted(paths.snapshots.glob("*"))
        if path.is_dir() and path.name not in known
    }


def data_bytes(paths: Paths) -> int:
    """Return what the vector DB's data takes on disk."""
    return copying.allocated_bytes(paths.storage)


def data(paths: Paths, snapshot_id: str) -> JsonObject:
    """Return fence and snapshots, and how the live data differs from one of them.

    Args:
        paths: The host's paths.
        snapshot_id: The snapshot to compare with; empty: none.
    """
    fence = read_json(paths.fence) if paths.fence.exists() else None
    answer = {
        "changed": False,
        "fenced": paths.fence.exists(),
        "fence": {key: (fence or {}).get(key, "") for key in ("since", "run")},
        "snapshots": list_snapshots(paths),
        "others": other_folders(paths),
        "live": marked(paths.storage),
        "bytes": data_bytes(paths),
    }
    if snapshot_id:
        stamp = stamp_of(folder_of(paths, snapshot_id))
        if stamp is None:
            raise AgentError("BAS-6077", f"there is no complete snapshot {snapshot_id}")
        answer["differences"] = check_data(paths, stamp)
    return answer
