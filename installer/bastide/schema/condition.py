"""In which condition hosts and the control node are: what preflight decides from, plans do not."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from bastide.schema.base import Sha256, Size, Value


class Place(Value):
    """A folder below which Bastide writes, and its file system (or that of what holds it)."""

    path: str
    kind: Literal["folder", "file", "link", "other", "missing"]
    target: str = Field(default="", description="Where it leads, if it is a link.")
    owner: int | None = Field(default=None, description="User id; None if it is missing.")
    mode: int | None = Field(default=None, description="Permission bits; None if it is missing.")
    locked: bool = Field(default=False, description="It is immutable or append only.")
    device: str = ""
    file_system: str = Field(default="unknown", description="Type, such as ext4.")
    free_bytes: Size = 0
    size_bytes: Size = 0
    free_inodes: int | None = Field(default=None, description="None if it has no such limit.")
    read_only: bool = False
    noexec: bool = False


class HostUser(Value):
    """A user with a name of ours."""

    uid: int
    gid: int
    shell: str


class HostGroup(Value):
    """A group with a name of ours."""

    gid: int
    members: tuple[str, ...] = ()


class UnitFile(Value):
    """A unit file with a name of ours."""

    path: str
    target: str = Field(default="", description="Where it leads, if it is a link.")


class FloatingCondition(Value):
    """Whom a gateway's host sees with the floating address who is none of the gateways."""

    claimed_by: tuple[str, ...] = Field(
        default=(), description="Hardware addresses that answer for the floating address."
    )
    vrrp: tuple[str, ...] = Field(default=(), description="Senders of VRRP: 'ADDRESS number N'.")


class HostCondition(Value):
    """The condition of one host; the host agent prints it inside its facts."""

    format: Literal["bastide.condition/1"] = "bastide.condition/1"
    # the machine
    cpu_flags: tuple[str, ...] = Field(description="Instruction sets that matter to the engine.")
    numa_nodes: int
    load: float = Field(description="Mean load of 5 minutes.")
    memory_available: Size
    swap_bytes: Size
    swap_free: Size
    commit_limit: Size
    committed: Size
    overcommit: int | None
    # kernel and system
    kernel: str
    cgroup: Literal["unified", "hybrid", "legacy", "none"]
    entropy: int | None
    threads_max: int | None
    map_count: int | None
    open_files: int | None = Field(description="Open files that the system manager may have.")
    port_range: tuple[int, int] | None = Field(description="Ports of outgoing connections.")
    unprivileged_port: int | None = Field(description="Lowest port that needs no root.")
    synchronised: bool | None = Field(description="Something keeps the clock right, if known.")
    init: str = Field(description="Name of process 1.")
    system_state: str
    failed_units: tuple[str, ...]
    uid: int = Field(description="Whom the agent runs as.")
    capabilities_missing: tuple[str, ...]
    selinux: str
    apparmor: tuple[str, ...] = Field(description="Enforced profiles of programs of ours.")
    allow_listing: bool = Field(description="fapolicyd runs.")
    fips: bool
    machine_id: str
    boot_id: str
    localhost: str
    modules_missing: tuple[str, ...]
    programs_missing: tuple[str, ...]
    tls_fault: str
    # folders and packages
    places: tuple[Place, ...]
    packages_broken: dict[str, str]
    packages_held: tuple[str, ...]
    packages_interrupted: bool
    packages_database: str
    packages_locks: dict[str, str] = Field(description="Lock file → who holds it.")
    pins: dict[str, int] = Field(description="Package or pattern → priority below 0.")
    apt_fault: str
    policy_left: bool
    # names of ours
    users: dict[str, HostUser]
    groups: dict[str, HostGroup]
    unit_files: tuple[UnitFile, ...]
    drop_ins: tuple[str, ...]
    haproxy_unit: Literal["", "masked", "own"]
    keepalived_unit: Literal["", "masked", "own"] = ""
    rivals: dict[str, str] = Field(description="Program → its unit.")
    # what earlier runs left
    current_kind: Literal["link", "other", "missing"]
    current_target: str
    current_exists: bool
    record_damaged: bool
    environment_fault: str
    backends_dangling: bool
    model_ends: dict[Sha256, str] = Field(description="Digest of each model's first and last MiB.")
    models_touched: tuple[Sha256, ...] = Field(
        default=(), description="Models that were written to since they came; apply reads them."
    )
    strangers: tuple[str, ...] = Field(description="What lies in /opt/bastide and is not ours.")
    agent_busy: str
    fence_since: str | None
    # the network
    has_address: bool | None
    mtu: int | None
    depot_greeting: str = Field(description="What the control node said; !… is why it did not.")
    peers: dict[str, str] = Field(description="Service of another host → why it is out of reach.")
    floating: FloatingCondition = FloatingCondition()

    def place(self, path: str) -> Place | None:
        """Return one of the places."""
        return next((each for each in self.places if each.path == path), None)


class BlobFault(Value):
    """An artifact that the store cannot give out."""

    name: str
    sha256: Sha256
    fault: Literal["missing", "size", "content"]


class ControlCondition(Value):
    """The condition of the control node, as far as a run depends on it."""

    address_is_here: bool = Field(description="network.control_address is this machine's.")
    depot_fault: str = Field(description="Why nothing can listen on the depot's port.")
    depot_greeting: str = Field(description="What hosts should have heard there; may be empty.")
    authority_from: int | None = Field(description="When the site CA begins, s since 1970.")
    authority_until: int | None = Field(description="When it ends, s since 1970.")
    authority_fault: str
    secrets_fault: str = Field(description="Why the site's secrets do not open.")
    secrets_hint: str
    blobs: tuple[BlobFault, ...]
    model_ends: dict[Sha256, str] = Field(description="Digest of each model's first and last MiB.")
    site_free: Size = Field(description="Free bytes on the file system of the site's folder.")
    site_free_inodes: int | None
    site_writable: bool
    lock_holder: str
    plan_stale: str = Field(description="What the plan file was made for and is no more.")
    home_writable: bool
    programs_missing: tuple[str, ...]
    key_mode: int | None = Field(description="Permission bits of the SSH key file.")
