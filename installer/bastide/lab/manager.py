"""The lab's verbs: up, down, status, kill, exec. Each works on whatever a killed one left.

What is there is the truth, not the state file: disks by their folder, namespaces by their prefix,
processes by their record. The state file is what *others* read.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from bastide.lab import (
    air_gap,
    disks,
    machine,
    network,
    ownership,
    readiness,
    remote,
    requirements,
    trees,
)
from bastide.lab import rootfs as root_file_systems
from bastide.lab import spec as names
from bastide.lab import state as states
from bastide.lab.errors import BAD_SPEC, NOT_FOUND, LabError
from bastide.lab.spec import LabSpec
from bastide.lab.state import LabHost, LabState
from bastide.layout import Home, LabFolder
from bastide.progress import Progress

_POWER_OFF_SECONDS = 5.0
_AT_ONCE = 8  # hosts that are copied, booted or stopped at the same time


@dataclass(frozen=True)
class Removed:
    """What ``down`` found and removed.

    Args:
        name: The lab's.
        hosts: Hosts that had a disk.
        namespaces: Network namespaces.
        visitors: Ids of processes that somebody else runs in them; they were left alone.
    """

    name: str
    hosts: tuple[str, ...]
    namespaces: tuple[str, ...]
    visitors: tuple[int, ...]


def up(spec: LabSpec, home: Home, cache: Path, progress: Progress) -> LabState:
    """Raise a lab, or complete the one that is there: adopt, add, boot again, prove.

    Args:
        spec: What is asked for.
        home: Where labs keep their state.
        cache: Where the root file system is kept for the next lab.
        progress: Where the work reports to.

    Returns:
        The lab with all hosts up and the air gap proved.

    Raises:
        LabError: Something on this machine stands against it; run it again after the hint.
        LockedError: Another lab command is at work on this lab.
    """
    requirements.check()
    folder = states.folder_of(home, spec.name)
    with ownership.command(spec.name, folder, "up"):
        wanted = _wanted(spec, home)
        ownership.take(spec.name, folder)
        folder.hosts.mkdir(parents=True, exist_ok=True)
        states.save(wanted)  # first of all, so that it is known what a killed `up` was after
        _make_disks(wanted, spec, cache, progress)
        _connect(wanted)
        _boot(wanted, progress)
        with progress.task("Proof that no route leaves", total=1, unit="steps") as task:
            air_gap.prove(wanted)
            task.advance(1)
        states.save(wanted.replace(hosts=tuple(h.replace(alive=True) for h in wanted.hosts)))
        return states.load(home, spec.name)


def _wanted(spec: LabSpec, home: Home) -> LabState:
    """Return the lab as it shall be: the hosts that are there, and more if more are asked for."""
    folder = states.folder_of(home, spec.name)
    before = states.find(home, spec.name)
    if before is not None and before.release != spec.release and before.hosts:
        raise LabError(
            f"lab {spec.name!r} runs Debian {before.release}, not {spec.release}",
            code=BAD_SPEC,
            hint=f"`bastide lab down --name {spec.name}` first, or choose another --name",
        )
    present = len(before.hosts) if before is not None else 0
    count = max(present, spec.hosts or 1)
    cpus = spec.cpus if spec.cpus is not None else (before.cpus if before is not None else 0.0)
    return describe(spec, folder, count).replace(cpus=cpus)


def describe(spec: LabSpec, folder: LabFolder, count: int) -> LabState:
    """Return the state of a lab of ``count`` hosts, none of them alive yet; pure."""
    hosts = tuple(
        LabHost(
            name=host,
            address=names.host_address(spec.name, host),
            namespace=names.host_namespace(spec.name, host),
            console=folder.host(host).console,
        )
        for host in map(names.host_name, range(1, count + 1))
    )
    return LabState(
        name=spec.name,
        release=spec.release,
        folder=folder.root,
        control_namespace=names.control_namespace(spec.name),
        control_address=names.control_address(spec.name),
        ssh_private_key=folder.private_key,
        known_hosts=folder.known_hosts,
        ssh_config=folder.ssh_config,
        hosts=hosts,
    )


def _each(
    hosts: Sequence[str], work: Callable[[str], object], stop: threading.Event | None = None
) -> None:
    """Do ``work`` for all hosts at the same time; the first failure is raised after all ended.

    ``stop`` is set when the operator interrupts, so that work that waits can give up.
    """
    with ThreadPoolExecutor(max_workers=_AT_ONCE) as pool:
        try:
            for done in [pool.submit(work, host) for host in hosts]:
                done.result()
        except KeyboardInterrupt:
            if stop is not None:
                stop.set()
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def _make_disks(state: LabState, spec: LabSpec, cache: Path, progress: Progress) -> None:
    folder = LabFolder(state.folder)
    disks.make_key(folder.private_key, f"bastide-lab-{state.name}")
    lacking = [host.name for host in state.hosts if not folder.host(host.name).disk.is_dir()]
    if lacking:
        source = root_file_systems.ensure(spec.release, cache, progress, spec.mirror)
        root_file_systems.check_space(folder.root, trees.size(source) * len(lacking))
        with progress.task("Disks", total=len(lacking), unit="steps") as task:

            def make(host: str) -> None:
                disks.make(source, state, host)
                task.advance(1)

            _each(lacking, make)
    for host in state.hosts:
        disks.admit(state, host.name)
    disks.write_ssh_files(state)


def _connect(state: LabState) -> None:
    network.raise_control(state)
    for host in state.hosts:
        network.raise_host(state, host.name)


def _boot(state: LabState, progress: Progress) -> None:
    folder = LabFolder(state.folder)
    stop = threading.Event()
    with progress.task("Boot", total=len(state.hosts), unit="steps") as task:

        def start(host: str) -> None:
            own = folder.host(host)
            if machine.alive(own) and not machine.connected(own, state.host(host).namespace):
                machine.power_off(own, _POWER_OFF_SECONDS)  # its network was taken from it
            if machine.alive(own):
                machine.bound(state, host)
            else:
                machine.boot(state, host)
            readiness.wait(state, host, stop)
            task.advance(1)

        _each([host.name for host in state.hosts], start, stop)


def status(home: Home, name: str = names.DEFAULT_NAME) -> LabState:
    """Return the lab as it is now; changes nothing.

    Raises:
        LabError: There is no such lab.
    """
    return states.load(home, name)


def kill(home: Home, name: str, host: str) -> LabState:
    """Cut the power of one host; its disk stays, and ``up`` boots it again.

    Raises:
        LabError: There is no such lab or host.
        LockedError: Another lab command is at work on this lab.
    """
    folder = states.folder_of(home, name)
    with ownership.command(name, folder, "kill"):
        state = states.load(home, name)
        state.host(host)
        machine.clear(name, folder.host(host))
        return states.load(home, name)


def down(home: Home, name: str, progress: Progress, *, abandoned: bool = False) -> Removed:
    """Remove a lab whole; the cached root file system stays. No lab, or half of one, is no error.

    Args:
        home: Where labs keep their state.
        name: The lab's.
        progress: Where the work reports to.
        abandoned: Also if another home raised it, when none of its hosts runs any more.

    Raises:
        LabError: A process or a mount stands against it; run it again.
        LockedError: Another lab command is at work on this lab.
    """
    requirements.check_root()
    folder = (_abandoned(name) if abandoned else None) or states.folder_of(home, name)
    if not folder.root.exists() and not network.namespaces(name):
        return Removed(name, (), (), ())
    with ownership.command(name, folder, "down"):
        hosts = _traces(folder, name)
        with progress.task("Power off", total=len(hosts), unit="steps") as task:

            def stop(host: str) -> None:
                machine.power_off(folder.host(host), _POWER_OFF_SECONDS)
                machine.clear(name, folder.host(host))
                task.advance(1)

            _each(hosts, stop)
        namespaces = network.namespaces(name)
        visitors = {pid for namespace in namespaces for pid in network.visitors(namespace)}
        network.remove(name)
        trees.remove(folder.root)
        ownership.release(name)
    return Removed(name, tuple(hosts), namespaces, tuple(sorted(visitors)))


def _abandoned(name: str) -> LabFolder | None:
    """Return where the lab of this name is kept, whichever home raised it, if no host runs."""
    folder = ownership.owned_by(name)
    if folder is None or any(machine.alive(folder.host(h)) for h in _traces(folder, name)):
        return None
    return folder


def _traces(folder: LabFolder, name: str) -> list[str]:
    """Return the hosts that a lab has on disk or in the network, however little of them."""
    prefix = names.namespace_prefix(name)
    connected = {one.removeprefix(prefix) for one in network.namespaces(name)} - {"control"}
    return sorted(connected | {entry.name for entry in folder.hosts.glob("host*")})


def exec_argv(
    state: LabState, command: Sequence[str], host: str | None = None, *, terminal: bool = False
) -> list[str]:
    """Return what runs ``command`` on the control node or, by SSH, on a host.

    Raises:
        LabError: The lab has no such host.
    """
    if host is not None:
        return remote.ssh_argv(state, host, command, options=["-t"] if terminal else [])
    return remote.control_argv(state, command)


def check_reachable(state: LabState, host: str | None = None) -> None:
    """Check that a command can be run there, before a foreign program says so less clearly.

    Raises:
        LabError: The control node's namespace is gone, or the host does not run.
    """
    again = f"`bastide lab up --name {state.name}` raises it again"
    if state.control_namespace not in network.namespaces(state.name):
        raise LabError(f"lab {state.name!r} has no network now", code=NOT_FOUND, hint=again)
    if host is not None and not state.host(host).alive:
        raise LabError(f"{host} of lab {state.name!r} does not run", code=NOT_FOUND, hint=again)
