"""What a backup has of the control node: the site's folder, keys, ledger, runs to go back to."""

from __future__ import annotations

import hashlib
import io
import os
import stat
import tarfile
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from bastide.backup.codes import DAMAGED, NOT_TAKEN
from bastide.backup.keys import RecoveryKey
from bastide.backup.sealing import Source, unseal
from bastide.errors import ApplyError, BastideError, TrustError
from bastide.layout import BackupFolder, Home, RunFolder, SiteFolder
from bastide.render.inventory import resolve
from bastide.run.earlier import good_runs
from bastide.schema.backup_archive import CONTROL, BackupContents, BackupHeader, ControlFile
from bastide.schema.site import Site
from bastide.site.vault import label_of, password_file

# Made anew by the next command, or of interest only where it was made.
_LEFT_OUT = {"plan.json", ".lock", "runs", "reports"}
_LEFT_OUT_OF_RUNS = {"artifacts", "inventory", "project", "secrets", "ansible.cfg"}
SSH = ("private_key", "known_hosts")


def gather(folder: SiteFolder, home: Home, site: Site, out: Path) -> dict[str, Path]:
    """Return the files of a backup: the name in it → where each lies now.

    Args:
        folder: The site's folder; all of it but plans, reports and most runs.
        home: The control node's state: what of it the site needs.
        site: The site.
        out: Where backups go; never part of one.
    """
    found = {f"site/{name}": path for name, path in _site_files(folder, out.resolve())}
    for run in good_runs(folder)[: site.upgrades.keep_generations]:
        for name, path in _below(run.folder.root, _LEFT_OUT_OF_RUNS):
            found[f"site/runs/{run.folder.id}/{name}"] = path
    for path in _home_files(home):
        found[f"home/{path.relative_to(home.root)}"] = path
    label = label_of(folder.secrets.read_bytes(), where=str(folder.secrets))
    found[f"home/vault/{Path(label).name}.txt"] = password_file(home, label)
    for name in SSH:
        path = resolve(getattr(site.ssh, name), folder.root)
        if path.is_file():
            found[f"ssh/{name}"] = path
    return dict(sorted(found.items()))


def _site_files(folder: SiteFolder, out: Path) -> Iterator[tuple[str, Path]]:
    for name, path in _below(folder.root, _LEFT_OUT):
        if not path.resolve().is_relative_to(out) and not name.endswith(".tmp"):
            yield name, path


def _home_files(home: Home) -> Iterator[Path]:
    single = (home.receipt_key, home.ledger, home.acceptances, home.licence_policy)
    yield from (path for path in (*single, home.known_receipt_keys) if path.is_file())
    yield from (path for _, path in _below(home.site_trust.parent, set()))


def _below(root: Path, left_out: set[str]) -> Iterator[tuple[str, Path]]:
    """Yield the plain files below a folder, with their relative names; links are left out."""
    for parent, folders, names in os.walk(root):
        if Path(parent) == root:
            folders[:] = [name for name in folders if name not in left_out]
            names = [name for name in names if name not in left_out]  # noqa: PLW2901
        folders[:] = [name for name in folders if not _is_backup(Path(parent, name))]
        for name in sorted(names):
            path = Path(parent, name)
            if stat.S_ISREG(path.lstat().st_mode):
                yield str(path.relative_to(root)), path


def _is_backup(folder: Path) -> bool:
    """Return whether a folder is a backup, or what a killed one left: never part of another."""
    return BackupFolder(folder).header.exists() or folder.name.startswith(".partial-")


