"""Lets programs in this folder use the publisher of the trust tests, as pytest's path does."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parents[1] / "unit" / "trust"))
