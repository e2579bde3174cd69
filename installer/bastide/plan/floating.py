"""Whether a site's gateways share a floating address, and whether its release can. Pure."""

from __future__ import annotations

from bastide.errors import ConfigError
from bastide.schema.artifact import Component, Manifest
from bastide.schema.site import Group, Site

NOT_IN_RELEASE = "BAS-2150"
UNIT = f"bastide-{Component.KEEPALIVED}.service"


def floats(site: Site, manifest: Manifest, host: str) -> bool:
    """Return whether ``host`` takes part in holding the site's floating address.

    Raises:
        ConfigError: The site wants one, and the bundle does not carry keepalived.
    """
    address = site.network.gateway_address
    if address is None or Group.GATEWAY not in site.hosts[host].groups:
        return False
    if not manifest.needed_by(Component.KEEPALIVED):
        raise ConfigError(
            f"site.yaml: network.gateway_address is {address}, but the release "
            f"{manifest.release} has no keepalived to hold it",
            code=NOT_IN_RELEASE,
            hint="choose a newer release, or take network.gateway_address out",
        )
    return True
