"""What all commands share: paths, errors, processes, durable writes, the lock."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import subprocess
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

BLOCK = 1 << 20
ERROR_TAIL = 20  # last lines of a program's output that an error shows
JsonObject = dict[str, Any]
# Services log into a journal of their own; what systemd says of them, and what they said before
# they had one, is in the host's.
JOURNAL = ("journalctl", "--namespace=+bastide")


class AgentError(Exception):
    """A failure that the operator can act on.

    Args:
        code: The stable ``BAS-xxxx`` code.
        message: What happened, where, expected against found.
        hint: What to do next.
    """

    def __init__(self, code: str, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.code = code
        self.hint = hint


@dataclass(frozen=True)
class Paths:
    """Where everything is on a host, below ``root`` (``/``, or a folder in tests)."""

    root: Path = Path("/")

    def at(self, path: str) -> Path:
        """Return the absolute path ``path`` below the root."""
        return self.root / path.lstrip("/")

    @property
    def opt(self) -> Path:
        """Code: the agent, generations."""
        return self.at("/opt/bastide")

    @property
    def generations(self) -> Path:
        """One folder a generation."""
        return self.opt / "generations"

    @property
    def current(self) -> Path:
        """Symbolic link to the live generation."""
        return self.opt / "current"

    @property
    def state(self) -> Path:
        """Models, artifacts, data."""
        return self.at("/var/lib/bastide")

    @property
    def storage(self) -> Path:
        """The vector DB's data."""
        return self.state / "vectordb/storage"

    @property
    def fence(self) -> Path:
        """While it exists, the vector DB refuses writes."""
        return self.state / "vectordb.fence"

    @property
    def snapshots(self) -> Path:
        """One folder a snapshot of the vector DB's data."""
        return self.state / "snapshots"

    @property
    def repository(self) -> Path:
        """The flat local apt repository."""
        return self.state / "repository"

    @property
    def etc(self) -> Path:
        """What this host is, its CA and its secrets."""
        return self.at("/etc/bastide")

    @property
    def secrets(self) -> Path:
        """Secrets, 0700."""
        return self.etc / "secrets"

    @property
    def units(self) -> Path:
        """Where systemd looks for the administrator's units."""
        return self.at("/etc/systemd/system")

    @property
    def run(self) -> Path:
        """Lock, progress and the depot's token; gone after a reboot."""
        return self.at("/run/bastide")

    @property
    def transition(self) -> Path:
        """The switch under way; gone when the new generation is good or the old one is back."""
        return self.state / "transition.json"

    @property
    def good(self) -> Path:
        """The generations that have passed their gates."""
        return self.state / "good.json"

    @property
    def evidence(self) -> Path:
        """What tells why a generation was left, one folder a run."""
        return self.state / "evidence"

    @property
    def started(self) -> Path:
        """One file a unit: what it was started with, and answered."""
        return self.state / "started"


def run(
    argv: list[str],
    *,
    env: Mapping[str, str] | None = None,
    timeout: float | None = None,
) -> subprocess.CompletedProcess[str]:
    """Run a program in a clean environment; return what it printed, also if it failed."""
    clean = {
        "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        "LC_ALL": "C.UTF-8",
        "HOME": "/root",
        **(env or {}),
    }
    try:
        return subprocess.run(
            argv,
            env=clean,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=timeout,
            check=False,
        )
    except FileNotFoundError:
        return subprocess.CompletedProcess(argv, 127, "", f"{argv[0]} is not installed")
    except subprocess.TimeoutExpired:
        return subprocess.CompletedProcess(argv, 124, "", f"no end after {timeout:.0f} s")


def tail(done: subprocess.CompletedProcess[str]) -> str:
    """Return the last lines that a program printed."""
    lines = (done.stdout + "\n" + done.stderr).strip().splitlines()
    return "\n".join(lines[-ERROR_TAIL:])


def fsync_directory(directory: Path) -> None:
    """Make renames and creations inside ``directory`` durable."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_atomic(path: Path, content: bytes, mode: int = 0o644) -> bool:
    """Write ``content`` durably unless the file has it already; return whether it was written."""
    with contextlib.suppress(OSError):
        if not path.is_symlink() and path.read_bytes() == content:
            changed = (path.stat().st_mode & 0o7777) != mode
            if changed:
                path.chmod(mode)
            return changed
    temporary = path.with_name(f".{path.name}.bastide-tmp")
    temporary.unlink(missing_ok=True)
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as stream:
        stream.write(content)
        os.fchmod(stream.fileno(), mode)
        stream.flush()
        os.fsync(stream.fileno())
    temporary.replace(path)
    fsync_directory(path.parent)
    return True


def link_atomic(path: Path, target: str) -> bool:
    """Make ``path`` a symbolic link to ``target`` in one rename; return whether that was new."""
    if path.is_symlink() and str(path.readlink()) == target:
        return False
    temporary = path.with_name(f".{path.name}.bastide-tmp")
    temporary.unlink(missing_ok=True)
    temporary.symlink_to(target)
    temporary.replace(path)
    fsync_directory(path.parent)
    return True


def sha256_of(path: Path) -> str:
    """Return the SHA-256 of a file, in hex."""
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        for block in iter(lambda: stream.read(BLOCK), b""):
            digest.update(block)
    return digest.hexdigest()


def read_json(path: Path) -> JsonObject | None:
    """Return a JSON object from a file, or None if there is none or it is damaged."""
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return value if isinstance(value, dict) else None


@contextlib.contextmanager
def only_one(paths: Paths, seconds: float = 120.0, name: str = "agent.lock") -> Iterator[None]:
    """Hold a lock of the host; an agent of an earlier, cut-off run may still be at work."""
    paths.run.mkdir(mode=0o700, parents=True, exist_ok=True)
    deadline = time.monotonic() + seconds
    with (paths.run / name).open("a") as stream:
        while True:
            try:
                fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > deadline:
                    raise AgentError(
                        "BAS-6062",
                        f"another run has been at work on this host for {seconds:.0f} s",
                        "wait until it ends (ps -C python3), then apply again",
                    ) from None
                time.sleep(0.2)
        yield


def text_of(path: Path) -> str:
    """Return a file's text, or an empty one if it cannot be read."""
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
