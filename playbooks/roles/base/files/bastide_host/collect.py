"""Removes generations that are no longer wanted, and what only they used."""

from __future__ import annotations

import shutil
from collections.abc import Iterable

from bastide_host import data
from bastide_host.facts import current_number, transition_of
from bastide_host.host import Paths, fsync_directory, read_json


def collect(paths: Paths, numbers: Iterable[int]) -> list[str]:
    """Remove generations, then the models, artifacts and snapshots that no other one needs.

    The live one, the newest good one and those of an open transition are never removed.

    Args:
        paths: The host's paths.
        numbers: Generations that may go.

    Returns:
        What was removed, as paths.
    """
    good = [each["number"] for each in (read_json(paths.good) or {}).get("good", [])]
    transition = transition_of(paths) or {}
    kept = {current_number(paths), *good[-1:], transition.get("before"), transition.get("after")}
    going = [number for number in numbers if number not in kept]
    removed = []
    for number in going:
        folder = paths.generations / str(number)
        if folder.is_dir():
            # First the mark that it is whole: what is left of it is never taken for a generation.
            (folder / "generation.json").unlink(missing_ok=True)
            shutil.rmtree(folder)
            removed.append(str(folder))
    if removed:
        fsync_directory(paths.generations)
        removed += _unused_blobs(paths)
    for snapshot in data.list_snapshots(paths):
        if snapshot["generation"] in going:
            data.drop_snapshot(paths, snapshot["id"])
            removed.append(str(paths.snapshots / snapshot["id"]))
    return removed + data.drop_asides(paths, going)


def sweep(paths: Paths) -> list[str]:
    """Remove what a killed agent left of snapshots that it was taking or dropping.

    Only when no transition is open: nobody works on a snapshot then.
    """
    halves = [
        path
        for path in sorted(paths.snapshots.glob("*"))
        # What a rollback set aside has no stamp either.
        if not (path / "snapshot.json").exists() and not path.name.startswith(data.ASIDE_PREFIX)
    ]
    for half in halves:
        data.drop_snapshot(paths, half.name)
    return [str(half) for half in halves]


def _unused_blobs(paths: Paths) -> list[str]:
    """Remove models and artifacts that no generation on this host is made of."""
    used: set[str] = set()
    for file in paths.generations.glob("*/generation.json"):
        record = read_json(file) or {}
        used.update(record.get("contents", {}).values())
        used.add(record.get("tree", ""))
    removed = []
    blobs = [*(paths.state / "models").glob("*.gguf")]
    blobs += (paths.state / "artifacts").glob("sha256/*/*")
    for blob in sorted(blobs):
        if blob.name.removesuffix(".gguf") not in used and not blob.name.endswith(".partial"):
            blob.unlink()
            removed.append(str(blob))
    return removed
