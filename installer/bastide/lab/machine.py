"""Power switch of one host: boot it, power it off, cut its power.

Its processes live in a control group of their own. Without one, the systemds of two hosts would
share the units' groups, and stopping a service on one would kill its namesake on the other.
"""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path

from bastide.host import process
from bastide.lab import control_groups, process_record, wait
from bastide.lab.errors import HOST_DIED, STILL_RUNNING, LabError
from bastide.lab.state import LabHost, LabState
from bastide.layout import LabFolder, LabHostFolder

# Moves itself into the host's control groups, records who it is, then becomes systemd-nspawn, so
# that there is never a host without a record, whenever the command that boots it is killed.
LAUNCHER = """
set -eu
record=$1 log=$2
shift 2
exec >>"$log" 2>&1 </dev/null
while [ "$1" != -- ]; do echo $$ >"$1/cgroup.procs"; shift; done
shift
read -r boot </proc/sys/kernel/random/boot_id
read -r stat </proc/$$/stat
printf '%s\\n%s\\n' "$boot" "$stat" >"$record.new"
mv "$record.new" "$record"
exec "$@"
"""


def unit_name(lab: str, host: str) -> str:
    """Return the name of a host's machine and control group."""
    return f"bastide-{lab}-{host}"


def nspawn_argv(lab: str, host: LabHost, disk: Path) -> list[str]:
    """Return the command that boots a host's systemd on its disk, inside its namespace."""
    return [
        "env",
        # Debian's default since 11; without it IPAddressDeny would be accepted and do nothing.
        "SYSTEMD_NSPAWN_UNIFIED_HIERARCHY=1",
        # As on a machine: the network's settings below /proc/sys are the host's own.
        "SYSTEMD_NSPAWN_API_VFS_WRITABLE=network",
        "systemd-nspawn",
        "--quiet",
        "--boot",
        f"--directory={disk}",
        f"--machine={unit_name(lab, host.name)}",
        f"--hostname={host.name}",
        f"--network-namespace-path=/run/netns/{host.namespace}",
        "--capability=CAP_NET_ADMIN,CAP_BPF",  # nftables; IPAddressDeny
        "--system-call-filter=bpf",
        "--console=read-only",
        "--register=no",
        "--keep-unit",
        "--settings=no",
        "--link-journal=no",
        "--resolv-conf=off",
        "--timezone=off",
    ]


def boot(state: LabState, name: str) -> None:
    """Start a host and return at once; it outlives this process.

    Raises:
        LabError: systemd-nspawn could not even be started.
    """
    host = state.host(name)
    own = LabFolder(state.folder).host(name)
    unit = unit_name(state.name, name)
    clear(state.name, own)
    groups = control_groups.make(unit)
    process.run(
        [
            *("setsid", "--fork"),
            *control_groups.scope_argv(unit),
            *("sh", "-c", LAUNCHER, "launcher", str(own.process), str(own.console)),
            *(str(group) for group in groups),
            "--",
            *nspawn_argv(state.name, host, own.disk),
        ]
    )
    if not wait.until(own.process.exists, 10):
        raise LabError(
            f"{name} could not be started; the last lines of {own.console}:\n{tail(own.console)}",
            code=HOST_DIED,
            hint=f"read {own.console}",
        )
    bound(state, name)


def bound(state: LabState, name: str) -> None:
    """Give a running host the processor time that its lab says."""
    control_groups.bound(unit_name(state.name, name), state.cpus)


def alive(own: LabHostFolder) -> bool:
    """Return whether a host runs."""
    return process_record.alive(own.process)


def connected(own: LabHostFolder, namespace: str) -> bool:
    """Return whether a running host is in the namespace that has this name now."""
    runner = process_record.read(own.process)
    try:
        current = (Path("/run/netns") / namespace).stat().st_ino
    except OSError:
        return False
    below = process_record.descendants(runner) if runner is not None else ()
    # systemd-nspawn itself stays outside; one still at its start has nothing inside yet.
    return not below or any(process_record.network(one) == current for one in below)


def power_off(own: LabHostFolder, patience: float) -> bool:
    """Ask a host to power off; return whether it did within ``patience`` seconds."""
    runner = process_record.read(own.process)
    if runner is None or not process_record.running(runner):
        return True
    process_record.send(runner, signal.SIGTERM)  # nspawn passes it on as a clean power-off
    return wait.until(lambda: not process_record.running(runner), patience)


def clear(lab: str, own: LabHostFolder) -> None:
    """Cut a host's power: kill all that the lab started for it, and nothing else.

    Raises:
        LabError: A process cannot be killed.
    """
    runner = process_record.read(own.process)
    doomed: list[process_record.Process] = []
    if runner is not None and process_record.running(runner):
        doomed = [runner, *process_record.descendants(runner)]
        process_record.send(runner, signal.SIGKILL)
    groups = control_groups.directories(unit_name(lab, own.root.name))

    def gone() -> bool:
        rest = [one for one in doomed if process_record.running(one)] + list(_members(groups))
        for one in rest:
            process_record.send(one, signal.SIGKILL)
        return not rest

    if not wait.until(gone, 10):
        raise LabError(
            f"processes of {own.root.name} do not end, although they were killed",
            code=STILL_RUNNING,
            hint="run the same command again; `ps -ef` shows what they wait for",
        )
    own.process.unlink(missing_ok=True)
    control_groups.remove(groups)


def _members(groups: tuple[Path, ...]) -> Iterator[process_record.Process]:
    """Yield the running processes in control groups that only a lab's launcher fills."""
    for pid in control_groups.members(groups):
        found = process_record.lookup(pid)
        if found is not None:
            yield found


def tail(console: Path, lines: int = 15) -> str:
    """Return the last lines of a console log."""
    try:
        text = console.read_text(errors="replace")
    except OSError:
        return "(empty)"
    return "\n".join(text.strip().splitlines()[-lines:]) or "(empty)"
