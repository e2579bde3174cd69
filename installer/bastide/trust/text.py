"""Text that comes from a medium, made harmless to show."""

from __future__ import annotations


def printable(text: str) -> str:
    """Return ``text`` with everything escaped that a terminal could take for a command."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
