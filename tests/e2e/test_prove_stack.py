"""The script that shows a stack of four hosts from its installation to its removal."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

pytestmark = [pytest.mark.e2e, pytest.mark.long]
ROOT = Path(__file__).resolve().parents[2]


def test_four_hosts_from_installation_to_removal(lab_tools: None, tmp_path: Path) -> None:  # noqa: ARG001
    done = subprocess.run(
        ["scripts/prove-stack", "--short"],
        check=False,
        cwd=ROOT,
        env={**os.environ, "BASTIDE_REPORTS": str(tmp_path)},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=3600,
    )
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-6000:]
    assert done.stdout.rstrip().endswith("== All held")
    assert "Isolation of site stack: proved" in done.stdout
    assert [*tmp_path.glob("*/isolation.html")]
