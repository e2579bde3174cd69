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
        upgrade: The release's upgrade manifest; None if it is not known.
        backwards: It is a rollback.
        keep_data: A rollback leaves the vector data as it is.
    """

    site: Site
    site_digest: str
    release: str
    bundle: str
    manifest: Manifest
    facts: SiteFacts
    trees: Mapping[str, TreeDigest]
    created: str
    upgrade: Upgrade | None = None
    backwards: bool = False
    keep_data: bool = False
