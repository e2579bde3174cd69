"""Bring every artifact that a host lacks; nothing becomes active."""

from __future__ import annotations

import contextlib
import json
import os
import re
import threading
import time
from collections.abc import Iterable, Mapping
from pathlib import Path, PurePosixPath

from bastide_host.depot import Blob, Depot, is_sealed, seal
from bastide_host.host import AgentError, JsonObject, Paths, fsync_directory
from bastide_host.pieces import PieceFile
from bastide_host.swarm import Haul, fetch_rest, sharing

SPACE_RESERVE = 64 << 20  # what must stay free beside the bytes to pull


def blobs_of(paths: Paths, stage: JsonObject) -> list[Blob]:
    """Return the blobs that a stage description names.

    Raises:
        AgentError: A digest or destination is not of the expected form.
    """
    found = []
    for each in stage["blobs"]:
        destination = PurePosixPath(each["destination"])
        parts_ok = destination.is_absolute() and ".." not in destination.parts
        if not parts_ok or not re.fullmatch("[0-9a-f]{64}", each["sha256"]):
            raise AgentError("BAS-6050", f"stage description: {each['name']} is not well formed")
        path = paths.at(str(destination))
        found.append(Blob(each["name"], each["sha256"], each["size"], path))
    return found


def are_staged(paths: Paths, stage: JsonObject) -> bool:
    """Return whether every artifact is here, and sealed: the step that brings them can be left out.

    Raises:
        AgentError: The stage description is not well formed.
    """
    return all(blob.is_here() and is_sealed(blob.destination) for blob in blobs_of(paths, stage))


def check_space(blobs: Iterable[Blob]) -> None:
    """Refuse before the first byte if the missing bytes do not fit.

    Raises:
        AgentError: Says by file system how much is needed, free and lacking.
    """
    needed: dict[int, int] = {}
    places: dict[int, Path] = {}
    for blob in blobs:
        folder = blob.destination.parent
        while not folder.is_dir():
            folder = folder.parent
        device = folder.stat().st_dev
        needed[device] = needed.get(device, 0) + blob.room()
        places[device] = folder
    for device, amount in needed.items():
        room = os.statvfs(places[device])
        free = room.f_bavail * room.f_frsize
        wanted = amount + SPACE_RESERVE
        if wanted > free:
            raise AgentError(
                "BAS-6051",
                f"no space for the artifacts below {places[device]}: {wanted} bytes needed"
                f" ({amount} to fetch, {SPACE_RESERVE} reserve), {free} free,"
                f" {wanted - free} too few",
                "free that much there, or enlarge the file system; then apply again",
            )


class Progress:
    """Writes how far a command is to ``/run/bastide/progress.json``, at most twice a second.

    Args:
        paths: The host's paths.
        step: The command's name.
        total: Bytes in all.
    """

    def __init__(self, paths: Paths, step: str, total: int) -> None:
        self._file = paths.run / "progress.json"
        self._step = step
        self._total = total
        self._done = 0
        self._spoken = 0.0
        self._lock = threading.Lock()

    def moved(self, amount: int) -> None:
        """Add ``amount`` bytes."""
        with self._lock:
            self._done += amount
            if time.monotonic() - self._spoken > 0.5:
                self._spoken = time.monotonic()
                state = {"step": self._step, "done": self._done, "total": self._total}
                self._file.write_text(json.dumps(state) + "\n", encoding="utf-8")


def stage(paths: Paths, description: JsonObject, token: str, authority: Path) -> JsonObject:
    """Bring every artifact that the host lacks, verified; nothing becomes active.

    Args:
        paths: The host's paths.
        description: ``stage.json``.
        token: The depot's token for this run.
        authority: PEM file of the site CA.

    Raises:
        AgentError: No space, a refusing depot, wrong bytes; what has arrived stays for the next.
    """
    blobs = blobs_of(paths, description)
    missing = [blob for blob in blobs if not blob.is_here()]
    for blob in set(blobs) - set(missing):
        seal(blob.destination)  # an earlier release's agent did not, or somebody touched it
    check_space(missing)
    if not missing:
        return {"changed": False, "pulled": [], "bytes": 0, "from_peers": 0}
    files = _piece_files(blobs, description)
    total = sum(_bytes_of(blob, files) for blob in missing)
    progress = Progress(paths, "stage", total)
    url = description["depot"]["url"]
    haul = Haul(
        host=description.get("swarm", {}).get("host", ""),
        files=list(files.values()),
        depot=lambda: Depot(url, token, authority),
        moved=progress.moved,
    )
    shared = sharing(paths, description, haul) if haul.host else contextlib.nullcontext()
    with shared, contextlib.closing(haul.depot()) as depot:
        for blob in missing:
            _complete(depot, blob, files.get(blob.sha256), progress)
        for folder in sorted({blob.destination.parent for blob in missing}):
            fsync_directory(folder)
    names = [blob.name for blob in missing]
    return {"changed": True, "pulled": names, "bytes": total, "from_peers": haul.from_peers}


def _piece_files(blobs: Iterable[Blob], description: JsonObject) -> dict[str, PieceFile]:
    """Return the files that come in pieces, by digest.

    Without peers, a file comes whole, unless an earlier run has left pieces of it.
    """
    tables = {each["sha256"]: each["pieces"] for each in description["blobs"] if "pieces" in each}
    shares = bool(description.get("swarm"))
    found = {}
    for blob in blobs:
        if blob.sha256 in tables and (shares or blob.partial.exists()):
            found[blob.sha256] = PieceFile(blob, tables[blob.sha256])
            found[blob.sha256].survey()
    return found


def _bytes_of(blob: Blob, files: Mapping[str, PieceFile]) -> int:
    file = files.get(blob.sha256)
    return sum(piece.size for piece in file.missing) if file else blob.missing_bytes()


def _complete(depot: Depot, blob: Blob, file: PieceFile | None, progress: Progress) -> None:
    """Bring a blob from the depot, or what peers have not given of it."""
    if file is None:
        depot.fetch(blob, progress.moved)
    elif not file.finished:
        fetch_rest(depot, file, progress.moved)
