"""A lab's network: one bridge in the control node's namespace, one link to each host, no way out.

Both ends of every link are born inside the lab's namespaces, so this machine's own network never
sees them, and the default route that would be needed to leave does not exist.
"""

from __future__ import annotations

import json
from pathlib import Path

from bastide.host import process
from bastide.lab import spec
from bastide.lab.state import LabState

_NAMESPACES = Path("/run/netns")
_NAMESPACE_ETC = Path("/etc/netns")  # `ip netns exec` lays these files over /etc


def _ip(namespace: str, *arguments: str) -> None:
    process.run(["ip", "-n", namespace, *arguments])


def _usable(namespace: str) -> bool:
    """Return whether a namespace is whole; a killed `ip netns add` leaves a plain file."""
    if not (_NAMESPACES / namespace).exists():
        return False
    return process.run(["ip", "-n", namespace, "link"], check=False).returncode == 0


def links(namespace: str, *, only_up: bool = False) -> frozenset[str]:
    """Return the names of links in a namespace, loopback included.

    Args:
        namespace: Whose links.
        only_up: Leave out those that are down, such as the placeholders (``tunl0``, ``sit0``)
            that some kernel modules put into every namespace.
    """
    shown = ["show", "up"] if only_up else ["show"]
    done = process.run(["ip", "-n", namespace, "-json", "link", *shown])
    return frozenset(link["ifname"] for link in json.loads(done.stdout or "[]") if link)


def _delete(namespace: str) -> None:
    process.run(["ip", "netns", "delete", namespace], check=False)
    (_NAMESPACES / namespace).unlink(missing_ok=True)  # the plain file of a killed add


def _ensure(namespace: str) -> None:
    if not _usable(namespace):
        _delete(namespace)
        process.run(["ip", "netns", "add", namespace])
    _ip(namespace, "link", "set", "lo", "up")


def raise_control(state: LabState) -> None:
    """Make the control node's namespace, bridge, address and name files; repairs a half-made one.

    Raises:
        ProcessError: This machine refuses one of them.
    """
    namespace = state.control_namespace
    _ensure(namespace)
    if spec.BRIDGE not in links(namespace):
        _ip(namespace, "link", "add", spec.BRIDGE, "type", "bridge")
    _ip(namespace, "address", "replace", f"{state.control_address}/24", "dev", spec.BRIDGE)
    _ip(namespace, "link", "set", spec.BRIDGE, "up")
    etc = _NAMESPACE_ETC / namespace
    etc.mkdir(parents=True, exist_ok=True)
    # Written in place, not renamed over: a running `lab exec` has these very files mounted.
    hosts = spec.hosts_file(state.name, tuple(host.name for host in state.hosts))
    (etc / "hosts").write_text(hosts)
    (etc / "resolv.conf").write_text("# a lab has no name server\n")


def raise_host(state: LabState, name: str) -> None:
    """Make a host's namespace and its link to the bridge; repairs a half-made one.

    Raises:
        ProcessError: This machine refuses one of them.
    """
    host = state.host(name)
    control = state.control_namespace
    _ensure(host.namespace)
    ports, ends = links(control), links(host.namespace)
    if name in ports and spec.UPLINK not in ends:
        _ip(control, "link", "delete", name)  # its other end is in a namespace that is gone
    if spec.UPLINK not in ends:
        peer = ("peer", "name", spec.UPLINK, "netns", host.namespace)
        _ip(control, "link", "add", name, "type", "veth", *peer)
    _ip(control, "link", "set", name, "master", spec.BRIDGE)
    _ip(control, "link", "set", name, "up")
    _ip(host.namespace, "address", "replace", f"{host.address}/24", "dev", spec.UPLINK)
    _ip(host.namespace, "link", "set", spec.UPLINK, "up")


def namespaces(lab: str) -> tuple[str, ...]:
    """Return the names of all namespaces of a lab on this machine, whole or not."""
    if not _NAMESPACES.is_dir():
        return ()
    names = sorted(entry.name for entry in _NAMESPACES.iterdir())
    return tuple(name for name in names if spec.owns_namespace(lab, name))


def visitors(namespace: str) -> tuple[int, ...]:
    """Return the ids of processes in a namespace."""
    done = process.run(["ip", "netns", "pids", namespace], check=False)
    return tuple(int(word) for word in done.stdout.split() if word.isdigit())


def remove(lab: str) -> None:
    """Remove all namespaces, links and name files of a lab; what is gone already is no error."""
    for namespace in namespaces(lab):
        _delete(namespace)
    for directory in _NAMESPACE_ETC.glob(f"{spec.namespace_prefix(lab)}*"):
        if spec.owns_namespace(lab, directory.name):
            for file in directory.iterdir():
                file.unlink(missing_ok=True)
            directory.rmdir()
    if _NAMESPACE_ETC.is_dir() and not any(_NAMESPACE_ETC.iterdir()):
        _NAMESPACE_ETC.rmdir()
