"""The salt of a plan's fingerprints."""

from __future__ import annotations

import secrets


def new_salt() -> str:
    """Return a fresh salt for the fingerprints of one plan: 128 random bits."""
    return secrets.token_hex(16)
