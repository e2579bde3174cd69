"""What a plan is made from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from bastide.plan.path import Road
from bastide.schema.artifact import Manifest
from bastide.schema.facts import SiteFacts
from bastide.schema.plan import CertificateChange
from bastide.schema.release import Upgrade
from bastide.schema.site import Site


@dataclass(frozen=True)
class TreeDigest:
    """One host's rendered files, by digest.

    Args:
        sha256: Digest of the tree's archive.
        size: The archive's size in bytes.
        files: SHA-256 of each file, by path below the generation's folder.
    """

    sha256: str
    size: int
    files: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Fingerprints:
    """What may be told of the site's secrets.

    Args:
        salt: Random text, new for each plan; empty if nothing is known of the secrets.
        by_name: Fingerprint of each secret, by its name; empty for one that will be made anew.
        by_host: The same of secrets that are another one on each host, by host.
        certificates: Certificates that the apply makes anew, and those that end soon.
    """

    salt: str = ""
    by_name: Mapping[str, str] = field(default_factory=dict)
    by_host: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    certificates: tuple[CertificateChange, ...] = ()

    def of(self, host: str) -> Mapping[str, str]:
        """Return the fingerprints of all secrets that ``host`` may get, by name."""
        return {**self.by_name, **self.by_host.get(host, {})}


@dataclass(frozen=True)
class PlanInputs:
    """Everything that decides what a plan says.

    Args:
        site: The site as it should be.
        site_digest: Digest of its description.
        release: The release, as ``name-version``.
        bundle: Digest of the imported bundle.
        manifest: The bundle's artifacts.
        facts: What the hosts are now.
        trees: Each host's rendered files.
        created: The present time, RFC 3339; it decides nothing.
        keep_data: A rollback leaves the vector data as it is.
        road: Upgrade manifests, which say from where the release can be reached.
        secrets: Fingerprints of the secrets that hosts get.
        agent: SHA-256 of the host agent's text; empty if unknown.
        forget: Hosts that have left the site and are gone for good.
    """

    site: Site
    site_digest: str
    release: str
    bundle: str
    manifest: Manifest
    facts: SiteFacts
    trees: Mapping[str, TreeDigest]
    created: str
    keep_data: bool = False
    road: Road = field(default_factory=Road)
    secrets: Fingerprints = Fingerprints()
    agent: str = ""
    forget: frozenset[str] = frozenset()

    @property
    def upgrade(self) -> Upgrade | None:
        """The release's upgrade manifest; None if it is not known."""
        release = self.road.known.get(self.release)
        return release.upgrade if release else None

    @property
    def backwards(self) -> bool:
        """Whether it is a rollback."""
        return self.road.rollback

    @property
    def replaces(self) -> Mapping[str, str]:
        """Models of earlier releases, each with the one of this release that follows it."""
        return self.upgrade.replaces if self.upgrade else {}

    @property
    def running(self) -> tuple[str, ...]:
        """The releases that the site's hosts run now; a host that does not know is left out."""
        known = (self.facts.hosts[host] for host in self.site.hosts if host in self.facts.hosts)
        return tuple(sorted({each.release for each in known if each.generation and each.release}))
