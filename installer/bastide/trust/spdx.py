"""From what a package says of its licence to an SPDX expression, if it can be said in SPDX.

Wheels, .debs and model cards each have words of their own. Identifiers, aliases and families come
from the index of ScanCode LicenseDB that ``license-expression`` carries; nothing is fetched.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from license_expression import (
    ExpressionError,
    LicenseWithExceptionSymbol,
    Licensing,
    get_license_index,
    get_spdx_licensing,
)

from bastide.schema.policy import LicenceFamily

MAX_LABEL = 2000  # characters of an expression; numpy's has 50
_FAMILIES = {
    "Permissive": LicenceFamily.PERMISSIVE,
    "Public Domain": LicenceFamily.PUBLIC_DOMAIN,
    "Copyleft Limited": LicenceFamily.WEAK_COPYLEFT,
    "Copyleft": LicenceFamily.STRONG_COPYLEFT,
    "Unstated License": LicenceFamily.UNKNOWN,
}
# Debian's short names (copyright-format 1.0) and words of wheels that SPDX has other words for.
_WORDS = {
    "expat": "MIT",
    "mit license": "MIT",
    "apache-2": "Apache-2.0",
    "apache 2.0": "Apache-2.0",
    "apache license 2.0": "Apache-2.0",
    "apache license, version 2.0": "Apache-2.0",
    "3-clause bsd license": "BSD-3-Clause",
    "bsd-3-clause license": "BSD-3-Clause",
    "new bsd": "BSD-3-Clause",
    "simplified bsd": "BSD-2-Clause",
    "psf": "PSF-2.0",
    "artistic": "Artistic-1.0-Perl",
    "zlib": "Zlib",
    "mit-or-gpl-2": "MIT",  # of several to choose from, the mildest decides
}
_GNU = re.compile(r"^(A?GPL|LGPL|GFDL)-([0-9](?:\.[0-9]+)*)(\+?)$", re.IGNORECASE)
# A licence with an exception that only words describe, or whose text a copyright file refers to.
_WITH = re.compile(r"^(\S+) (?:with .*[Ee]xception.*|by reference)$")
# Words that name a family but no single licence of it.
_BY_WORD = {
    "bsd license": LicenceFamily.PERMISSIVE,
    "bsd": LicenceFamily.PERMISSIVE,
    "mit-style": LicenceFamily.PERMISSIVE,
    "permissive": LicenceFamily.PERMISSIVE,
    "public-domain": LicenceFamily.PUBLIC_DOMAIN,
    "public domain": LicenceFamily.PUBLIC_DOMAIN,
    "gpl": LicenceFamily.STRONG_COPYLEFT,
    "lgpl": LicenceFamily.WEAK_COPYLEFT,
    "unknown": LicenceFamily.UNKNOWN,
}
_TOKENS = re.compile(r"\s*(\(|\)|\bAND\b|\bOR\b)\s*")


@dataclass(frozen=True)
class OneLicence:
    """One licence of an expression.

    Args:
        key: Its SPDX identifier (with its exception, if any), or the name that was given.
        base: The identifier without the exception.
        family: What kind of licence it is.
        in_spdx: Whether ``key`` is SPDX's.
    """

    key: str
    base: str
    family: LicenceFamily
    in_spdx: bool


@dataclass(frozen=True)
class AnyOf:
    """The receiver may choose one."""

    options: tuple[Expression, ...]


@dataclass(frozen=True)
class AllOf:
    """All of them bind."""

    parts: tuple[Expression, ...]


Expression = OneLicence | AnyOf | AllOf


@lru_cache(maxsize=1)
def _licensing() -> Licensing:
    return get_spdx_licensing()


@lru_cache(maxsize=1)
def _index() -> dict[str, tuple[str, LicenceFamily]]:
    """Return identifier and family by every spelling of an SPDX licence, in lower case."""
    found: dict[str, tuple[str, LicenceFamily]] = {}
    for entry in get_license_index():
        key = entry.get("spdx_license_key") or ""
        if not key or key.startswith("LicenseRef-"):
            continue
        family = _FAMILIES.get(entry.get("category") or "", LicenceFamily.RESTRICTED)
        for spelling in (key, *(entry.get("other_spdx_license_keys") or ())):
            found.setdefault(spelling.lower(), (key, family))
    return found


def understand(label: str) -> Expression:
    """Return what a licence's label says; words that are no expression are one named licence."""
    named = _one(label)
    if named.in_spdx or named.family is not LicenceFamily.UNKNOWN or len(label) > MAX_LABEL:
        return named
    names: list[str] = []
    pieces = []
    for token in _TOKENS.split(label):
        if token in {"(", ")", "AND", "OR"} or not token.strip() or " WITH " in token:
            pieces.append(token)
        else:
            pieces.append(f"n{len(names)}")
            names.append(token.strip())
    if len(names) < 2 and not any(" WITH " in piece for piece in pieces):
        return named
    try:
        return _tree(_licensing().parse(" ".join(pieces)), names)
    except (ExpressionError, ValueError, TypeError, IndexError, RecursionError, AssertionError):
        return named


def spdx_expression(label: str) -> str | None:
    """Return a licence's label as an SPDX expression; None if a part of it is not SPDX's."""
    return _spell(understand(label))


def _spell(expression: Expression, *, inside: bool = False) -> str | None:
    match expression:
        case OneLicence():
            return expression.key if expression.in_spdx else None
        case AllOf(parts=parts):
            word, members = " AND ", parts
        case AnyOf(options=options):
            word, members = " OR ", options
    spelt = [_spell(member, inside=True) for member in members]
    if None in spelt:
        return None
    text = word.join(each for each in spelt if each)
    return f"({text})" if inside else text


def _tree(node: Any, names: list[str]) -> Expression:  # noqa: ANN401 - the library has no types
    arguments = getattr(node, "args", ())
    if arguments:
        members = tuple(_tree(each, names) for each in arguments)
        return AllOf(members) if type(node).__name__ == "AND" else AnyOf(members)
    if isinstance(node, LicenseWithExceptionSymbol):
        base = _one(str(node.license_symbol.key))
        key = f"{base.key} WITH {node.exception_symbol.key}"
        known = base.in_spdx and str(node.exception_symbol.key).lower() in _index()
        return OneLicence(key, base.key, base.family, known)
    return _one(names[int(str(node.key)[1:])])


def _one(words: str) -> OneLicence:
    text = " ".join(words.split())
    lower = text.lower()
    if lower in _BY_WORD:
        return OneLicence(text, text, _BY_WORD[lower], in_spdx=False)
    spelling = _WORDS.get(lower, text)
    if gnu := _GNU.match(spelling):
        number = gnu[2] if "." in gnu[2] else f"{gnu[2]}.0"
        spelling = f"{gnu[1].upper()}-{number}-{'or-later' if gnu[3] else 'only'}"
    if found := _index().get(spelling.lower()):
        key, family = found
        return OneLicence(key, key, family, in_spdx=True)
    if exception := _WITH.match(text):
        base = _one(exception[1])
        return OneLicence(text, base.key, base.family, in_spdx=False)
    return OneLicence(text, text, LicenceFamily.UNKNOWN, in_spdx=False)
