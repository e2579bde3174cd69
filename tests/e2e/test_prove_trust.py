"""The proof of trust and transport, in its short form."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

pytestmark = pytest.mark.e2e


def test_a_bundle_survives_its_journey_and_cannot_lie(lab_tools: None) -> None:  # noqa: ARG001
    done = subprocess.run(
        ["scripts/prove-trust", "--short"], cwd=ROOT, check=False, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("Repaired: ") == 2  # one volume was destroyed, one bit was flipped
    assert done.stdout.rstrip().endswith("All of it held")
