"""A root's fingerprint, as people compare it: in short groups and in words.

The words are BIP 39's: 256 bits and an 8-bit checksum (the first byte of their SHA-256) cut into
24 numbers of 11 bits, each a word of a list of 2048. No two words share their first four letters,
and one that is misheard is found by the checksum. The list in ``words.txt`` is the English one of
https://github.com/trezor/python-mnemonic (MIT), identical to that of BIP 39, SHA-256 2f5eed53….
"""

from __future__ import annotations

import difflib
import hashlib
import re
from functools import cache
from pathlib import Path

from bastide.errors import TrustError
from bastide.trust.codes import WRONG_FINGERPRINT

WORDS = 24
BITS = 11  # a word


@cache
def word_list() -> tuple[str, ...]:
    """Return the 2048 words, in order."""
    return tuple(Path(__file__).with_name("words.txt").read_text(encoding="ascii").split())


def groups(fingerprint: str) -> str:
    """Return the 64 digits in groups of four."""
    return " ".join(fingerprint[i : i + 4] for i in range(0, len(fingerprint), 4))


def words(fingerprint: str) -> tuple[str, ...]:
    """Return the fingerprint as 24 words (BIP 39)."""
    content = bytes.fromhex(fingerprint)
    number = int.from_bytes(content + _checksum(content), "big")
    listed = word_list()
    return tuple(listed[number >> (BITS * i) & 2047] for i in reversed(range(WORDS)))


def parse_fingerprint(text: str) -> str:
    """Return the fingerprint that somebody typed, in lower-case hex.

    Args:
        text: 64 hexadecimal digits with any spacing, or the 24 words; the first four letters of
            a word are enough.

    Raises:
        TrustError: It is neither; the message names the word that is wrong.
    """
    plain = text.strip().lower().removeprefix("sha256:")
    digits = re.sub(r"[\s:.-]", "", plain)
    if re.fullmatch(r"[0-9a-f]{64}", digits):
        return digits
    typed = re.findall(r"[a-z]+", plain)
    if len(typed) != WORDS:
        found = f"{len(typed)} words" if len(typed) > 1 else f"{len(digits)} characters"
        raise _wrong(f"is neither 64 hexadecimal digits nor {WORDS} words: it has {found}")
    number = 0
    for place, word in enumerate(typed, start=1):
        number = number << BITS | _index(word, place)
    content, checksum = (number >> 8).to_bytes(32, "big"), (number & 255).to_bytes(1, "big")
    if _checksum(content) != checksum:
        raise _wrong("does not add up: a word is another one than was read out, or out of place")
    return content.hex()


def _index(word: str, place: int) -> int:
    listed = word_list()
    if word in listed:
        return listed.index(word)
    found = [i for i, each in enumerate(listed) if each.startswith(word)] if len(word) > 3 else []
    if len(found) == 1:
        return found[0]
    close = difflib.get_close_matches(word, listed, n=1)
    guess = f"; did you mean {close[0]}?" if close else ""
    raise _wrong(f"has the word {word!r} at place {place}, which is not in the list{guess}")


def _checksum(content: bytes) -> bytes:
    return hashlib.sha256(content).digest()[:1]


def _wrong(what: str) -> TrustError:
    return TrustError(
        f"the fingerprint that was typed {what}",
        code=WRONG_FINGERPRINT,
        hint="have it read out again: `bastide trust fingerprint` shows it on the publisher's side",
    )
