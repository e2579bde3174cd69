"""The proof of trust and transport, in its short form."""

from __future__ import annotations

import pytest
from site_operator import proves

pytestmark = pytest.mark.e2e


def test_a_bundle_survives_its_journey_and_cannot_lie(lab_tools: None) -> None:  # noqa: ARG001
    said = proves("prove-trust", "--short")
    assert said.count("Repaired: ") == 2  # one volume was destroyed, one bit was flipped
    assert said.rstrip().endswith("== All of it held")
