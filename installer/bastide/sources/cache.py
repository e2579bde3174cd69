"""The builder's cache: files by digest, only ever whole and checked."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from bastide.host.files import atomic_writer, fsync_directory
from bastide.layout import blob_path

BLOCK = 1 << 20


@dataclass(frozen=True)
class Cache:
    """Files by digest, outside of any tree; shared by all builds of this user."""

    root: Path

    def path(self, sha256: str) -> Path:
        """Return where the file with this digest is or would be."""
        return self.root / blob_path(sha256)

    def has(self, sha256: str) -> bool:
        """Tell whether the file is there; only whole, checked files ever are."""
        return self.path(sha256).is_file()

    @contextlib.contextmanager
    def partial(self, sha256: str) -> Iterator[Path]:
        """Lend the partial file of a digest to one process at a time."""
        folder = self.root / "partial"
        folder.mkdir(parents=True, exist_ok=True)
        with (folder / f"{sha256}.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield folder / sha256

    def adopt(self, partial: Path, sha256: str) -> Path:
        """Make a whole, checked partial file visible, durably."""
        path = self.path(sha256)
        path.parent.mkdir(parents=True, exist_ok=True)
        partial.chmod(0o444)
        partial.replace(path)
        fsync_directory(path.parent)
        return path

    def put(self, content: bytes) -> str:
        """Store ``content`` and return its digest."""
        sha256 = hashlib.sha256(content).hexdigest()
        if not self.has(sha256):
            path = self.path(sha256)
            path.parent.mkdir(parents=True, exist_ok=True)
            with atomic_writer(path, mode=0o444) as stream:
                stream.write(content)
        return sha256

    def put_stream(self, source: IO[bytes]) -> tuple[str, int]:
        """Store all of ``source`` and return digest and size."""
        folder = self.root / "partial"
        folder.mkdir(parents=True, exist_ok=True)
        partial = folder / f"in.{os.getpid()}.{time.monotonic_ns()}"
        digest, size = hashlib.sha256(), 0
        try:
            with partial.open("xb") as stream:
                while block := source.read(BLOCK):
                    digest.update(block)
                    size += stream.write(block)
                stream.flush()
                os.fsync(stream.fileno())
            self.adopt(partial, digest.hexdigest())
        finally:
            partial.unlink(missing_ok=True)
        return digest.hexdigest(), size
