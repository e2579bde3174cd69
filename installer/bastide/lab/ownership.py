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
    other = Path(owner.read_text().strip()) if owner.exists() else folder.root
    if other != folder.root and other.is_dir():
        raise LabError(
            f"this machine has a lab of that name already, kept in {other}",
            code=OTHER_HOME,
            hint="choose another --name, or work on that one with "
            f"BASTIDE_HOME={other.parent.parent}",
        )


def take(name: str, folder: LabFolder) -> None:
    """Note that this home has the lab; only while ``command`` holds it."""
    write_atomic(lab_owner(name), f"{folder.root}\n".encode())


def release(name: str) -> None:
    """Note that no home has the lab; only while ``command`` holds it."""
    lab_owner(name).unlink(missing_ok=True)
