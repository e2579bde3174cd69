"""What can go wrong with a lab, each failure with its own stable code."""

from __future__ import annotations

from bastide.errors import BastideError


class LabError(BastideError):
    """A lab could not be raised, reached or removed; production hosts are never involved."""

    default_code = "BAS-1010"


NOT_ROOT = "BAS-1011"
TOOLS_MISSING = "BAS-1012"
ROOTFS_FAILED = "BAS-1013"
BOOT_TIMEOUT = "BAS-1014"
HOST_DIED = "BAS-1015"
ROUTE_FOUND = "BAS-1016"
NOT_FOUND = "BAS-1017"
BAD_SPEC = "BAS-1018"
NO_SPACE = "BAS-1019"
STILL_RUNNING = "BAS-1020"
OTHER_HOME = "BAS-1021"
