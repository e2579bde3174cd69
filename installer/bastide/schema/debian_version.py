"""Order of Debian package versions, as Debian Policy 5.6.12 defines it; pure."""

from __future__ import annotations

import re
from functools import cmp_to_key

_PARTS = re.compile(r"([^0-9]*)([0-9]*)")


def compare_versions(one: str, other: str) -> int:
    """Return -1, 0 or 1: is version ``one`` older than, the same as or newer than ``other``?"""
    for mine, theirs in zip(_split(one), _split(other), strict=True):
        result = _compare_part(mine, theirs)
        if result:
            return result
    return 0


version_key = cmp_to_key(compare_versions)  # for sorted() and max()


def _split(version: str) -> tuple[str, str, str]:
    """Return epoch, upstream version and Debian revision; what is absent counts as 0."""
    epoch, colon, rest = version.strip().partition(":")
    if not colon:
        epoch, rest = "0", epoch
    upstream, dash, revision = rest.rpartition("-")
    return (epoch, upstream, revision) if dash else (epoch, rest, "0")


def _compare_part(mine: str, theirs: str) -> int:
    """Compare runs of non-digits and runs of digits in turn, the shorter padded with nothing."""
    while mine or theirs:
        my_text, my_digits = _head(mine)
        their_text, their_digits = _head(theirs)
        result = _compare_text(my_text, their_text)
        result = result or _sign(int(my_digits or 0) - int(their_digits or 0))
        if result:
            return result
        mine = mine[len(my_text) + len(my_digits) :]
        theirs = theirs[len(their_text) + len(their_digits) :]
    return 0


def _head(part: str) -> tuple[str, str]:
    match = _PARTS.match(part)
    return (match[1], match[2]) if match else ("", "")


def _compare_text(mine: str, theirs: str) -> int:
    for index in range(max(len(mine), len(theirs))):
        result = _sign(_weight(mine, index) - _weight(theirs, index))
        if result:
            return result
    return 0


def _weight(text: str, index: int) -> int:
    """Return a character's place: tilde before the end, then letters, then everything else."""
    if index >= len(text):
        return 0
    character = text[index]
    if character == "~":
        return -1
    return ord(character) + (0 if character.isalpha() else 1024)


def _sign(difference: int) -> int:
    return (difference > 0) - (difference < 0)
