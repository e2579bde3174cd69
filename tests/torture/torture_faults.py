"""Faults at a chosen operation of an import: killed, unplugged, disk full, power cut.

All runs in a forked child, whose system calls from Python are counted. An operation is one call
of ``open``, ``preadv``, ``pwrite``, ``fsync``, ``ftruncate``, ``replace``, ``unlink`` or ``mkdir``
that touches the store or the medium.

The power cut is the hard one: what the store had not synced is lost. The layer keeps, beside the
real files, what is durable: a file's bytes as they were at its last ``fsync``, a folder's names as
they were at its own. At the cut it lays that state out as a new store; of names that were not
synced some survive by chance, and the bytes of files that were not synced are old, zeros or a mix.
"""

from __future__ import annotations

import errno
import os
import random
import shutil
import signal
import stat
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

PLACES = {"unplug": ("medium",), "disk full": ("store",)}
KINDS = ("kill", "unplug", "disk full", "power cut")
PAGE = 4096


@dataclass
class Faults:
    """Counts operations and strikes at one of them.

    Args:
        kind: One of `KINDS`, or ``none`` to count only.
        point: Number of the operation, from 1.
        store: The store's folder.
        medium: What is imported from.
        survivor: Where a power cut lays out what is left of the store.
        seed: For what survives by chance.
    """

    kind: str
    point: int
    store: Path
    medium: Path
    survivor: Path
    seed: int
    counts: dict[str, int] = field(default_factory=lambda: {"store": 0, "medium": 0})
    struck: bool = False
    _lock: threading.RLock = field(default_factory=threading.RLock)
    _data: dict[int, bytes] = field(default_factory=dict)  # inode → bytes at its last fsync
    _names: dict[int, dict[str, int]] = field(default_factory=dict)  # folder's inode → its names
    _real: dict[str, Callable[..., Any]] = field(default_factory=dict)

    @property
    def count(self) -> int:
        """Operations so far, of those that the fault can strike."""
        return sum(self.counts[place] for place in PLACES.get(self.kind, self.counts))

    def install(self) -> None:
        """Put the layer between Python and the system, for the rest of this process."""
        for name in ("open", "preadv", "pwrite", "fsync", "ftruncate", "replace", "unlink",
                     "mkdir", "scandir", "lstat"):  # fmt: skip
            self._real[name] = getattr(os, name)
            setattr(os, name, self._wrap(name))

    def _wrap(self, name: str) -> Callable[..., Any]:
        real = self._real[name]

        def call(target: Any, *args: Any, **kwargs: Any) -> Any:
            where = self._where(target)
            if where == "elsewhere":
                return real(target, *args, **kwargs)
            with self._lock:
                self._before(name, where, args)
                result = real(target, *args, **kwargs)
                if name == "fsync":
                    self._synced(target)
                elif name == "open" and where == "store":
                    self._opened(result)
                return result

        return call

    def _where(self, target: Any) -> str:
        try:
            if isinstance(target, int):
                path = os.readlink(f"/proc/self/fd/{target}")
            else:
                path = os.path.abspath(os.fspath(target))
        except (OSError, TypeError):
            return "elsewhere"
        for name, folder in (("store", self.store), ("medium", self.medium)):
            if path == str(folder) or path.startswith(f"{folder}/"):
                return name
        return "elsewhere"

    def _before(self, name: str, where: str, args: tuple[Any, ...]) -> None:
        if name not in {"scandir", "lstat"}:
            self.counts[where] += 1
        self.struck = self.struck or (self.kind != "none" and self.count >= self.point)
        if not self.struck:
            return
        if self.kind == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        elif self.kind == "power cut":
            self._cut()
            os.kill(os.getpid(), signal.SIGKILL)
        elif self.kind == "unplug" and where == "medium":
            number = errno.EIO if self.seed % 2 else errno.ENOENT
            raise OSError(number, os.strerror(number))
        elif self.kind == "disk full" and where == "store" and self._allocates(name, args):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    @staticmethod
    def _allocates(name: str, args: tuple[Any, ...]) -> bool:
        if name == "open":
            return bool(args and args[0] & os.O_CREAT)
        return name in {"pwrite", "mkdir", "fsync"}

    def _opened(self, descriptor: int) -> None:
        """Forget what a new file's inode held when it was another file's."""
        found = os.fstat(descriptor)
        if stat.S_ISREG(found.st_mode) and found.st_size == 0:
            self._data.pop(found.st_ino, None)

    def _synced(self, descriptor: int) -> None:
        found = os.fstat(descriptor)
        path = os.readlink(f"/proc/self/fd/{descriptor}")
        if stat.S_ISDIR(found.st_mode):
            self._names[found.st_ino] = self._list(path)
        else:
            self._data[found.st_ino] = self._bytes(path)

    def _list(self, folder: str) -> dict[str, int]:
        with self._real["scandir"](folder) as entries:
            return {entry.name: entry.inode() for entry in entries}

    def _bytes(self, path: str) -> bytes:
        descriptor = self._real["open"](path, os.O_RDONLY)
        try:
            return os.pread(descriptor, os.fstat(descriptor).st_size, 0)
        finally:
            os.close(descriptor)

    def _cut(self) -> None:
        self.kind = "none"  # what follows is not the import's doing
        self.struck = False
        chance = random.Random(self.seed)  # noqa: S311
        shutil.rmtree(self.survivor, ignore_errors=True)
        if os.path.isdir(self.store):
            self._lay_out(str(self.store), self.survivor, chance)

    def _lay_out(self, folder: str, out: Path, chance: random.Random) -> None:
        """Write what is left of ``folder`` to ``out``."""
        self._real["mkdir"](out)
        now = self._list(folder)
        durable = self._names.get(os.stat(folder).st_ino, {})
        left = dict(durable)
        for name in sorted({*now, *durable}):
            if now.get(name) != durable.get(name) and chance.random() < 0.5:
                if name in now:
                    left[name] = now[name]
                else:
                    left.pop(name, None)
        for name, inode in sorted(left.items()):
            path = os.path.join(folder, name)
            is_same = os.path.lexists(path) and os.stat(path).st_ino == inode
            if is_same and os.path.isdir(path):
                self._lay_out(path, out / name, chance)
                continue
            content = self._data.get(inode)
            if content is None:
                content = self._torn(self._bytes(path) if is_same else b"", chance)
            descriptor = self._real["open"](out / name, os.O_WRONLY | os.O_CREAT, 0o644)
            with os.fdopen(descriptor, "wb") as stream:
                stream.write(content)

    @staticmethod
    def _torn(content: bytes, chance: random.Random) -> bytes:
        """Return what may be left of bytes that were not synced."""
        how = chance.choice(("nothing", "zeros", "beginning", "pages", "all"))
        if how == "nothing":
            return b""
        if how == "zeros":
            return bytes(len(content))
        if how == "beginning":
            return content[: chance.randint(0, len(content))]
        if how == "pages":
            pages = [content[n : n + PAGE] for n in range(0, len(content), PAGE)]
            return b"".join(p if chance.random() < 0.7 else bytes(len(p)) for p in pages)
        return content
