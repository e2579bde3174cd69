"""A host's own disk: a copy of the root file system with a name, keys and addresses of its own."""

from __future__ import annotations

import uuid
from pathlib import Path

from bastide.host import process
from bastide.host.files import write_atomic
from bastide.lab import spec, trees
from bastide.lab.state import LabState
from bastide.layout import LabFolder

_HOST_KEY = Path("etc/ssh/ssh_host_ed25519_key")


def make_key(path: Path, comment: str) -> None:
    """Make an Ed25519 key pair at ``path`` unless a whole one is there."""
    public = Path(f"{path}.pub")
    if path.exists() and public.exists():
        return
    path.unlink(missing_ok=True)
    public.unlink(missing_ok=True)
    process.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", comment, "-f", str(path)])


def make(source: Path, state: LabState, host: str) -> None:
    """Make the disk of ``host`` from a root file system; a disk that is there stays as it is.

    Raises:
        ProcessError: The copy failed; what is left of it, the next call removes.
    """
    own = LabFolder(state.folder).host(host)
    trees.remove(own.partial_disk)
    if own.disk.is_dir():
        return
    own.root.mkdir(parents=True, exist_ok=True)
    trees.copy(source, own.partial_disk)
    disk = own.partial_disk
    (disk / "etc/hostname").write_text(f"{host}\n")
    (disk / "etc/machine-id").write_text(f"{uuid.uuid4().hex}\n")
    (disk / "etc/hosts").write_text(host_names(state))
    (disk / "etc/resolv.conf").write_text("# a lab has no name server\n")
    make_key(disk / _HOST_KEY, f"root@{host}")
    # Cloud images and installers leave a locale here; sshd complains about its absence.
    (disk / "etc/default/locale").write_text("LANG=C.UTF-8\n")
    own.partial_disk.rename(own.disk)


def admit(state: LabState, host: str) -> None:
    """Let the lab's key into a stopped or running host and tell it names that it lacks.

    Lines are only added, so that what an apply wrote into these files stays.
    """
    folder = LabFolder(state.folder)
    disk = folder.host(host).disk
    ssh = disk / "root/.ssh"
    ssh.mkdir(mode=0o700, exist_ok=True)
    key = Path(f"{folder.private_key}.pub").read_text()
    _add_lines(ssh / "authorized_keys", key, mode=0o600)
    _add_lines(disk / "etc/hosts", host_names(state), mode=0o644)


def with_lines(text: str, wanted: str) -> str:
    """Return ``text`` with the lines of ``wanted`` that it lacks at its end; pure."""
    present = text.splitlines()
    lacking = [line for line in wanted.splitlines() if line not in present]
    return "".join(f"{line}\n" for line in [*present, *lacking])


def _add_lines(path: Path, wanted: str, *, mode: int) -> None:
    before = path.read_text() if path.exists() else ""
    after = with_lines(before, wanted)
    if after != before:
        write_atomic(path, after.encode(), mode=mode)


def write_ssh_files(state: LabState) -> None:
    """Write ``known_hosts`` and ``ssh_config`` for the hosts whose disks are there."""
    folder = LabFolder(state.folder)
    known = [
        f"{host.name},{host.address} {' '.join(public.read_text().split()[:2])}"
        for host in state.hosts
        if (public := folder.host(host.name).disk / f"{_HOST_KEY}.pub").exists()
    ]
    write_atomic(state.known_hosts, ("\n".join(known) + "\n").encode())
    write_atomic(state.ssh_config, ssh_config(state).encode())


def ssh_config(state: LabState) -> str:
    """Return the ``ssh -F`` file of a lab; pure."""
    hosts = [f"Host {host.name}\n    HostName {host.address}" for host in state.hosts]
    common = (
        "Host *\n"
        f"    User {state.ssh_user}\n"
        f"    IdentityFile {state.ssh_private_key}\n"
        "    IdentitiesOnly yes\n"
        f"    UserKnownHostsFile {state.known_hosts}\n"
        "    GlobalKnownHostsFile /dev/null\n"
        "    StrictHostKeyChecking yes\n"
        "    PasswordAuthentication no\n"
        "    ConnectTimeout 5\n"
    )
    return "\n".join([*hosts, common])


def host_names(state: LabState) -> str:
    """Return ``/etc/hosts`` of every node of a lab."""
    return spec.hosts_file(state.name, tuple(host.name for host in state.hosts))
