"""The kinds of faults for ``preflight_faults.py``, in the order of its table."""

from __future__ import annotations

from preflight_fault import Fault
from preflight_kinds_of_hosts import PACKAGES, PLACES, REACH, SYSTEM
from preflight_kinds_of_ours import LEFTOVERS, MENDED, NAMES
from preflight_kinds_of_sites import CONTROL, NETWORK

__all__ = ["FAULTS", "MENDED", "Fault"]

FAULTS = (*REACH, *SYSTEM, *PLACES, *PACKAGES, *NAMES, *LEFTOVERS, *NETWORK, *CONTROL)
