"""What is left of Bastide's earlier work on a host, and whether it is whole. Reads only."""

from __future__ import annotations

import csv
import hashlib
import os
from pathlib import Path

from bastide_host.condition_packages import lock_holder
from bastide_host.depot import is_sealed
from bastide_host.host import BLOCK, JsonObject, Paths, read_json

OURS = frozenset({"bin", "cache", "current", "generations"})  # in /opt/bastide


def own_state(paths: Paths) -> JsonObject:
    """Return in which state Bastide's own files are."""
    current = paths.current
    linked = current.is_symlink()
    strangers = sorted(p.name for p in paths.opt.glob("*") if p.name not in OURS)
    fence = paths.state / "vectordb.fence"
    models = sorted((paths.state / "models").glob("*.gguf"))
    return {
        "current_kind": "link" if linked else "other" if current.exists() else "missing",
        "current_target": str(current.readlink()) if linked else "",
        "current_exists": current.is_dir(),
        "record_damaged": current.is_dir() and read_json(current / "generation.json") is None,
        "environment_fault": environment_fault(current),
        "backends_dangling": _leads_nowhere(current / "backends"),
        "model_ends": {path.stem: ends(path) for path in models},
        "models_touched": [path.stem for path in models if not is_sealed(path)],
        "strangers": strangers if not (paths.opt / "bin/bastide_host.py").exists() else [],
        "agent_busy": lock_holder(paths, paths.run / "agent.lock"),
        "fence_since": str((read_json(fence) or {}).get("since", "")) if fence.exists() else None,
    }


def _leads_nowhere(backends: Path) -> bool:
    """Return whether the folder of links to the engine's plug-ins, or one of them, is broken."""
    links = [backends, *(backends.glob("*") if backends.is_dir() else ())]
    return any(link.is_symlink() and not link.exists() for link in links)


def ends(path: Path) -> str:
    """Return the SHA-256 of a file's first and last MiB; the whole would take too long."""
    digest = hashlib.sha256()
    try:
        with path.open("rb") as stream:
            size = os.fstat(stream.fileno()).st_size
            digest.update(stream.read(BLOCK))
            stream.seek(max(size - BLOCK, 0))
            digest.update(stream.read(BLOCK))
    except OSError:
        return ""
    return digest.hexdigest()


def environment_fault(generation: Path) -> str:
    """Return what is wrong with a generation's Python environment; empty if nothing is seen.

    Every file that an installed wheel lists must be there with its size.
    """
    environment = generation / "venv"
    if not (read_json(generation / "generation.json") or {}).get("wheels"):
        return ""
    interpreter = environment / "bin/python"
    if not os.access(interpreter, os.X_OK):
        return f"{interpreter} leads to no program"
    folders = list(environment.glob("lib/python3*/site-packages"))
    if not folders:
        return f"{environment} has no site-packages"
    for record in sorted(folders[0].glob("*.dist-info/RECORD")):
        if fault := _record_fault(folders[0], record):
            return fault
    return ""


def _record_fault(folder: Path, record: Path) -> str:
    with record.open(encoding="utf-8", newline="") as stream:
        for row in csv.reader(stream):
            if len(row) != 3 or not row[2] or row[0].startswith(("..", "/")):
                continue
            try:
                size = os.stat(folder / row[0]).st_size  # noqa: PTH116 - thousands of files
            except OSError:
                return f"{folder / row[0]} is missing"
            if size != int(row[2]):
                return f"{folder / row[0]} has {size} bytes, not {row[2]}"
    return ""
