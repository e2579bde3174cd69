"""One lab of a name on a machine, whichever home it was raised from."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

from bastide.host.files import write_atomic
from bastide.host.lock import exclusive_lock
from bastide.lab.errors import OTHER_HOME, LabError
from bastide.layout import LabFolder, lab_lock, lab_owner


@contextlib.contextmanager
def command(name: str, folder: LabFolder, verb: str) -> Iterator[None]:
    """Hold the lab of this name on this machine during the block.

    Args:
        name: The lab's.
        folder: Where this home keeps it.
        verb: ``up``, ``down`` or ``kill``, for whoever finds it held.

    Raises:
        LockedError: Another lab command is at work on it.
        LabError: Another home has a lab of this name.
    """
    with exclusive_lock(lab_lock(name), f"bastide lab {verb} --name {name}"):
        check(lab_owner(name), folder)
        yield


def check(owner: Path, folder: LabFolder) -> None:
    """Check that no other home has the lab.

    Raises:
        LabError: One has.
    """
    other = _folder(owner) or folder
    if other.root != folder.root and other.root.is_dir():
        raise LabError(
            f"this machine has a lab of that name already, kept in {other.root}",
            code=OTHER_HOME,
            hint="choose another --name, or work on that one with "
            f"BASTIDE_HOME={other.root.parent.parent}; if nobody uses it any more, "
            "`bastide lab down --abandoned` removes it",
        )


def owned_by(name: str) -> LabFolder | None:
    """Return where the lab of this name is kept on this machine; None if nobody has one."""
    return _folder(lab_owner(name))


def _folder(owner: Path) -> LabFolder | None:
    return LabFolder(Path(owner.read_text().strip())) if owner.exists() else None


def take(name: str, folder: LabFolder) -> None:
    """Note that this home has the lab; only while ``command`` holds it."""
    write_atomic(lab_owner(name), f"{folder.root}\n".encode())


def release(name: str) -> None:
    """Note that no home has the lab; only while ``command`` holds it."""
    lab_owner(name).unlink(missing_ok=True)
