"""What lies in a bundle's folder, without following anything out of it."""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from bastide.errors import BundleError, Problem
from bastide.trust.text import printable

NOT_A_BUNDLE = "BAS-3101"
KINDS = (
    (stat.S_ISLNK, "symbolic link"),
    (stat.S_ISFIFO, "named pipe"),
    (stat.S_ISSOCK, "socket"),
    (stat.S_ISBLK, "block device"),
    (stat.S_ISCHR, "character device"),
)


@dataclass(frozen=True)
class Tree:
    """The plain files and folders of a bundle, and what else was found.

    Args:
        folder: The bundle's folder.
        files: Path relative to it → size in bytes.
        folders: Relative paths of the folders below it.
        problems: Everything that is neither, or cannot be looked at.
    """

    folder: Path
    files: dict[str, int]
    folders: frozenset[str]
    problems: tuple[Problem, ...]

    def strangers(self, expected: set[str]) -> tuple[Problem, ...]:
        """Return a problem for every file or folder that ``expected`` does not account for."""
        parents = {str(p) for path in expected for p in PurePosixPath(path).parents}
        hint = "remove it, or copy the bundle again into a folder of its own"
        files = sorted(set(self.files) - expected)
        # A folder with something in it is named through that; an empty one by itself.
        full = {str(p) for path in self.files for p in PurePosixPath(path).parents}
        empty = sorted(self.folders - parents - full)
        return tuple(
            Problem(printable(path), f"is {what} that does not belong to the bundle", hint)
            for what, paths in (("a file", files), ("an empty folder", empty))
            for path in paths
        )


def scan(folder: Path) -> Tree:
    """List a bundle's folder.

    Raises:
        BundleError: The folder itself is not there or cannot be read.
    """
    files: dict[str, int] = {}
    folders: set[str] = set()
    problems: list[Problem] = []
    pending = [""]
    while pending:
        below = pending.pop()
        try:
            entries = _entries(folder / below)
        except OSError as error:
            if not below:
                raise _no_folder(folder, error) from error
            problems.append(Problem(printable(below), f"cannot be listed: {error.strerror}"))
            continue
        for name, mode, size in entries:
            path = f"{below}/{name}" if below else name
            if stat.S_ISDIR(mode):
                folders.add(path)
                pending.append(path)
            elif stat.S_ISREG(mode):
                files[path] = size
            else:
                problems.append(_special(path, mode))
    return Tree(folder, files, frozenset(folders), tuple(problems))


def _entries(folder: Path) -> list[tuple[str, int, int]]:
    with os.scandir(folder) as found:
        stats = [(entry.name, entry.stat(follow_symlinks=False)) for entry in found]
    return sorted((name, status.st_mode, status.st_size) for name, status in stats)


def _special(path: str, mode: int) -> Problem:
    kind = next((text for test, text in KINDS if test(mode)), "special file")
    return Problem(printable(path), f"is a {kind}; a bundle holds plain files only")


def _no_folder(folder: Path, error: OSError) -> BundleError:
    return BundleError(
        f"there is no bundle at {folder}: {error.strerror}",
        code=NOT_A_BUNDLE,
        hint="name the folder that `bastide bundle build` wrote; is the medium mounted?",
    )
