"""In which condition a host is: what could keep a change from working. Reads only.

``facts`` says what a host is, and a plan is made from it. This says what preflight decides from:
nothing here makes a plan stale. Nothing is written, not even to see whether it could be.
"""

from __future__ import annotations

from bastide_host.condition_bastide import own_state
from bastide_host.condition_network import network_state
from bastide_host.condition_packages import package_state
from bastide_host.condition_places import places
from bastide_host.condition_system import system_state
from bastide_host.condition_units import unit_state
from bastide_host.host import JsonObject, Paths


def condition(paths: Paths, asked: JsonObject) -> JsonObject:
    """Return the host's condition (``bastide.condition/1``).

    Args:
        paths: The host's paths.
        asked: ``address`` (the host's own, by site.yaml), ``depot`` (address and port of the
            control node's listener, None if it does not listen), ``peers`` (address and port
            of other hosts' services) and ``floating`` (of a gateway: the floating address, the
            host's own and all gateways'; None or missing if there is none).
    """
    return {
        "format": "bastide.condition/1",
        **system_state(paths),
        "places": places(paths),
        **package_state(paths),
        **unit_state(paths),
        **own_state(paths),
        **network_state(asked),
    }
