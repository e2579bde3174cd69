"""``delta.json`` is untrusted: whatever it says, it fits the bundle or is refused."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bastide.errors import BundleError
from bastide.schema.delta import Delta, Rebuilt, Since, Sized
from bastide.store.delta_document import parse_delta

BUNDLE, CARRIED, MADE, BASE, PATCH = (letter * 64 for letter in "abcde")
BLOBS = {CARRIED: 10, MADE: 1000}
GOOD = Delta(
    bundle=BUNDLE,
    since=Since(site="north", receipt="f" * 64, issued_at=datetime(2026, 11, 22, tzinfo=UTC)),
    carried=(CARRIED,),
    rebuilt=(
        Rebuilt(
            blob=Sized(sha256=MADE, size=1000),
            base=Sized(sha256=BASE, size=900),
            patch=Sized(sha256=PATCH, size=50),
        ),
    ),
)
REBUILT = GOOD.rebuilt[0]


def test_a_delta_that_fits_is_read() -> None:
    assert parse_delta(GOOD.canonical(), BUNDLE, BLOBS) == GOOD


@pytest.mark.parametrize(
    ("delta", "words"),
    [
        (GOOD.replace(bundle="0" * 64), "the documents are of"),
        (GOOD.replace(carried=(CARRIED, CARRIED)), "is named 2 times"),
        (GOOD.replace(carried=(MADE,)), "is named 2 times"),
        (GOOD.replace(carried=("9" * 64,)), "is no blob of the bundle"),
        (
            GOOD.replace(rebuilt=(REBUILT.replace(blob=Sized(sha256=MADE, size=999)),)),
            "makes 999 bytes, the blob has 1000",
        ),
        (
            GOOD.replace(rebuilt=(REBUILT.replace(patch=Sized(sha256=PATCH, size=1001)),)),
            "larger than the blob",
        ),
    ],
)
def test_a_delta_that_does_not_fit_is_refused(delta: Delta, words: str) -> None:
    with pytest.raises(BundleError) as caught:
        parse_delta(delta.canonical(), BUNDLE, BLOBS)
    assert caught.value.code == "BAS-3150"
    assert any(words in problem.what for problem in caught.value.problems)


@settings(max_examples=500, deadline=None)
@given(
    changes=st.lists(
        st.tuples(st.integers(0, len(GOOD.canonical()) - 1), st.integers(0, 255)), max_size=6
    ),
    cut=st.integers(0, len(GOOD.canonical())),
    whole=st.booleans(),
)
def test_any_mutation_is_refused_or_fits(
    changes: list[tuple[int, int]], cut: int, *, whole: bool
) -> None:
    content = bytearray(GOOD.canonical())
    for place, value in changes:
        content[place] = value
    try:
        delta = parse_delta(bytes(content if whole else content[:cut]), BUNDLE, BLOBS)
    except BundleError as error:
        assert error.code == "BAS-3150"  # noqa: PT017 - or it is accepted, see below
    else:
        assert delta.bundle == BUNDLE
        assert {*delta.carried, *(each.blob.sha256 for each in delta.rebuilt)} <= set(BLOBS)
        assert all(each.blob.size == BLOBS[each.blob.sha256] for each in delta.rebuilt)


@pytest.mark.parametrize("content", [b"", b"null", b"[" * 100_000, b'{"format":1e999}', b"\xff"])
def test_nonsense_is_refused(content: bytes) -> None:
    with pytest.raises(BundleError) as caught:
        parse_delta(content, BUNDLE, BLOBS)
    assert caught.value.code == "BAS-3150"
