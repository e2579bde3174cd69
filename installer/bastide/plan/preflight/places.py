"""Checks of the folders below which Bastide writes, and of their file systems."""

from __future__ import annotations

from collections.abc import Iterator

from bastide.layout import HOST_ETC, HOST_FOLDERS, HOST_OPT, HOST_STATE
from bastide.plan import changes
from bastide.plan.preflight.check import HostView, Subject, Trouble, checks_in, refuses, warns
from bastide.plan.preflight.needs_met import DISK_RESERVE, megabytes
from bastide.schema.condition import Place
from bastide.schema.site import Group

CONDITION = Subject.CONDITION
OPT, STATE, ETC = str(HOST_OPT), str(HOST_STATE), str(HOST_ETC)
MODES = {str(path): mode for path, mode in HOST_FOLDERS.items()}
PACKAGE_PLACES = frozenset({"/usr", "/usr/sbin", "/var/lib/dpkg", "/var/cache/apt"})
RUNS_PROGRAMS = (OPT, "/usr", "/var/lib/dpkg")
NETWORKED = frozenset({"9p", "afs", "ceph", "cifs", "glusterfs", "nfs", "nfs4", "smb3"})
VOLATILE = frozenset({"tmpfs", "ramfs"})
INODES = {OPT: 20_000, STATE: 500, "/usr": 3_000}  # seen: 11 000, 120, 1 700


def _written(host: HostView) -> Iterator[Place]:
    """Return the places that a change would write to."""
    for place in host.condition.places:
        if place.path not in PACKAGE_PLACES or host.installs_packages:
            yield place


@refuses(
    CONDITION,
    "BAS-5131",
    "no file system that is written to is read-only",
    "A folder that Bastide writes to is on a file system that is mounted read-only",
    "`mount -o remount,rw PATH`; if it became so by itself, look for disk errors in `dmesg`",
)
def read_only(host: HostView) -> Iterator[Trouble]:
    """Look for read-only mounts."""
    found = sorted({place.path for place in _written(host) if place.read_only})
    if found:
        yield Trouble(f"read-only: {', '.join(found)}")


@refuses(
    CONDITION,
    "BAS-5132",
    "programs may run where ours will be",
    "A file system from which Bastide or dpkg runs programs is mounted noexec",
    "`mount -o remount,exec PATH`, and correct /etc/fstab",
)
def noexec(host: HostView) -> Iterator[Trouble]:
    """Look for noexec mounts."""
    for place in _written(host):
        if place.path in RUNS_PROGRAMS and place.noexec:
            yield Trouble(f"{place.path} is on a file system that is mounted noexec")


@refuses(
    CONDITION,
    "BAS-5133",
    "there are inodes for what comes",
    "A file system of a host has too few free inodes for the files of a generation",
    "remove files there, or make the file system anew with more inodes",
)
def inodes(host: HostView) -> Iterator[Trouble]:
    """Compare free inodes with the files of a generation."""
    if host.is_settled:
        return
    for path, wanted in INODES.items():
        place = host.condition.place(path)
        if place and place.free_inodes is not None and place.free_inodes < wanted:
            yield Trouble(f"{path}: {wanted} inodes needed, {place.free_inodes} free")


@refuses(
    CONDITION,
    "BAS-5134",
    "our folders are on a local disk",
    "A folder of Bastide is on a network file system, on which locks and mappings are not safe",
    "put it on a local disk",
)
def networked(host: HostView) -> Iterator[Trouble]:
    """Look for network file systems."""
    for path in (OPT, STATE):
        place = host.condition.place(path)
        if place and (place.file_system in NETWORKED or place.file_system.startswith("fuse.ssh")):
            yield Trouble(f"{path} is on {place.file_system}")


@refuses(
    CONDITION,
    "BAS-5135",
    "our folders outlive a reboot",
    "A folder of Bastide is in memory only (tmpfs): a reboot would lose it",
    "put it on a disk",
)
def volatile(host: HostView) -> Iterator[Trouble]:
    """Look for file systems in memory."""
    for path in (OPT, STATE, ETC):
        place = host.condition.place(path)
        if place and place.file_system in VOLATILE:
            yield Trouble(f"{path} is on {place.file_system}: a reboot would lose it")


