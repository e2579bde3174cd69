"""What a host says of itself: read-only observations, the planner's input."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from bastide.schema.base import Name, Sha256, Size, Value
from bastide.schema.condition import HostCondition


class FileSystem(Value):
    """Free room where Bastide writes."""

    path: str
    device: str = Field(description="Equal for two paths on one file system.")
    free_bytes: Size


class Listener(Value):
    """A TCP port that something listens on."""

    port: int
    address: str
    unit: str = Field(default="", description="systemd unit of the listener, if known.")
    process: str = Field(default="", description="Process name, if known.")


class Transition(Value):
    """A switch of generations that has begun on a host and is neither kept nor undone yet."""

    run: str = Field(description="The run that began it.")
    before: int | None = Field(description="The generation that it leads away from.")
    after: int = Field(description="The generation that it leads to.")
    content: Sha256 = Field(description="Content digest of that generation.")
    reverting: bool = Field(default=False, description="It is being undone: only that remains.")
    snapshot: str = Field(default="", description="Id of the data snapshot taken in it, if any.")
    restore: str = Field(default="", description="Id of the data snapshot put back in it, if any.")


class GoodGeneration(Value):
    """A generation that has passed its gates on a host."""

    number: int
    content: Sha256 = Field(description="Its content digest.")
    since: str = Field(description="When it was marked good, by the host's clock, RFC 3339.")
    run: str = Field(description="The run that marked it.")


class DataSnapshot(Value):
    """A snapshot of the vector DB's data that is kept on a host."""

    id: str
    generation: int | None = Field(description="The generation whose data it is.")
    created: str = Field(description="When it was taken, by the host's clock, RFC 3339.")
    creator: str = Field(description="Version of the service that wrote the data.")
    size: Size
    points: dict[str, int] = Field(description="Points by collection.")


class FirewallFacts(Value):
    """The host's packet filter, as the live generation has it."""

    state: Literal["live", "missing", "changed"] = Field(
        description="Whether the kernel has the generation's rules: all, none, or others."
    )
    rules: tuple[str, ...] = Field(default=(), description="Rules in force, for people.")


class HostFacts(Value):
    """One host, as it is now. The host agent prints this as JSON (``bastide_host.py facts``)."""

    format: Literal["bastide.facts/1"] = "bastide.facts/1"
    hostname: str
    distribution: str = Field(description="ID of /etc/os-release, such as debian.")
    distribution_version: str = Field(description="VERSION_ID of /etc/os-release, such as 12.")
    architecture: str = Field(description="uname's machine, such as x86_64.")
    python: str = Field(description="Version of /usr/bin/python3.")
    systemd: int = Field(description="systemd's version.")
    cpus: int
    memory_bytes: Size
    file_systems: tuple[FileSystem, ...] = Field(description="Of /opt, /var/lib, /etc.")
    packages: dict[str, str] = Field(description="Installed OS packages: name → version.")
    models: dict[Sha256, Size] = Field(description="Model files present: digest → size.")
    artifacts: dict[Sha256, Size] = Field(description="Other staged artifacts: digest → size.")
    generation: int | None = Field(description="The current generation's number.")
    generation_digest: Sha256 | None = Field(description="Its content digest.")
    release: str = Field(default="", description="The release that it is of; empty if unknown.")
    newest_generation: int = Field(default=0, description="Highest number ever used; 0 if none.")
    generations: dict[int, Sha256] = Field(
        default={}, description="Generations that are built, also earlier ones: number → digest."
    )
    files: dict[str, Sha256] = Field(
        description="Files of the current generation's tree, as they are on disk now."
    )
    contents: dict[str, Sha256] = Field(
        default={},
        description="What the current generation is made of, as its generation.json says: the "
        "stage description's 'contents'. Empty if unknown.",
    )
    units: dict[str, str] = Field(description="Bastide's units: name → active state.")
    listeners: tuple[Listener, ...]
    outdated: tuple[str, ...] = Field(
        default=(), description="Units that run with something else than they would start with."
    )
    tls_units: tuple[str, ...] = Field(
        default=(), description="Units that take only clients with a certificate now."
    )
    users: tuple[str, ...] = Field(default=(), description="Names of all accounts.")
    secrets: dict[str, str] = Field(
        default={},
        description="Fingerprints of the secrets' files, by path, with the salt that came with "
        "the question; none without a salt. A file with wrong rights has another text.",
    )
    places: dict[str, str] = Field(
        default={},
        description="Bastide's own things outside generations: path to what is there, such as "
        "'folder 0755', 'link TARGET', 'file SIZE' or a digest. Empty if unknown.",
    )
    unix_time: int | None = Field(default=None, description="The host's clock, in s since 1970.")
    transition: Transition | None = Field(
        default=None, description="The switch that is under way; None if there is none."
    )
    good: tuple[GoodGeneration, ...] = Field(
        default=(), description="Generations that passed their gates, oldest first."
    )
    snapshots: tuple[DataSnapshot, ...] = Field(
        default=(), description="Snapshots of the vector DB's data, oldest first."
    )
    data_bytes: Size = Field(default=0, description="Size of the vector DB's data on disk.")
    firewall: FirewallFacts | None = Field(
        default=None, description="Its packet filter; None if the generation has none."
    )
    condition: HostCondition | None = Field(
        default=None, description="Its condition, if preflight asked; no plan depends on it."
    )


class UnreachableHost(Value):
    """A host that could not be asked."""

    reason: str = Field(description="What ssh or Ansible said, in one line.")
    kind: Literal["unreachable", "denied", "failed"]


class DepartedHost(Value):
    """A host that the last run carried out had, and that ``site.yaml`` has no longer."""

    address: str
    groups: tuple[str, ...] = Field(description="What it did.")
    facts: HostFacts | None = Field(default=None, description="None: it gave none.")
    reason: str = Field(default="", description="Why it gave none.")


class SiteFacts(Value):
    """Every host of the site, by name."""

    hosts: dict[Name, HostFacts]
    unreachable: dict[Name, UnreachableHost] = Field(
        default={}, description="Hosts that gave no facts."
    )
    departed: dict[Name, DepartedHost] = Field(
        default={}, description="Hosts that have left the site since the last run."
    )
