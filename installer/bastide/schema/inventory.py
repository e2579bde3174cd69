"""Everything that lies on a host, as the host agent's ``inventory`` saw it."""

from __future__ import annotations

import base64
import gzip
from collections.abc import Mapping
from typing import Any, Literal, NamedTuple

from pydantic import Field

from bastide.schema.base import Value


class Entry(NamedTuple):
    """One path: what it is, its rights, its owner, its content and its OS package."""

    kind: str  # f file, d folder, l link, o anything else
    mode: str
    owner: str
    content: str  # SHA-256; 'size mtime' of a large file; a link's target
    package: str = ""

    @property
    def state(self) -> tuple[str, str, str, str]:
        """What can change: all but the package that has it listed."""
        return self.kind, self.mode, self.owner, self.content


class UnitState(NamedTuple):
    """One systemd unit."""

    active: str
    invocation: str  # another one after every start and reload
    enabled: str


class Inventory(Value):
    """One host, whole, at one moment."""

    format: Literal["bastide.inventory/1"] = "bastide.inventory/1"
    files: dict[str, Entry]
    users: dict[str, str] = Field(default={})
    groups: dict[str, str] = Field(default={})
    packages: dict[str, str] = Field(default={})
    units: dict[str, UnitState] = Field(default={})
    sockets: tuple[str, ...] = ()
    firewall: str = ""
    mounts: tuple[str, ...] = ()


def read_inventory(answer: Mapping[str, Any]) -> Inventory:
    """Return the inventory that a host agent's answer holds, packed or not.

    Raises:
        ValueError: It holds none.
    """
    packed = answer.get("packed")
    if packed is None:
        return Inventory.model_validate(answer)
    return Inventory.model_validate_json(gzip.decompress(base64.b64decode(packed)))
