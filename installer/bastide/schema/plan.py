"""A plan: the exact changes from what the hosts are to what the site wants. Pure data."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from bastide.schema.base import Name, Sha256, Size, Value
from bastide.schema.site import Group


class Pull(Value):
    """One blob that a host fetches from the control node."""

    name: str
    filename: str
    sha256: Sha256
    size: Size
    destination: str = Field(description="Absolute path on the host.")


class PackageChange(Value):
    """An OS package to install or to change."""

    name: str
    before: str | None = Field(description="Installed version; None if it is not installed.")
    after: str


class FileChange(Value):
    """A file of the generation's tree that is new, different or gone."""

    path: str = Field(description="Path below the generation's folder.")
    action: Literal["create", "update", "remove"]
    sha256: Sha256 | None = None


class UnitChange(Value):
    """What happens to a systemd unit."""

    name: str
    action: Literal["start", "restart", "stop"]


class HostPlan(Value):
    """What changes on one host."""

    host: Name
    address: str
    groups: tuple[Group, ...]
    generation_before: int | None
    generation_after: int
    generation_digest: Sha256
    tree_sha256: Sha256 = Field(description="Digest of the host's rendered tree archive.")
    pulls: tuple[Pull, ...] = ()
    packages: tuple[PackageChange, ...] = ()
    files: tuple[FileChange, ...] = ()
    units: tuple[UnitChange, ...] = ()
    drift: tuple[str, ...] = Field(
        default=(), description="What differs on the host from its current generation."
    )
    disk_needed: dict[str, Size] = Field(
        default={}, description="Bytes that will be used, by path of file system."
    )

    @property
    def changes(self) -> int:
        """How many single changes this host sees."""
        lists = (self.pulls, self.packages, self.files, self.units, self.drift)
        return sum(len(each) for each in lists)

    @property
    def bytes_to_pull(self) -> int:
        """How many bytes this host fetches."""
        return sum(pull.size for pull in self.pulls)


class Plan(Value):
    """The whole plan; ``digest()`` identifies it, and apply refuses it if its inputs changed."""

    format: Literal["bastide.plan/1"] = "bastide.plan/1"
    site: Name
    release: str = Field(description="name-version of the release.")
    bundle: Sha256 = Field(description="Digest of the imported bundle it installs from.")
    site_digest: Sha256 = Field(description="Digest of site.yaml's content.")
    facts_digest: Sha256 = Field(description="Digest of the facts that decide (see planner).")
    created: str = Field(description="When it was made, RFC 3339; not part of staleness.")
    hosts: tuple[HostPlan, ...]

    @property
    def changes(self) -> int:
        """How many single changes the plan makes."""
        return sum(host.changes for host in self.hosts)
