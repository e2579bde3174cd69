"""What a run has found so far, one JSON object a line, fsynced: a killed run goes on from there."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

KEPT = frozenset({"answer", "vector", "refused", "memory"})


class Journal:
    """The events of one model with one suite and one engine.

    Args:
        path: The file; its name says of what it is, so that nothing else is ever mixed in.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.events: list[dict[str, Any]] = []
        if path.exists():
            whole = path.read_bytes()
            end = whole.rfind(b"\n") + 1  # a line that a kill cut off is not one
            self.events = [json.loads(line) for line in whole[:end].splitlines() if line]
            if end != len(whole):
                with path.open("r+b") as file:
                    file.truncate(end)

    def add(self, event: Mapping[str, Any]) -> None:
        """Keep an event for good."""
        self.events.append(dict(event))
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.open("ab") as file:
            file.write(json.dumps(event, ensure_ascii=False).encode() + b"\n")
            file.flush()
            os.fsync(file.fileno())

    def done(self) -> dict[str, dict[str, Any]]:
        """Return what is answered, by id."""
        return {event["id"]: event for event in self.events if "id" in event}

    def peak_memory(self) -> int:
        """Return the most resident memory that was seen, in bytes; 0 if never."""
        return max((event.get("rss", 0) for event in self.events), default=0)
