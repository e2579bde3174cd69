"""Makes a backup: data behind the fence, files of the control node, sealed, signed, then named."""

from __future__ import annotations

import io
import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from bastide import __version__
from bastide.backup import archive, hosts
from bastide.backup.codes import NO_ROOM, OTHER_ENGINE, UNWRITABLE
from bastide.backup.control_files import as_tar, gather
from bastide.backup.keys import read_recipients
from bastide.backup.retention import Kept, to_remove
from bastide.backup.sealing import seal
from bastide.errors import ConfigError, PreflightError
from bastide.host.files import fsync_directory
from bastide.host.lock import exclusive_lock
from bastide.layout import BackupFolder, Home, SiteFolder
from bastide.progress import Progress, human_bytes
from bastide.run.ask import Line
from bastide.schema.backup import KeepRules
from bastide.schema.backup_archive import (
    CONTENTS,
    CONTROL,
    BackupContents,
    BackupHeader,
    ControlFile,
    DataStamp,
    NeededBundle,
    SealedPart,
    data_part,
)
from bastide.schema.site import Group, Site
from bastide.schema.vectordb import VectorEngine
from bastide.store.local import Store
from bastide.store.receipt import receipt_key

RESERVE = 64 << 20  # bytes that stay free where backups go


@dataclass(frozen=True)
class Order:
    """What is to be backed up, and where to.

    Args:
        site: The site.
        folder: Its folder.
        home: The control node's own state.
        out: The folder of backups.
        now: The present time.
        with_data: Whether vector data belongs into it.
    """

    site: Site
    folder: SiteFolder
    home: Home
    out: Path
    now: datetime
    with_data: bool = True


@dataclass(frozen=True)
class BackupResult:
    """What was saved.

    Args:
        path: The backup.
        id: Its name.
        size: Its bytes.
        signer: The public key that signed it.
        recipients: The public keys that it is sealed to.
        points: Points by host and collection.
        files: How many files of the control node it has.
        data_files: How many files of vector data it has.
        bundles: Releases that a restore needs in the store.
        removed: Earlier backups that `backup.keep` let go.
        notes: What should be known of it.
    """

    path: Path
    id: str
    size: int
    signer: str
    recipients: tuple[str, ...]
    points: dict[str, dict[str, int]]
    files: int
    data_files: int
    bundles: tuple[str, ...]
    removed: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


def backup_folder(site: Site, folder: SiteFolder, out: Path | None) -> Path:
    """Return where backups of a site go: ``out``, or what ``site.yaml`` says."""
    return (out or folder.root / Path(site.backup.folder).expanduser()).absolute()


def make_backup(order: Order, progress: Progress) -> BackupResult:
    """Make one backup, whole or not at all; then let go of earlier ones by ``backup.keep``.

    Args:
        order: What and where to.
        progress: Told of bytes as they pass.

    Raises:
        ConfigError: There is no recovery key to seal it to, or it cannot be written.
        LockedError: A run, or another backup, is under way.
        PreflightError: There is too little room.
        ApplyError: A host could not give its data, or a file cannot be read.
    """
    recipients = read_recipients(order.folder.recipients)
    _require_savable(order)
    try:
        order.out.mkdir(mode=0o700, parents=True, exist_ok=True)
        with (
            exclusive_lock(order.folder.lock, "backup"),
            exclusive_lock(BackupFolder.lock(order.out), f"backup of site {order.site.name}"),
        ):
            swept = archive.sweep(order.out)
            result = _noted(order, _Making(order, recipients, progress))
            removed = _retire(order.out, order.site.name, order.site.backup.keep)
    except OSError as error:
        raise ConfigError(
            f"the backup cannot be written: {error.filename or order.out}: {error.strerror}",
            code=UNWRITABLE,
            hint="make room, or name another folder with --out; nothing is left of this backup",
        ) from error
    notes = (*result.notes, *(f"removed {name}, left by a killed backup" for name in swept))
    return BackupResult(**{**vars(result), "removed": removed, "notes": notes})


def _require_savable(order: Order) -> None:
    """Check that the site's vector data can be saved, or shall not be.

    Raises:
        ConfigError: It cannot: that engine's files never lie still behind our fence.
    """
    if order.with_data and order.site.vectordb.engine is not VectorEngine.EDGE:
        raise ConfigError(
            f"vector data of the engine {order.site.vectordb.engine} cannot be saved by Bastide",
            code=OTHER_ENGINE,
            hint="save it by the engine's own snapshots, and everything else with --without-data",
        )


def _noted(order: Order, making: _Making) -> BackupResult:
    """Make the backup and tell the hosts how it ended: monitoring knows it from there."""
    line, good = Line(order.site, order.folder.root), False
    try:
        result = making.make()
        good = True
        return result
    finally:
        hosts.note(line, int(time.time()), good=good)


