"""Codes of the findings, and how they are made."""

from __future__ import annotations

from pathlib import Path

from bastide.errors import Problem
from bastide.schema.artifact import Artifact
from bastide.trust.text import printable

MODEL = "BAS-3160"
WHEEL_ARCHIVE = "BAS-3161"
WHEEL_IDENTITY = "BAS-3162"
ELF = "BAS-3163"
DEB = "BAS-3164"
CLOSURE = "BAS-3165"
CATALOGUE = "BAS-3166"

FROM_SOURCE = "tell the builder: this file came so from its source"


def finding(artifact: Artifact, code: str, what: str, hint: str = FROM_SOURCE) -> Problem:
    """Return a finding about ``artifact``.

    Args:
        artifact: The file that is meant.
        code: One of the codes above.
        what: Expected against found; may hold text of the file.
        hint: What to do about it.
    """
    return Problem(artifact.filename, printable(what[:400]), hint, code)


def unreadable(artifact: Artifact, code: str, path: Path, error: OSError) -> Problem:
    """Return the finding that the file at ``path`` cannot be read."""
    what = f"{path} cannot be read: {error.strerror or error}"
    return finding(artifact, code, what, "look at the disk (dmesg)")
