"""What a site has only if its release brings it and site.yaml wants it. Pure."""

from __future__ import annotations

from bastide.plan.firewall import FIREWALL_PACKAGE
from bastide.schema.artifact import ArtifactKind, Component, Manifest
from bastide.schema.site import Site

FIREWALL = "firewall"


def features(site: Site, manifest: Manifest) -> frozenset[str]:
    """Return the features of ``site`` with this bundle; templates and ``tree.yaml`` ask for them.

    An earlier release that does not bring a feature's parts is rendered without it.
    """
    packages = manifest.of_kind(ArtifactKind.OS_PACKAGE)
    base = {each.name for each in packages if Component.BASE in each.components}
    found = {FIREWALL} if site.isolation.firewall and FIREWALL_PACKAGE in base else set()
    return frozenset(found)
