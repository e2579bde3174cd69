"""What an attack is, and what attacks do to metadata."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from trust_factories import Medium, Trial

TIMESTAMP = "metadata/timestamp.json"


@dataclass(frozen=True)
class Attack:
    """One attack.

    Args:
        name: Its name here and in ``docs/security.md``.
        kind: Its name in the TUF specification or in Uptane.
        code: With what it must be refused.
        show: Returns what the site is shown.
    """

    name: str
    kind: str
    code: str
    show: Callable[[], Trial]


class AttackTable(list[Attack]):
    """The attacks of one module, in its order."""

    def attack(self, name: str, kind: str, code: str) -> Callable[[Callable[[], Trial]], None]:
        """Return a decorator that adds an attack."""

        def add(show: Callable[[], Trial]) -> None:
            self.append(Attack(name, kind, code, show))

        return add


def altered(data: bytes, change: Callable[[Any], None]) -> bytes:
    """Return a metadata file with a member changed after signing, in the publisher's spelling."""
    plain = json.loads(data)
    change(plain)
    return json.dumps(plain, separators=(",", ":"), sort_keys=True).encode()


def with_file(medium: Medium, name: str, change: Callable[[Any], None]) -> Medium:
    return {**medium, name: altered(medium[name], change)}
