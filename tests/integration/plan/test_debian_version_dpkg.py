"""Our order of Debian versions against dpkg's own."""

from __future__ import annotations

import shutil

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bastide.host.process import run
from bastide.schema.debian_version import compare_versions

pytestmark = [
    pytest.mark.integration,
    pytest.mark.skipif(shutil.which("dpkg") is None, reason="dpkg is not on this machine"),
]

VERSIONS = st.from_regex(r"([0-9]{1,2}:)?[0-9][0-9ab.+~]{0,5}(-[0-9ab.+~]{1,4})?", fullmatch=True)


def dpkg(one: str, relation: str, other: str) -> bool:
    return run(["dpkg", "--compare-versions", one, relation, other], check=False).returncode == 0


@settings(max_examples=300, deadline=None)
@given(VERSIONS, VERSIONS)
def test_dpkg_agrees(one: str, other: str) -> None:
    ours = compare_versions(one, other)
    assert dpkg(one, {-1: "lt", 0: "eq", 1: "gt"}[ours], other)
