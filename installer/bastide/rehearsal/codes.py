"""The codes of what can go wrong in a rehearsal."""

from __future__ import annotations

NOT_READY = "BAS-2088"  # it cannot begin
OTHER_PLAN = "BAS-2089"  # the plan is not what site and store lead to
NO_PRESENT = "BAS-7050"  # the present generation does not come up in the lab
UPGRADE_FAILED = "BAS-7051"
ROLLBACK_FAILED = "BAS-7052"
DATA_DIFFERS = "BAS-7053"
NOT_SETTLED = "BAS-7054"  # the second upgrade failed, or another apply still changes something
NOT_MEASURED = "BAS-7055"  # no data could be loaded, or no service answered before the upgrade
