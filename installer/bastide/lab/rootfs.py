"""The root file system that hosts are copied from: built once a release and recipe, then cached.

It is a *minimal* Debian server on purpose: whatever else a site's host needs must come out of the
bundle, so a lab host must not have it already.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import platform
import secrets
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from bastide.errors import LockedError
from bastide.host import process
from bastide.host.files import fsync_directory
from bastide.host.lock import exclusive_lock
from bastide.lab import trees
from bastide.lab.errors import NO_SPACE, ROOTFS_FAILED, LabError
from bastide.progress import Progress

RECIPE_VERSION = 1  # raise it when hooks or options below change what comes out
VARIANT = "minbase"
PACKAGES = (
    "systemd",
    "systemd-sysv",
    "dbus",
    "python3",
    "iproute2",
    "openssh-server",
    "sudo",
    "ca-certificates",
)
_WAIT_SECONDS = 0.5
BUILD_BYTES = 1_000_000_000  # the result takes 280 MB; the rest is room for packages and logs

_APT_OPTIONS = ('Acquire::Retries "5"', 'Acquire::http::Timeout "60"')
# Every host gets keys of its own; the builder's name, resolver and apt options stay here.
_HOOK = (
    'rm -f "$1"/etc/ssh/ssh_host_* "$1"/etc/apt/apt.conf.d/99mmdebstrap && '
    ': > "$1/etc/resolv.conf" && : > "$1/etc/machine-id" && : > "$1/etc/hostname" && '
    'chmod 0644 "$1/etc/resolv.conf" "$1/etc/hostname"'
)


def content_key(release: str, mirror: str = "", machine: str = "") -> str:
    """Return the key under which a root file system is cached: equal recipes, equal keys."""
    recipe = {
        "release": release,
        "variant": VARIANT,
        "packages": sorted(PACKAGES),
        "recipe": RECIPE_VERSION,
        "mirror": mirror,
        "machine": machine or platform.machine(),
        "hook": _HOOK,
    }
    return hashlib.sha256(json.dumps(recipe, sort_keys=True).encode()).hexdigest()[:16]


def build_argv(release: str, target: Path, mirror: str = "") -> list[str]:
    """Return the command that builds a root file system in ``target``."""
    return [
        *trees.TREE_WITH_US,
        "mmdebstrap",
        "--mode=root",
        f"--variant={VARIANT}",
        f"--include={','.join(PACKAGES)}",
        *(f"--aptopt={option}" for option in _APT_OPTIONS),
        f"--customize-hook={_HOOK}",
        release,
        str(target),
        *([mirror] if mirror else []),
    ]


def ensure(release: str, cache: Path, progress: Progress, mirror: str = "") -> Path:
    """Return a complete root file system for ``release``, building it on the first call.

    Args:
        release: Debian release, such as ``bookworm``.
        cache: Bastide's cache folder; root file systems go below ``lab/rootfs``.
        progress: Where a build of minutes reports to.
        mirror: Debian mirror; empty means mmdebstrap's own default.

    Raises:
        LabError: It could not be built; nothing of the attempt is left in use.
    """
    shelf = cache / "lab" / "rootfs"
    shelf.mkdir(parents=True, exist_ok=True)
    ready = shelf / f"{release}-{content_key(release, mirror)}"
    if ready.is_dir():
        return ready
    with _shelf_lock(shelf, progress):
        if not ready.is_dir():
            _clear_partial(shelf)
            _build(release, ready, mirror, progress)
    return ready


@contextlib.contextmanager
def _shelf_lock(shelf: Path, progress: Progress) -> Iterator[None]:
    """Hold the shelf, waiting for another lab that builds on it: it builds what we need, too."""
    said = False
    with contextlib.ExitStack() as held:
        while True:
            try:
                held.enter_context(exclusive_lock(shelf / ".lock", "root file system of a lab"))
                break
            except LockedError as error:
                if not said:
                    progress.note(f"waiting for another build: {error}")
                    said = True
                time.sleep(_WAIT_SECONDS)
        yield


def _clear_partial(shelf: Path) -> None:
    """Remove what killed builds left; only the holder of the shelf's lock may."""
    for leftover in shelf.glob(".partial-*"):
        trees.remove(leftover)


def _build(release: str, ready: Path, mirror: str, progress: Progress) -> None:
    check_space(ready.parent, BUILD_BYTES)
    partial = ready.parent / f".partial-{ready.name}-{secrets.token_hex(4)}"
    last: list[str] = []
    try:
        with progress.task(f"Debian {release} root file system", unit="steps", total=11) as task:
            process.stream(
                build_argv(release, partial, mirror), _follow(task.describe, task.advance, last)
            )
    except process.ProcessError as error:
        trees.remove(partial)
        raise LabError(
            f"mmdebstrap could not build Debian {release}: {(last or [str(error)])[-1]}",
            code=ROOTFS_FAILED,
            hint="check that this machine reaches a Debian mirror (`apt-get update`), or name one "
            "with --mirror",
        ) from error
    except BaseException:
        trees.remove(partial)
        raise
    os.sync()  # the rename must not become durable before the files
    partial.rename(ready)
    fsync_directory(ready.parent)


def _follow(
    describe: Callable[[str], None], advance: Callable[[int], None], errors: list[str]
) -> Callable[[str], None]:
    """Return what turns mmdebstrap's lines into progress and keeps its errors."""

    def on_line(line: str) -> None:
        if line.startswith("I: "):
            describe(line[3:].split(" in shell:", maxsplit=1)[0])
            advance(1)
        elif line.startswith("E: ") and "mmdebstrap failed" not in line:
            errors.append(line[3:])

    return on_line


def check_space(directory: Path, needed: int) -> None:
    """Check that ``needed`` bytes fit on the disk of ``directory``.

    Raises:
        LabError: They do not; the message has both figures.
    """
    free = shutil.disk_usage(directory).free
    if free < needed:
        raise LabError(
            f"{directory} has {free / 1e9:.1f} GB free, the lab needs {needed / 1e9:.1f} GB",
            code=NO_SPACE,
            hint="free some space, or set BASTIDE_CACHE and BASTIDE_HOME to a larger disk",
        )
