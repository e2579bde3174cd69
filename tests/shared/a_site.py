"""A site, valid as it is, of which a test says only what matters to it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from bastide.schema.site import SERVING, Site

ONE = {"host1": ("10.0.0.11", SERVING)}


def a_site(
    hosts: Mapping[str, tuple[str, Iterable[str]]] | None = None,
    network: Mapping[str, Any] | None = None,
    **changes: Any,
) -> Site:
    """Return a site.

    Args:
        hosts: Name → address and groups; one host that serves everything if not given.
        network: What differs in its network.
        changes: Other sections of ``site.yaml``, as a whole.
    """
    described = {
        "format": "bastide.site/1",
        "name": "plant",
        "release": "starter",
        "target": "debian12-x86_64",
        "ssh": {"private_key": "/keys/id", "known_hosts": "/keys/known_hosts"},
        "network": {"control_address": "10.0.0.1", **(network or {})},
        "hosts": {
            name: {"address": address, "groups": list(groups)}
            for name, (address, groups) in (hosts or ONE).items()
        },
        "models": {"llm": "chat", "embeddings": "embed"},
    }
    return Site.model_validate({**described, **changes})
