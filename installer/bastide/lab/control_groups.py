"""The control groups that a host's processes live in, and how much of this machine they may use.

Where systemd runs this machine it owns all groups: a host is a scope of its own, and systemd is
asked. Elsewhere the groups are made by hand, in version 2 or in what is mounted of version 1.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

from bastide.host import process

_ROOT = Path("/sys/fs/cgroup")
# The hierarchies that matter where version 1 is mounted: systemd's own, 2, and two for accounts.
_HIERARCHIES = ("systemd", "unified", "memory", "cpu")
_SYSTEMD_RUNS = Path("/run/systemd/system")
# A fifth of the kernel's usual period: a host that has used up its share waits a blink, not 100 ms.
_PERIOD = 20_000  # µs
_LEAST_QUOTA = 1_000  # µs; the kernel takes no less


def directories(name: str) -> tuple[Path, ...]:
    """Return a host's own control groups; none where systemd runs this machine and owns them."""
    if _SYSTEMD_RUNS.is_dir():
        return ()
    if (_ROOT / "cgroup.procs").exists():  # version 2 alone
        return (_ROOT / name,)
    return tuple(
        _ROOT / hierarchy / name
        for hierarchy in _HIERARCHIES
        if (_ROOT / hierarchy / "cgroup.procs").exists()
    )


def make(name: str) -> tuple[Path, ...]:
    """Make a host's control groups and return them."""
    groups = directories(name)
    for group in groups:
        group.mkdir(exist_ok=True)
    return groups


def scope_argv(name: str) -> tuple[str, ...]:
    """Return what starts a host in a scope of its own where systemd runs this machine."""
    if not _SYSTEMD_RUNS.is_dir():
        return ()
    scope = ("systemd-run", "--quiet", "--scope", "--collect", "--property=Delegate=yes")
    return (*scope, f"--unit={name}", "--slice=bastide-lab.slice")


def quota(cpus: float) -> int:
    """Return the µs of each period for so many CPUs; -1 for no bound (``cpus`` is 0)."""
    return max(round(cpus * _PERIOD), _LEAST_QUOTA) if cpus else -1


def bound(name: str, cpus: float) -> None:
    """Bound the processor time of a host, also of one that runs.

    Args:
        name: The host's group.
        cpus: How many CPUs it may use at most; 0: all of this machine.
    """
    if _SYSTEMD_RUNS.is_dir():
        share = f"CPUQuota={cpus:.0%}" if cpus else "CPUQuota="
        argv = ["systemctl", "set-property", "--runtime", f"{name}.scope", share]
        process.run([*argv, f"CPUQuotaPeriodSec={_PERIOD}us"])
        return
    allowed = quota(cpus)
    for group in directories(name):
        if (group / "cpu.cfs_quota_us").exists():
            (group / "cpu.cfs_period_us").write_text(str(_PERIOD))
            (group / "cpu.cfs_quota_us").write_text(str(allowed))
        elif group.parent == _ROOT:
            (_ROOT / "cgroup.subtree_control").write_text("+cpu")
            (group / "cpu.max").write_text(f"{'max' if allowed < 0 else allowed} {_PERIOD}")


def members(groups: tuple[Path, ...]) -> Iterator[int]:
    """Yield the ids of the processes in control groups, those below them included."""
    for group in groups:
        for folder, _, _ in os.walk(group):  # which passes over groups that go meanwhile
            with contextlib.suppress(OSError):
                procs = Path(folder, "cgroup.procs").read_text()
                yield from {int(line) for line in procs.split()}


def remove(groups: tuple[Path, ...]) -> None:
    """Remove control groups and those below them, as far as they are empty."""
    for group in groups:
        for folder, _, _ in os.walk(group, topdown=False):
            with contextlib.suppress(OSError):  # a busy one is tried again by the next command
                Path(folder).rmdir()
