"""The script that shows that an upgrade cannot hurt, in its short form."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

pytestmark = pytest.mark.e2e
ROOT = Path(__file__).resolve().parents[2]


def test_an_upgrade_under_load_a_refused_one_and_a_rollback(lab_tools: None) -> None:  # noqa: ARG001
    done = subprocess.run(
        ["scripts/prove-upgrade", "--short"],
        check=False,
        cwd=ROOT,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=1800,
    )
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-6000:]
    assert done.stdout.rstrip().endswith("== All held")
    assert "refused with exit code 7, taken back" in done.stdout
