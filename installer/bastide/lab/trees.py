"""Copies and removals of root file systems that neither outlive us nor reach beyond them."""

from __future__ import annotations

from pathlib import Path

from bastide.host import process

# The child is killed when the thread that started it ends, however we end.
WITH_US = ("setpriv", "--pdeathsig", "KILL")
# The same for all that the child starts in turn: its own process namespace dies with it.
TREE_WITH_US = (*WITH_US, "unshare", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc")


def mounts_below(directory: Path, mountinfo: str) -> tuple[str, ...]:
    """Return mount points at or below ``directory``, the innermost first; pure.

    Args:
        directory: An absolute path.
        mountinfo: The text of ``/proc/self/mountinfo``.
    """
    points = [line.split()[4] for line in mountinfo.splitlines() if line]
    plain = [point.encode().decode("unicode_escape") for point in points]  # \040 is a blank
    inside = f"{directory}/"
    return tuple(
        sorted((p for p in plain if p == str(directory) or p.startswith(inside)), reverse=True)
    )


def remove(directory: Path) -> None:
    """Remove a tree, never crossing into what is mounted in it.

    Raises:
        ProcessError: A mount in it cannot be undone, or a file cannot be removed.
    """
    if not directory.exists():
        return
    real = directory.resolve()
    for point in mounts_below(real, Path("/proc/self/mountinfo").read_text()):
        process.run(["umount", "--lazy", "--no-mtab", point])
    process.run(["rm", "--recursive", "--force", "--one-file-system", "--", str(real)])


def copy(source: Path, target: Path) -> None:
    """Copy a tree with owners, modes and attributes, sharing blocks where the disk can.

    Raises:
        ProcessError: The copy failed; ``target`` may then be there in part.
    """
    process.run([*WITH_US, "cp", "--archive", "--reflink=auto", "--", str(source), str(target)])


def size(directory: Path) -> int:
    """Return the bytes that a tree takes on disk."""
    done = process.run(["du", "--summarize", "--block-size=1", "--one-file-system", str(directory)])
    return int(done.stdout.split()[0])
