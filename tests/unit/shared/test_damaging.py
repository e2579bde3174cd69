"""What the tests do to files is really done."""

from __future__ import annotations

from pathlib import Path

import pytest
from damaging import flip


@pytest.mark.parametrize("after", range(256))
def test_a_flipped_bit_changes_its_byte_and_no_other(tmp_path: Path, after: int) -> None:
    path = tmp_path / "file"
    path.write_bytes(bytes([7, 6, after]))
    flip(path, 1)
    assert path.read_bytes() == bytes([7, 7, after])