@contextmanager
def as_tar(files: Mapping[str, Path], written: list[ControlFile]) -> Iterator[Source]:
    """Yield a tar archive of files as a stream; ``written`` gets a line for each.

    Each file is read once and whole, so that its digest is of the bytes that were saved.

    Raises:
        ApplyError: A file cannot be read.
    """
    reading, writing = os.pipe()
    failed: list[OSError] = []

    def work() -> None:
        try:
            with os.fdopen(writing, "wb") as stream, tarfile.open(fileobj=stream, mode="w|") as tar:
                for name, path in files.items():
                    _add(tar, name, path, written)
        except BrokenPipeError:  # whoever reads has given up
            return
        except OSError as error:
            failed.append(error)

    worker = threading.Thread(target=work, name="control-files", daemon=True)
    worker.start()
    try:
        with os.fdopen(reading, "rb") as stream:
            yield stream
    finally:
        worker.join()
    if failed:
        raise ApplyError(
            f"{failed[0].filename} cannot be saved: {failed[0].strerror}",
            code=NOT_TAKEN,
            hint="run as the user that runs Bastide; no backup was made",
        )


def _add(tar: tarfile.TarFile, name: str, path: Path, written: list[ControlFile]) -> None:
    content = path.read_bytes()
    mode = stat.S_IMODE(path.stat().st_mode) & 0o777
    member = tarfile.TarInfo(name)
    member.size, member.mode, member.mtime = len(content), mode, int(path.stat().st_mtime)
    tar.addfile(member, io.BytesIO(content))
    digest = hashlib.sha256(content).hexdigest()
    written.append(ControlFile(path=name, size=len(content), sha256=digest, mode=mode))


@dataclass(frozen=True, repr=False)
class SavedFiles:
    """The control node's files out of a backup, in memory: some of them are secret.

    Args:
        files: Content and mode, by the name in the backup.
    """

    files: Mapping[str, tuple[bytes, int]]

    def below(self, folder: str) -> dict[str, tuple[bytes, int]]:
        """Return the files of ``site``, ``home`` or ``ssh`` by their names below it."""
        prefix = f"{folder}/"
        return {n.removeprefix(prefix): f for n, f in self.files.items() if n.startswith(prefix)}

    def run_ids(self) -> Sequence[str]:
        """Return the ids of the runs that were saved."""
        names = (PurePosixPath(name).parts for name in self.below("site"))
        return sorted({RunFolder(Path(p[1])).id for p in names if p[0] == "runs" and len(p) > 2})


def open_control(
    folder: BackupFolder,
    header: BackupHeader,
    contents: BackupContents,
    key: RecoveryKey,
    moved: Callable[[int], None] = lambda _: None,
) -> SavedFiles:
    """Return the control node's files of a backup, each proved by its digest.

    Raises:
        TrustError: They are not as they were saved.
    """
    part = next(part for part in header.parts if part.name == CONTROL)
    plain = io.BytesIO()
    unseal(folder.part(CONTROL), part, key, plain, moved)
    plain.seek(0)
    wanted = {each.path: each for each in contents.files}
    found: dict[str, tuple[bytes, int]] = {}
    try:
        with tarfile.open(fileobj=plain, mode="r|") as tar:
            for member in tar:
                stream = tar.extractfile(member)
                content = stream.read() if stream else b""
                _require_same(folder, member.name, content, wanted)
                found[member.name] = (content, wanted[member.name].mode)
    except tarfile.TarError as error:
        raise _damaged(folder, str(error)) from error
    lost = sorted(set(wanted) - set(found))
    if lost:
        raise _damaged(folder, f"{lost[0]} is missing")
    return SavedFiles(found)


def _require_same(
    folder: BackupFolder, name: str, content: bytes, wanted: Mapping[str, ControlFile]
) -> None:
    said = wanted.get(name)
    if said is None or ".." in PurePosixPath(name).parts:
        raise _damaged(folder, f"{name} does not belong to it")
    if len(content) != said.size or hashlib.sha256(content).hexdigest() != said.sha256:
        raise _damaged(folder, f"{name} is not as it was saved")


def _damaged(folder: BackupFolder, why: str) -> BastideError:
    return TrustError(
        f"{folder.part(CONTROL)} is damaged: {why}", code=DAMAGED, hint="use another backup"
    )
