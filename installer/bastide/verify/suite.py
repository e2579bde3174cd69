"""What the checks in ``tests/verification`` share: the values that their fixtures hand out."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from testinfra.host import Host

from bastide.schema.expectations import Expectations, ExpectedHost
from bastide.verify.plugin import host_name

PREFIX = "bastide-verify-"  # of collections that a run makes in the vector DB
CONNECT = 5.0  # s to wait for a connection
PATIENCE = 120.0  # s to wait for an answer: a busy small machine is slow, not broken

Saw = Callable[[str], None]
Measured = Callable[[str, str, float, str], None]


class UnfitInputError(ValueError):
    """What was given to the suite cannot be used; the text says what to do."""


@dataclass(frozen=True)
class Key:
    """An API key that no traceback shows."""

    value: str = field(repr=False)


@dataclass(frozen=True)
class Machine:
    """A host that can be asked, its name and what it must be."""

    name: str
    host: Host
    expected: ExpectedHost


def read_key(variable: str) -> Key:
    """Return the API key in the file that the environment's ``variable`` names.

    Raises:
        UnfitInputError: There is no such file, or others can read it.
    """
    name = os.environ.get(variable)
    if not name:
        raise UnfitInputError(f"set {variable} to the path of a file that holds the key, mode 0600")
    try:
        mode = stat.S_IMODE(Path(name).stat().st_mode)
        text = Path(name).read_text("utf-8").strip()
    except OSError as error:
        raise UnfitInputError(f"{variable}: {name} cannot be read: {error.strerror}") from error
    if mode & 0o077:
        raise UnfitInputError(f"{variable}: {name} has mode {mode:04o}, others can read it: 0600")
    return Key(text)


def read_expectations(path: str | Path | None) -> Expectations:
    """Return the expectations in the file at ``path``.

    Raises:
        UnfitInputError: No file is named, or it cannot be read.
    """
    if not path:
        raise UnfitInputError("give --bastide-expectations FILE or set BASTIDE_EXPECTATIONS")
    try:
        return Expectations.model_validate_json(Path(path).read_bytes())
    except (OSError, ValueError) as error:
        raise UnfitInputError(f"{path}: {error}") from error


def name_of(host: Host, expected: Expectations) -> str:
    """Return the name of the site's host that ``host`` is, found by name or address.

    Raises:
        UnfitInputError: The site has no such host.
    """
    identifier = host.backend.get_pytest_id()
    wanted = host_name(identifier)
    for name, each in expected.hosts.items():
        if wanted in (name, each.address):
            return name
    raise UnfitInputError(
        f"{identifier} is not a host of site {expected.site}, which has "
        f"{', '.join(expected.hosts)}: give these to --hosts"
    )


def why_silent(host: Host) -> str:
    """Return why ``host`` cannot be asked; empty if it answers."""
    try:
        result = host.run("true")
    except RuntimeError as error:  # testinfra's ssh backends raise it with the result inside
        result = error.args[0]
    if getattr(result, "rc", 1) == 0:
        return ""
    lines = str(getattr(result, "stderr", result)).strip().splitlines()
    return lines[-1] if lines else "no reason given"
