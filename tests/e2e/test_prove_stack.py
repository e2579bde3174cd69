"""The script that shows a stack of four hosts from its installation to its removal."""

from __future__ import annotations

from pathlib import Path

import pytest
from site_operator import proves

pytestmark = [pytest.mark.e2e, pytest.mark.long]


def test_four_hosts_from_installation_to_removal(lab_tools: None, tmp_path: Path) -> None:  # noqa: ARG001
    said = proves("prove-stack", "--short", seconds=3600, BASTIDE_REPORTS=str(tmp_path))
    assert said.rstrip().endswith("== All held")
    assert "Isolation of site stack: proved" in said
    assert [*tmp_path.glob("*/isolation.html")]
