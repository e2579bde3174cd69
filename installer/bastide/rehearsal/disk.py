"""What Bastide takes on the lab hosts' disks, looked at once a second while a step lasts."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from bastide.schema.plan import HostPlan
from bastide.schema.rehearsal import DiskUse

# Path of a file system → where below it something may grow.
PLACES = {
    "/opt": ("opt",),
    "/var/lib": ("var/lib/bastide",),
    "/usr": ("usr",),
    "/etc": ("etc",),
}
_EVERY = 1.0

Usage = dict[tuple[str, str], int]


def used(folder: Path) -> int:
    """Return the bytes that a tree takes on disk; a file with several names counts once."""
    total, seen = 0, set[tuple[int, int]]()
    waiting = [folder]
    while waiting:
        try:
            entries = list(os.scandir(waiting.pop()))
        except OSError:
            continue  # it went away meanwhile
        for entry in entries:
            try:
                facts = entry.stat(follow_symlinks=False)
            except OSError:
                continue
            if (facts.st_dev, facts.st_ino) not in seen:
                seen.add((facts.st_dev, facts.st_ino))
                total += facts.st_blocks * 512
            if entry.is_dir(follow_symlinks=False):
                waiting.append(Path(entry.path))
    return total


def look(disks: Mapping[str, Path], paths: Mapping[str, tuple[str, ...]] = PLACES) -> Usage:
    """Return what is used now, by host and path."""
    return {
        (host, path): sum(used(disk / place) for place in places)
        for host, disk in disks.items()
        for path, places in paths.items()
    }


@dataclass
class Watch:
    """Looks at the disks until it is told to stop.

    Args:
        disks: Root of each host's disk, by the host's name.
    """

    disks: Mapping[str, Path]
    before: Usage = field(default_factory=dict)
    peak: Usage = field(default_factory=dict)
    after: Usage = field(default_factory=dict)

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Look while the block lasts; results are there after it."""
        self.before = look(self.disks)
        self.peak = dict(self.before)
        done = threading.Event()
        worker = threading.Thread(target=self._keep_looking, args=(done,), daemon=True)
        worker.start()
        try:
            yield
        finally:
            done.set()
            worker.join()
            self.after = look(self.disks)
            self._raise_peak(self.after)

    def uses(self, plans: Mapping[str, HostPlan]) -> tuple[DiskUse, ...]:
        """Return what was seen, with the growth that the plan foresees.

        Args:
            plans: The plan of each host; empty if there is none.
        """
        return tuple(
            DiskUse(
                host=host,
                path=path,
                before=before,
                peak=self.peak[host, path],
                after=self.after[host, path],
                planned=plans[host].disk_needed.get(path, 0) if host in plans else None,
            )
            for (host, path), before in self.before.items()
        )

    def _keep_looking(self, done: threading.Event) -> None:
        # /usr and /etc hardly change, and have ten thousand files: they are seen at the end.
        quick = {path: PLACES[path] for path in ("/opt", "/var/lib")}
        while not done.wait(_EVERY):
            self._raise_peak(look(self.disks, quick))

    def _raise_peak(self, seen: Usage) -> None:
        for where, size in seen.items():
            self.peak[where] = max(self.peak.get(where, 0), size)
