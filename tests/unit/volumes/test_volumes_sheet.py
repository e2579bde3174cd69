"""The sheet that travels with the media."""

from __future__ import annotations

import re
from pathlib import Path

from bastide.bundle.split import SplitResult, SplitVolume
from bastide.render.custody import groups, html

DIGEST = "0123456789abcdef" * 4


def sheet(release: str = "starter-2026.11.0", parity: int = 1) -> str:
    volumes = tuple(
        SplitVolume(number, f"volume-{number:02}-of-03", number > 3 - parity, 4_000_000, DIGEST)
        for number in range(1, 4)
    )
    return html(
        SplitResult(
            Path("/out"), DIGEST, release, "any", DIGEST, "4GiB", 3 - parity, parity, volumes
        )
    )


def test_it_needs_nothing_else_and_prints_to_a4() -> None:
    page = sheet()
    assert not re.search(r"(src|href)=|url\(|@import|<script", page)
    assert "size: A4" in page


def test_it_names_volumes_digests_sizes_and_has_lines_to_sign() -> None:
    page = sheet()
    for number in range(1, 4):
        assert f"volume-{number:02}-of-03" in page
    assert page.count("<span>01234567</span>") == 4 * (3 + 2)
    assert page.count("4.0 MB") == 3
    assert "any 1 of them may be lost" in page
    assert page.count("<tr><td style") == 6
    assert "all are needed" in sheet(parity=0)


def test_texts_are_escaped() -> None:
    assert "<b>x</b>" not in sheet("<b>x</b>")


def test_groups_are_the_digest() -> None:
    assert "".join(groups(DIGEST)) == DIGEST
    assert {len(group) for group in groups(DIGEST)} == {8}
