"""Byte ranges: every header gives a part of the file, the whole file, or a clean refusal."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bastide.run.ranges import ByteRange, UnsatisfiableRangeError, parse_range


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        ("bytes=0-", ByteRange(0, 100)),
        ("bytes=40-", ByteRange(40, 100)),
        ("bytes=40-49", ByteRange(40, 50)),
        ("bytes=40-4000", ByteRange(40, 100)),
        ("bytes=-10", ByteRange(90, 100)),
        ("bytes=-1000", ByteRange(0, 100)),
        (None, None),
        ("", None),
        ("bytes=-", None),
        ("bytes=5-3", None),
        ("bytes=0-1,5-6", None),
        ("bytes=x-", None),
        ("items=0-5", None),
        ("bytes=٣-", None),
    ],
)
def test_known_headers(header: str | None, expected: ByteRange | None) -> None:
    assert parse_range(header, 100) == expected


@pytest.mark.parametrize(
    ("header", "size"), [("bytes=100-", 100), ("bytes=-0", 5), ("bytes=0-", 0)]
)
def test_a_range_without_any_byte_is_refused(header: str, size: int) -> None:
    with pytest.raises(UnsatisfiableRangeError):
        parse_range(header, size)


@given(st.text(max_size=40) | st.from_regex(r"bytes=\d{0,25}-\d{0,25}"), st.integers(0, 10**15))
def test_no_header_reaches_beyond_the_file(header: str, size: int) -> None:
    try:
        part = parse_range(header, size)
    except UnsatisfiableRangeError:
        return
    if part is not None:
        assert 0 <= part.first < part.end <= size


@given(st.data(), st.integers(1, 10**12))
def test_a_resumed_transfer_gets_exactly_what_is_missing(data: st.DataObject, size: int) -> None:
    have = data.draw(st.integers(0, size - 1))
    part = parse_range(f"bytes={have}-", size)
    assert part == ByteRange(have, size)
    assert part.length == size - have