@refuses(
    CONDITION,
    "BAS-5136",
    "our folders are folders",
    "Where a folder of Bastide should be is a link or a file",
    "move it away, or mount the other disk there instead of linking to it",
)
def kinds(host: HostView) -> Iterator[Trouble]:
    """Look for links and files in the place of our folders."""
    for place in host.condition.places:
        if place.path in MODES and place.kind not in {"folder", "missing"}:
            to = f" to {place.target}" if place.kind == "link" else ""
            yield Trouble(f"{place.path} is a {place.kind}{to}, not a folder")


@refuses(
    CONDITION,
    "BAS-5137",
    "our folders are root's",
    "A folder of Bastide belongs to another user than root, who may have changed what is in it",
    "see what is in it; then `chown root:root PATH`",
)
def owners(host: HostView) -> Iterator[Trouble]:
    """Look for foreign owners."""
    for place in host.condition.places:
        if place.path in MODES and place.kind == "folder" and place.owner != 0:
            yield Trouble(f"{place.path} belongs to user {place.owner}, not to root")


@refuses(
    CONDITION,
    "BAS-5138",
    "our folders have their modes",
    "A folder of Bastide has another mode than it was made with: too open, or closed to services",
    "see what is in it; then `chmod MODE PATH` with the mode of the message",
)
def modes(host: HostView) -> Iterator[Trouble]:
    """Compare modes with those that the agent gives."""
    for place in host.condition.places:
        wanted = MODES.get(place.path)
        if place.kind != "folder" or wanted is None or place.mode is None or place.owner != 0:
            continue
        if place.mode != wanted:
            fix = f"chmod {wanted:o} {place.path}"
            yield Trouble(f"{place.path} has mode {place.mode:04o}, not {wanted:04o}", fix)


@refuses(
    CONDITION,
    "BAS-5139",
    "folders can be written to",
    "A folder that Bastide writes to has the attribute immutable or append-only",
    "`lsattr -d PATH`, then `chattr -i -a PATH`, if whoever set it agrees",
)
def locked(host: HostView) -> Iterator[Trouble]:
    """Look for attributes that keep even root from writing."""
    found = sorted(place.path for place in _written(host) if place.locked)
    if found:
        yield Trouble(f"immutable or append-only: {', '.join(found)}")


@refuses(
    CONDITION,
    "BAS-5140",
    "there is room for a snapshot of the data",
    "Too little disk for a snapshot of the vector DB's data beside what comes",
    "free that much, or enlarge the file system",
)
def snapshot_room(host: HostView) -> Iterator[Trouble]:
    """Compare the data with what is free, if another release comes."""
    facts, place = host.facts, host.condition.place(STATE)
    same = facts.release == host.inputs.plan.release or facts.generation is None
    if same or place is None or Group.VECTORDB not in host.needs.groups:
        return
    coming = changes.disk(host.needs, facts).get("/var/lib", 0)
    wanted = coming + facts.data_bytes + DISK_RESERVE
    if facts.data_bytes and wanted > place.free_bytes:
        yield Trouble(
            f"{STATE} needs {megabytes(wanted)} for a snapshot of {facts.data_bytes} bytes and "
            f"for {coming} bytes that come, has {megabytes(place.free_bytes)} free"
        )


@warns(
    CONDITION,
    "BAS-5141",
    "the disk is not nearly full",
    "A file system of a host will be nearly full: the data has no room to grow",
    "free some, or enlarge the file system",
)
def nearly_full(host: HostView) -> Iterator[Trouble]:
    """Look for a file system that would have less than 5 % left."""
    place = host.condition.place(STATE)
    coming = 0 if host.is_settled else changes.disk(host.needs, host.facts).get("/var/lib", 0)
    if place and place.size_bytes and (place.free_bytes - coming) * 20 < place.size_bytes:
        yield Trouble(f"{STATE}: {megabytes(place.free_bytes)} free of {place.size_bytes} bytes")


@refuses(
    CONDITION,
    "BAS-5142",
    "scratch space is there",
    "Scratch space of a host (/tmp, /run) is full; programs that need it fail",
    "free some: `du -x /tmp | sort -n | tail`",
)
def scratch(host: HostView) -> Iterator[Trouble]:
    """Look at scratch space."""
    for path in ("/tmp", "/run"):  # noqa: S108 - of the host; nothing is written
        place = host.condition.place(path)
        if place and place.free_bytes < 2**20:
            mild = path == "/tmp" and not host.installs_packages  # noqa: S108
            yield Trouble(f"{path} has {place.free_bytes} bytes free", mild=mild)


CHECKS = checks_in(globals())
