"""What a plan is made from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from bastide.schema.artifact import Manifest
from bastide.schema.facts import SiteFacts
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
    """

    salt: str = ""
    by_name: Mapping[str, str] = field(default_factory=dict)


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
        secrets: Fingerprints of the secrets that hosts get.
        agent: SHA-256 of the host agent's text; empty if unknown.
        upgrade: The release's upgrade manifest; None if unknown.
    """

    site: Site
    site_digest: str
    release: str
    bundle: str
    manifest: Manifest
    facts: SiteFacts
    trees: Mapping[str, TreeDigest]
    created: str
    secrets: Fingerprints = Fingerprints()
    agent: str = ""
    upgrade: Upgrade | None = None
