"""The one redactor that everything in a support bundle passes. Pure.

First what is known to be secret here, by its exact bytes and by what they become when they are
encoded or hashed; then forms that secrets have; then texts in base 64 that hold either; then runs
of letters that look random. It would rather take too much than leave something in.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
import math
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from urllib.parse import quote, quote_plus

from bastide.support.patterns import ENCODED, FORMS, HEX, Form

SHORTEST = 8  # characters of a known secret: shorter ones would be found everywhere
_LINE = 24  # characters of a key's line that are enough to know it by
_RANDOM = 3.7  # bits a character, from which on a long run of letters looks random
_RANDOM_LENGTH = 24
_KNOWN = "known-secret"


def mark(name: str) -> str:
    """Return what stands in the place of a secret."""
    return f"[redacted:{name}]"


def spellings(secret: str) -> Iterator[str]:
    """Yield how a known secret may be written: itself, its lines, encoded, and hashed."""
    plain = secret.strip()
    if len(plain) < SHORTEST:
        return
    yield plain
    yield from (line.strip() for line in plain.splitlines() if len(line.strip()) >= _LINE)
    yield json.dumps(plain)[1:-1]
    yield quote(plain, safe="")
    yield quote_plus(plain)
    raw = plain.encode()
    for content in (raw, secret.encode()):
        for name in ("sha256", "sha1", "md5", "sha512"):
            digest = hashlib.new(name, content, usedforsecurity=False).digest()
            yield digest.hex()
            yield base64.b64encode(digest).decode().rstrip("=")
    yield raw.hex()
    yield raw.hex().upper()
    yield plain[::-1]
    yield from _base64_parts(raw)


def _base64_parts(raw: bytes) -> Iterator[str]:
    """Yield what base 64 makes of bytes wherever they begin in a longer text."""
    for shift in range(3):
        text = base64.b64encode(bytes(shift) + raw).decode()
        # Characters at both ends also depend on what stands before and after.
        inner = text[(0, 2, 3)[shift] :].rstrip("=")[:-1]
        if len(inner) >= SHORTEST:
            yield inner
            yield inner.replace("+", "-").replace("/", "_")


@dataclass
class Redactor:
    """Takes secrets out of texts and counts what it took.

    Args:
        known: Secrets of this very site; each is looked for in many spellings.
        rename: Applied last, such as pseudonyms for hosts; nothing if not given.
    """

    known: Iterable[str] = ()
    rename: Callable[[str], str] | None = None
    found: Counter[str] = field(default_factory=Counter)
    _needles: re.Pattern[str] | None = None

    def __post_init__(self) -> None:
        needles = {each for secret in self.known for each in spellings(secret)}
        longest_first = sorted(needles, key=lambda each: (-len(each), each))
        if longest_first:
            self._needles = re.compile("|".join(map(re.escape, longest_first)))

    def text(self, text: str) -> str:
        """Return ``text`` without secrets, and count them in ``found``."""
        text = self._forms(self._exact(text))
        text = ENCODED.sub(self._encoded, text)
        return self.rename(text) if self.rename else text

    # --- inside ------------------------------------------------------------------------------
    def _exact(self, text: str) -> str:
        if self._needles is None:
            return text
        text, many = self._needles.subn(mark(_KNOWN), text)
        self.found[_KNOWN] += many
        return text

    def _forms(self, text: str) -> str:
        for form in FORMS:
            text = form.pattern.sub(self._replace(form), text)
        return text

    def _replace(self, form: Form) -> Callable[[re.Match[str]], str]:
        def replaced(match: re.Match[str]) -> str:
            self.found[form.name] += 1
            kept = match.groupdict().get("keep") or ""
            end = "\n" if match[0].endswith("\n") else ""
            tail = "@" if form.name == "url-user" else ""
            return f"{kept}{mark(form.name)}{tail}{end}"

        return replaced

    def _encoded(self, match: re.Match[str]) -> str:
        word = match[0]
        if self._hides_something(word):
            self.found["encoded"] += 1
            return mark("encoded")
        if looks_random(word):
            self.found["random"] += 1
            return mark("random")
        return word

    def _hides_something(self, word: str) -> bool:
        plain = _decoded(word)
        if plain is None:
            return False
        if self._needles is not None and self._needles.search(plain):
            return True
        return any(form.pattern.search(plain) for form in FORMS)


def _decoded(word: str) -> str | None:
    """Return what a word spells in base 64, if that is text."""
    body = word.rstrip("=").replace("-", "+").replace("_", "/")
    try:
        content = base64.b64decode(body + "=" * (-len(body) % 4), validate=True)
        text = content.decode()
    except (binascii.Error, ValueError):
        return None
    return text if all(char.isprintable() or char.isspace() for char in text) else None


def looks_random(word: str) -> bool:
    """Return whether a run of letters looks like a key rather than like a name or a digest.

    Digests in hex stay: versions, artifacts and files are known by them.
    """
    bare = word.rstrip("=")
    if len(bare) < _RANDOM_LENGTH or HEX.fullmatch(bare):
        return False
    kinds = (str.islower, str.isupper, str.isdigit)
    if not all(any(kind(char) for char in bare) for kind in kinds):
        return False
    counts = Counter(bare)
    bits = -sum(n / len(bare) * math.log2(n / len(bare)) for n in counts.values())
    return bits >= _RANDOM and not _is_path(bare)


def _is_path(word: str) -> bool:
    """Return whether a run is made of words: parts between slashes, dashes and underscores."""
    parts = [part for part in re.split(r"[/_-]", word) if part]
    return len(parts) > 2 and all(
        re.fullmatch(r"[A-Za-z]*\d*|[A-Z0-9]+Z?|[0-9a-f]+|\d+[A-Za-z]*", part) for part in parts
    )
