"""How far a move has come: a file that survives a crash."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bastide.errors import ConfigError
from bastide.host.files import write_atomic
from bastide.vectors.codes import OTHER_MOVE

FORMAT = "bastide.vectors-move/1"


@dataclass
class Moves:
    """What is known of a move that was begun.

    Args:
        path: The file; None: nothing is kept.
        source: Address that points come from.
        target: Address that they go to.
        offsets: By collection: id of the next point to copy; None: all were copied once.
    """

    path: Path | None
    source: str
    target: str
    offsets: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def load(cls, path: Path | None, source: str, target: str) -> Moves:
        """Return what the file says; a new move without one.

        Raises:
            ConfigError: It is of a move between other addresses, or none of ours.
        """
        if path is None or not path.exists():
            return cls(path, source, target)
        try:
            data = json.loads(path.read_text(encoding="utf-8"))
            found = (data["format"], data["source"], data["target"])
            offsets = dict(data["offsets"])
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise _other(path, f"it cannot be read: {error}") from error
        if found != (FORMAT, source, target):
            raise _other(path, f"it is of a move from {found[1]} to {found[2]}")
        return cls(path, source, target, offsets)

    def reached(self, collection: str, offset: object) -> None:
        """Keep how far a collection has come, durably."""
        self.offsets[collection] = offset
        if self.path is not None:
            data = {"format": FORMAT, "source": self.source, "target": self.target,
                    "offsets": self.offsets}  # fmt: skip
            write_atomic(self.path, json.dumps(data, indent=1).encode() + b"\n", mode=0o600)


def _other(path: Path, why: str) -> ConfigError:
    return ConfigError(
        f"{path}: cannot go on with this move: {why}",
        code=OTHER_MOVE,
        hint="give another --state file, or remove this one to start anew",
    )
