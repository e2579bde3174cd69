"""The machine that the lab stands on."""

from __future__ import annotations

import os
from pathlib import Path

from bastide.schema.rehearsal import Machine

_MEMORY = Path("/proc/meminfo")


def this_machine() -> Machine:
    """Return this machine's processors and memory, as they are now."""
    return Machine(cpus=len(os.sched_getaffinity(0)), **memory(_MEMORY.read_text()))


def memory(text: str) -> dict[str, int]:
    """Return the bytes in ``/proc/meminfo``: all, and what is free for new work; pure."""
    lines = dict(line.split(":", 1) for line in text.splitlines() if ":" in line)
    kib = {name: int(lines[name].split()[0]) * 1024 for name in ("MemTotal", "MemAvailable")}
    return {"memory": kib["MemTotal"], "memory_free": kib["MemAvailable"]}