class _Making:
    """One backup under way."""

    def __init__(self, order: Order, recipients: Sequence[str], progress: Progress) -> None:
        self._order = order
        self._recipients = tuple(recipients)
        self._progress = progress
        created = order.now.astimezone(UTC).replace(microsecond=0)
        self._created = created
        self._id = f"{order.site.name}-{created:%Y%m%dT%H%M%SZ}"
        self._partial = BackupFolder(BackupFolder.partial(order.out, self._id))
        self._parts: list[SealedPart] = []
        self._notes: list[str] = []

    def make(self) -> BackupResult:
        order = self._order
        key = receipt_key(order.home.receipt_key)
        self._partial.root.mkdir(mode=0o700)
        try:
            hosts_with_data = order.site.hosts_in(Group.VECTORDB) if order.with_data else ()
            data = {name: self._save_data(name) for name in hosts_with_data}
            files = self._save_control()
            contents = self._contents(data, files)
            self._seal(io.BytesIO(contents.canonical()), CONTENTS)
            header = archive.sign(self._header(), key)
            fsync_directory(self._partial.root)
            done = archive.publish(self._partial, order.out, header)
        except BaseException:
            archive.sweep(order.out)
            raise
        return BackupResult(
            path=done.root,
            id=self._id,
            size=header.header.size,
            signer=header.key,
            recipients=self._recipients,
            points={host: stamp.points for host, stamp in data.items()},
            files=len(files),
            data_files=sum(len(stamp.files) for stamp in data.values()),
            bundles=tuple(each.release for each in contents.bundles),
            notes=tuple(self._notes),
        )

    def _save_data(self, host: str) -> DataStamp:
        line = Line(self._order.site, self._order.folder.root)
        copy = f"backup-{self._created:%Y%m%dT%H%M%SZ}"
        self._progress.note(f"{host}: copying vector data; writes wait meanwhile, reads do not")
        stamp = hosts.begin(line, host, copy)
        try:
            self._require_room(stamp.size)
            with (
                self._progress.task(f"{host}: vector data", total=stamp.size) as task,
                hosts.sending(line, host, copy) as stream,
            ):
                path = self._partial.part(data_part(host))
                self._parts.append(seal(stream, path, self._recipients, task.advance))
        finally:
            hosts.end(line, host, copy)
        if not stamp.asked:
            self._notes.append(
                f"{host}: the vector DB did not run, so counts and neighbours are not known"
            )
        return stamp

    def _require_room(self, size: int) -> None:
        state = os.statvfs(self._order.out)
        free = state.f_bavail * state.f_frsize
        if free < size + RESERVE:
            raise PreflightError(
                f"{self._order.out}: the vector data has {human_bytes(size)}, {human_bytes(free)} "
                "are free; no backup was made",
                code=NO_ROOM,
                hint="make room, let `backup.keep` keep fewer, or name another folder with --out",
            )

    def _save_control(self) -> tuple[ControlFile, ...]:
        order, written = self._order, list[ControlFile]()
        found = gather(order.folder, order.home, order.site, order.out)
        with (
            self._progress.task("control node's files", total=None) as task,
            as_tar(found, written) as stream,
        ):
            path = self._partial.part(CONTROL)
            self._parts.append(seal(stream, path, self._recipients, task.advance))
        return tuple(written)

    def _contents(
        self, data: dict[str, DataStamp], files: tuple[ControlFile, ...]
    ) -> BackupContents:
        site = self._order.site
        bundles = tuple(
            NeededBundle(bundle=each.digest, release=each.root.release, target=each.root.target)
            for each in Store(self._order.home.store).bundles()
        )
        return BackupContents(
            site=site.name,
            release=site.release,
            target=site.target,
            bundles=bundles,
            files=files,
            data=data,
        )

    def _seal(self, source: io.BytesIO, name: str) -> None:
        self._parts.append(seal(source, self._partial.part(name), self._recipients))

    def _header(self) -> BackupHeader:
        return BackupHeader(
            id=self._id,
            site=self._order.site.name,
            created=self._created,
            creator=__version__,
            recipients=self._recipients,
            parts=tuple(self._parts),
        )


def _retire(out: Path, site: str, rules: KeepRules) -> tuple[str, ...]:
    """Remove the site's own backups that need not stay; return their names."""
    listed = archive.list_backups(out)
    mine = [each for each in listed if each.header and each.header.header.site == site]
    kept = [Kept(each.header.header.id, each.header.header.created) for each in mine if each.header]
    going = to_remove(kept, rules)
    for each in mine:
        if each.header and each.header.header.id in going:
            archive.remove(each.folder)
    return going
