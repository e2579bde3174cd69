"""A plan: the exact changes from what the hosts are to what the site wants. Pure data."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from bastide.schema.artifact import Component
from bastide.schema.base import Name, Sha256, Size, Value
from bastide.schema.release import Gate
from bastide.schema.site import Group, Port


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


class UserChange(Value):
    """A system user that a service runs as."""

    name: str
    action: Literal["create", "remove"]


class PortChange(Value):
    """A TCP port that a service begins or ceases to listen on."""

    port: Port
    address: str
    unit: str
    action: Literal["open", "close"]


class FirewallChange(Value):
    """A rule of the host's packet filter."""

    rule: str
    action: Literal["add", "remove"]


class ModelChange(Value):
    """A model that the generation serves under a name."""

    name: str
    before: Sha256 | None
    after: Sha256 | None


class SecretChange(Value):
    """A secret's file that will be written; its content shows only as a salted fingerprint."""

    path: str
    fingerprint: str = Field(
        description="The first 16 hex digits of HMAC-SHA-256 with the salt; empty if the secret "
        "is made anew by the apply, as a certificate is that runs out."
    )
    action: Literal["create", "update"]


class CertificateChange(Value):
    """A certificate of the site that the apply makes anew, or that ends soon."""

    name: str = Field(description="Its name, as `bastide certificates list` shows it.")
    action: Literal["issue", "renew", "warn"] = Field(
        description="warn: Bastide cannot renew it; 'why' says what is to be done."
    )
    why: str = Field(description="Why, for the operator.")
    ends: str = Field(description="When the present one ends or falls due, RFC 3339; may be empty.")
    ends_after: str = Field(default="", description="The same of the new one; empty if none.")


class PathChange(Value):
    """A path outside the generation that is created, changed or removed."""

    path: str = Field(description="Absolute path on the host.")
    why: str = Field(description="What writes there, such as 'OS package haproxy'.")
    whole: bool = Field(default=False, description="Everything below it may change as well.")
    certain: bool = Field(
        default=True, description="False: a program writes there as it sees fit, maybe nothing."
    )


class DataStep(Value):
    """What happens to stored data."""

    kind: Literal["snapshot", "restore", "reembed", "format"]
    what: str = Field(description="What is done, for the operator.")
    bytes: Size = Field(default=0, description="Disk that it takes.")
    reversible: bool = True
    why: str = Field(default="", description="Why it cannot be undone, if it cannot.")
    snapshot: str = Field(default="", description="Id of the snapshot to restore.")


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
    users: tuple[UserChange, ...] = ()
    ports: tuple[PortChange, ...] = ()
    firewall: tuple[FirewallChange, ...] = ()
    models: tuple[ModelChange, ...] = ()
    secrets: tuple[SecretChange, ...] = ()
    data: tuple[DataStep, ...] = ()
    paths: tuple[PathChange, ...] = Field(
        default=(), description="Everything outside the generation that is written."
    )
    interruption: dict[Component, int] = Field(
        default={}, description="Seconds for which each component is expected not to answer."
    )
    collected: tuple[int, ...] = Field(
        default=(), description="Earlier generations that are removed once this one is good."
    )

    @property
    def reversible(self) -> bool:
        """Whether a rollback brings everything back, data included."""
        return all(step.reversible for step in self.data)

    @property
    def changes(self) -> int:
        """How many single changes this host sees."""
        lists = (self.pulls, self.packages, self.files, self.units, self.drift, self.data)
        return sum(len(each) for each in lists) + len(self.secrets)

    @property
    def bytes_to_pull(self) -> int:
        """How many bytes this host fetches."""
        return sum(pull.size for pull in self.pulls)


class LeavingHost(Value):
    """A host that is in ``site.yaml`` no longer: it is taken out of service, its data stays."""

    host: Name
    address: str
    groups: tuple[Group, ...]
    units: tuple[str, ...] = Field(default=(), description="Units that stop, and start no more.")
    secrets: tuple[str, ...] = Field(default=(), description="Files with secrets that go.")
    stays: tuple[str, ...] = Field(default=(), description="What is left there, for people.")
    forgotten: bool = Field(
        default=False, description="It is gone for good: nothing is done on it, and it is no more."
    )


class Plan(Value):
    """The whole plan; ``digest()`` identifies it, and apply refuses it if its inputs changed."""

    format: Literal["bastide.plan/2"] = "bastide.plan/2"
    site: Name
    release: str = Field(description="name-version of the release.")
    coming_from: tuple[str, ...] = Field(
        default=(), description="Releases that the hosts run now, name-version."
    )
    why_legal: str = Field(
        default="", description="Why the release can be reached from there, for the operator."
    )
    bundle: Sha256 = Field(description="Digest of the imported bundle it installs from.")
    site_digest: Sha256 = Field(description="Digest of site.yaml's content.")
    site_view: dict[str, str] = Field(
        default={}, description="What site.yaml said: dotted key to value; it has no secrets."
    )
    facts_digest: Sha256 = Field(description="Digest of the facts that decide (see planner).")
    created: str = Field(description="When it was made, RFC 3339; not part of staleness.")
    canary: Name | None = Field(
        default=None, description="The host that switches, and passes its gates, before the rest."
    )
    gates: tuple[Gate, ...] = Field(
        default=(), description="Checks that must pass before the generations are marked good."
    )
    order: tuple[Component, ...] = Field(
        default=(), description="In which order the components of a host restart."
    )
    salt: str = Field(default="", description="Of the secrets' fingerprints; new for each plan.")
    certificates: tuple[CertificateChange, ...] = Field(
        default=(), description="The site's certificates that change, and those that end soon."
    )
    hosts: tuple[HostPlan, ...]
    leaving: tuple[LeavingHost, ...] = Field(
        default=(), description="Hosts that have left the site, taken out of service at the end."
    )

    @property
    def reversible(self) -> bool:
        """Whether a rollback brings everything back, data included."""
        return all(host.reversible for host in self.hosts)

    @property
    def changes(self) -> int:
        """How many single changes the plan makes."""
        return sum(host.changes for host in self.hosts) + len(self.leaving)
