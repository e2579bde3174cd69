from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bastide.schema.debian_version import compare_versions, version_key

# From oldest to newest: the cases of Debian Policy and of dpkg's own tests.
ORDERED = [
    "0~~",
    "0~~a",
    "0~",
    "0",
    "0a",
    "1.0~beta1~svn1245",
    "1.0~beta1",
    "1.0",
    "1.0-1~bpo12+1",
    "1.0-1",
    "1.0-1+deb12u1",
    "1.0-1+deb12u2",
    "1.0-1+deb12u10",
    "1.0a-1",
    "1.0+dfsg-1",
    "1.2",
    "1.10",
    "2.6.12-1+deb12u2",
    "2.6.12-1+deb12u3",
    "1:0.1",
]

VERSIONS = st.from_regex(
    r"([0-9]{1,2}:)?[0-9][0-9a-zA-Z.+~]{0,6}(-[0-9a-zA-Z.+~]{1,5})?", fullmatch=True
)


@pytest.mark.parametrize(("older", "newer"), list(itertools.combinations(ORDERED, 2)))
def test_known_order(older: str, newer: str) -> None:
    assert compare_versions(older, newer) == -1
    assert compare_versions(newer, older) == 1


@pytest.mark.parametrize(
    ("one", "other"), [("1.0", "0:1.0"), ("1.0", "1.0-0"), ("1.01", "1.1"), ("1.0", "1.0")]
)
def test_same_version_written_differently(one: str, other: str) -> None:
    assert compare_versions(one, other) == 0


@given(st.lists(VERSIONS, min_size=2, max_size=6))
def test_it_is_an_order(versions: list[str]) -> None:
    ordered = sorted(versions, key=version_key)
    for older, newer in itertools.combinations(ordered, 2):
        assert compare_versions(older, newer) <= 0
        assert compare_versions(newer, older) == -compare_versions(older, newer)
