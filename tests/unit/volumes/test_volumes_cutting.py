"""Sizes that people write, and where a stream is cut."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bastide.bundle.cutting import cut
from bastide.bundle.media import Media, ParityWish, parse_media, parse_parity, parse_size
from bastide.errors import BundleError, ConfigError
from bastide.schema.chunks import CHUNK
from bastide.store.code import Code
from bastide.store.pieces import Layout, Piece, Stream

SHA = "0" * 64


@pytest.mark.parametrize(
    ("text", "capacity"),
    [
        ("4GiB", 4 * 2**30),
        ("700 MB", 700 * 10**6),
        ("1.5gib", 3 * 2**29),
        ("123MiB", 123 * 2**20),
        ("cd", 737_280_000 - 4 * 2**20),
        ("DVD", 4_700_372_992 - 4 * 2**20),
        ("bd25", 25_025_314_816 - 4 * 2**20),
    ],
)
def test_sizes(text: str, capacity: int) -> None:
    assert parse_size(text).capacity == capacity


def test_media() -> None:
    found = parse_media("3x32GB fat32")
    assert (found.count, found.capacity) == (3, 32 * 10**9 * 95 // 100)
    assert parse_media("10 x dvd").capacity == parse_size("dvd").capacity


@pytest.mark.parametrize("text", ["", "4", "GiB", "-1GB", "4GiBs", "4 PB", "dvdx"])
def test_sizes_that_are_none(text: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_size(text)
    assert caught.value.code == "BAS-2015"


@pytest.mark.parametrize("text", ["", "x32GB", "0x32GB", "3x", "three"])
def test_media_that_are_none(text: str) -> None:
    with pytest.raises(ConfigError):
        parse_media(text)


@pytest.mark.parametrize(
    ("text", "data", "parity"),
    [
        (None, 9, 0),
        ("0", 9, 0),
        ("0%", 9, 0),
        ("1", 9, 1),
        ("10%", 2, 2),
        ("10%", 20, 2),
        ("10%", 21, 3),
        ("100%", 5, 5),
    ],
)
def test_parity(text: str | None, data: int, parity: int) -> None:
    assert parse_parity(text).volumes_for(data) == parity


@pytest.mark.parametrize("text", ["-1", "ten", "101%", "1.5", ""])
def test_parity_that_is_none(text: str) -> None:
    with pytest.raises(ConfigError):
        parse_parity(text)


def stream_of(sizes: list[int]) -> Stream:
    starts = itertools.accumulate(sizes, initial=0)
    return Stream(
        tuple(Piece(SHA, 0, start, size, SHA) for start, size in zip(starts, sizes, strict=False))
    )


sizes = st.lists(st.integers(1, CHUNK), max_size=60)


@given(sizes=sizes, room=st.integers(CHUNK, 9 * CHUNK), beside=st.integers(0, 1000))
def test_volumes_fit_and_their_number_is_the_least(
    sizes: list[int], room: int, beside: int
) -> None:
    stream = stream_of(sizes)
    media = Media("test", room + beside)
    wanted = cut(stream, SHA, media, ParityWish(), lambda _: beside)
    assert Layout(wanted, stream).mistakes() == []
    assert all(payload <= room for payload in wanted.payloads)
    greedy = [0]
    for size in sizes:
        if greedy[-1] + size > room:
            greedy.append(0)
        greedy[-1] += size
    assert wanted.data == len(greedy)
    assert max(wanted.payloads) <= sum(sizes) / wanted.data + 2 * CHUNK


@given(sizes=sizes, room=st.integers(CHUNK, 9 * CHUNK))
def test_every_piece_lies_in_one_volume(sizes: list[int], room: int) -> None:
    stream = stream_of(sizes)
    layout = Layout(cut(stream, SHA, Media("test", room), ParityWish(), lambda _: 0), stream)
    found = []
    for number in range(1, layout.set.data + 1):
        for piece in layout.pieces(number):
            assert layout.volume_of(piece) == number
            assert layout.bases[number - 1] <= piece.start < piece.end <= layout.bases[number]
            found.append(piece)
    assert tuple(found) == stream.pieces


def test_media_that_do_not_suffice() -> None:
    stream = stream_of([CHUNK] * 10)
    with pytest.raises(BundleError) as caught:
        cut(stream, SHA, Media("3x", 4 * CHUNK, 3), ParityWish(volumes=1), lambda _: 0)
    assert caught.value.code == "BAS-3051"
    assert "3 data and 1 parity volumes" in str(caught.value)
    with pytest.raises(BundleError):
        cut(stream, SHA, Media("tiny", CHUNK), ParityWish(), lambda _: 1)
    with pytest.raises(BundleError):
        cut(stream_of([CHUNK] * 250), SHA, Media("m", CHUNK), ParityWish(volumes=6), lambda _: 0)


def multiply(one: int, two: int) -> int:
    product = 0
    while two:
        product ^= one if two & 1 else 0
        one = (one << 1) ^ (0x11D if one & 0x80 else 0)
        two >>= 1
    return product


INVERSE = {a: b for a in range(1, 256) for b in range(1, 256) if multiply(a, b) == 1}


@pytest.mark.parametrize(("data", "parity"), [(1, 1), (5, 3), (29, 4), (200, 55)])
def test_parity_is_what_the_format_says(data: int, parity: int) -> None:
    """The formula of ``schema.volume``, by which anybody can read the volumes in fifty years."""
    content = bytes((position * 37 + 11) % 256 for position in range(data * 3))
    made = Code(data, parity).encode(content, 3)
    for row in range(parity):
        for position in range(3):
            expected = 0
            for column in range(data):
                symbol = content[column * 3 + position]
                expected ^= multiply(INVERSE[(data + row) ^ column], symbol)
            assert made[row][position] == expected


@given(
    content=st.binary(min_size=12, max_size=60).map(lambda found: found[: len(found) // 6 * 6]),
    lost=st.sets(st.integers(0, 9), max_size=4),
)
def test_any_four_of_ten_may_be_lost(content: bytes, lost: set[int]) -> None:
    code = Code(6, 4)
    length = len(content) // 6
    ranges = [content[n * length : (n + 1) * length] for n in range(6)]
    ranges += [bytes(each) for each in code.encode(content, length)]
    present = {index: each for index, each in enumerate(ranges) if index not in lost}
    for index in lost:
        assert code.restore(present, index) == ranges[index]
