"""The named attacks: what an attacker shows to a site, and with which code it is refused.

``docs/security.md`` lists every one of them; ``test_trust_attacks.py`` holds page and suite
together. An attack returns what the site is shown; an attacker has the keys that its text names.
"""

from __future__ import annotations

import attacks_on_bundles
import attacks_on_keys
import attacks_on_metadata
import attacks_on_time
from attack_table import Attack

__all__ = ["ATTACKS", "Attack"]

ATTACKS = (
    *attacks_on_bundles.ATTACKS,
    *attacks_on_time.ATTACKS,
    *attacks_on_keys.ATTACKS,
    *attacks_on_metadata.ATTACKS,
)
