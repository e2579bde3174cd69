"""The script that shows that an upgrade cannot hurt, in its short form."""

from __future__ import annotations

import pytest
from site_operator import proves

pytestmark = pytest.mark.e2e


def test_an_upgrade_under_load_a_refused_one_and_a_rollback(lab_tools: None) -> None:  # noqa: ARG001
    said = proves("prove-upgrade", "--short", seconds=1800)
    assert said.rstrip().endswith("== All held")
    assert "refused with exit code 7, taken back" in said
