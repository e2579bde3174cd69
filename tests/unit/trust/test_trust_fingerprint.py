from __future__ import annotations

import contextlib
import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bastide.errors import TrustError
from bastide.trust.fingerprint import groups, parse_fingerprint, word_list, words

hexes = st.binary(min_size=32, max_size=32).map(bytes.hex)


def test_the_list_is_bip_39s() -> None:
    listed = word_list()
    text = "\n".join(listed) + "\n"
    found = hashlib.sha256(text.encode()).hexdigest()
    assert found == "2f5eed53a4727b4bf8880d8f3f199efc90e58503646d9ff8eff3a2ed3b24dbda"
    assert len({word[:4] for word in listed}) == len(listed) == 2048


@pytest.mark.parametrize(
    ("fingerprint", "first", "last"),
    [  # test vectors of BIP 39 (256 bits), from its reference implementation
        ("00" * 32, "abandon", "art"),
        ("7f" * 32, "legal", "title"),
        ("80" * 32, "letter", "bless"),
        ("ff" * 32, "zoo", "vote"),
    ],
)
def test_words_are_bip_39s(fingerprint: str, first: str, last: str) -> None:
    found = words(fingerprint)
    assert (found[0], found[-1]) == (first, last)
    assert len(found) == 24


@given(hexes)
def test_every_form_leads_back(fingerprint: str) -> None:
    spoken = words(fingerprint)
    for text in (
        fingerprint,
        groups(fingerprint),
        f"sha256:{fingerprint.upper()}",
        " ".join(spoken),
        "\n".join(f"{word[:4]}," for word in spoken),
    ):
        assert parse_fingerprint(text) == fingerprint


@given(hexes, st.integers(0, 22))
def test_words_out_of_place_are_noticed_or_are_another_fingerprint(
    fingerprint: str, place: int
) -> None:
    spoken = list(words(fingerprint))
    spoken[place], spoken[place + 1] = spoken[place + 1], spoken[place]
    if spoken == list(words(fingerprint)):
        return
    try:
        assert parse_fingerprint(" ".join(spoken)) != fingerprint
    except TrustError as error:
        assert "does not add up" in str(error)  # noqa: PT017 - one of two outcomes


@pytest.mark.parametrize(
    ("text", "words_"),
    [
        ("", "neither"),
        ("abcd", "neither"),
        ("a" * 63, "63 characters"),
        ("abandon " * 23, "23 words"),
        ("abandon " * 23 + "zzzz", "place 24"),
        ("abandon " * 23 + "artt", "did you mean art"),
        ("abandon " * 24, "does not add up"),
    ],
)
def test_what_is_no_fingerprint_is_explained(text: str, words_: str) -> None:
    with pytest.raises(TrustError, match=words_) as caught:
        parse_fingerprint(text)
    assert caught.value.code == "BAS-4024"


@given(st.text())
def test_no_text_leads_to_anything_but_an_error_of_ours(text: str) -> None:
    with contextlib.suppress(TrustError):
        assert len(parse_fingerprint(text)) == 64
