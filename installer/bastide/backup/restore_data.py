"""Brings the vector data of a backup onto hosts and lets them prove that it is what was saved."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

from bastide.backup import hosts
from bastide.backup.codes import OTHER_SITE
from bastide.backup.keys import RecoveryKey
from bastide.backup.opening import Opened
from bastide.backup.sealing import BLOCK, unseal
from bastide.errors import ConfigError
from bastide.host.lock import exclusive_lock
from bastide.layout import SiteFolder
from bastide.progress import Progress
from bastide.run.ask import Line
from bastide.schema.backup_archive import data_part
from bastide.schema.site import Group, Site

_AHEAD = 8  # pieces that may wait: bounds the memory


@dataclass(frozen=True)
class RestoredData:
    """What one host proved.

    Args:
        host: The host.
        saved_from: The host that the data was saved from.
        points: Points by collection, as the service counts them now: equal to the backup's.
        files: Files whose digests are those of the backup.
        probes: Searches whose answers are those of the backup.
        asked: Whether the backup has counts and searches to compare with.
        aside: Where the data lies that was live before; empty if there was none.
    """

    host: str
    saved_from: str
    points: dict[str, int]
    files: int
    probes: int
    asked: bool
    aside: str = ""


def pairs(opened: Opened, site: Site) -> dict[str, str]:
    """Return which host of the site gets the data of which host of the backup; pure.

    Hosts of the same name get their own; a single one gets that of a single one.

    Raises:
        ConfigError: They do not fit.
    """
    saved, wanted = set(opened.contents.data), set(site.hosts_in(Group.VECTORDB))
    if not saved:  # made with --without-data
        return {}
    if saved == wanted:
        return {name: name for name in sorted(saved)}
    if len(saved) == len(wanted) == 1:
        return {wanted.pop(): saved.pop()}
    raise ConfigError(
        f"the backup has vector data of {', '.join(sorted(saved)) or 'no host'}, the site's hosts "
        f"with vectordb are {', '.join(sorted(wanted))}",
        code=OTHER_SITE,
        hint="name the hosts in site.yaml as they were named",
    )


def restore_data(
    opened: Opened,
    key: RecoveryKey,
    site: Site,
    folder: SiteFolder,
    progress: Progress,
    *,
    replace: bool,
) -> tuple[RestoredData, ...]:
    """Restore the data of every host; return what each has proved.

    Args:
        opened: The backup.
        key: What opens it.
        site: The site as it is now, applied.
        folder: Its folder.
        progress: Told of bytes as they pass.
        replace: Whether live data may be put aside.

    Raises:
        LockedError: A run is under way.
        ConfigError: The backup's hosts and the site's do not fit.
        ApplyError: A host refused the data, or could not prove it; its data before is live.
    """
    found = []
    with exclusive_lock(folder.lock, f"restore of {opened.header.id}"):
        for host, source in pairs(opened, site).items():
            restoring = _Restoring(opened, key, Line(site, folder.root), progress)
            found.append(restoring.restore(host, source, replace=replace))
    return tuple(found)


@dataclass(frozen=True)
class _Restoring:
    opened: Opened
    key: RecoveryKey
    line: Line
    progress: Progress

    def restore(self, host: str, source: str, *, replace: bool) -> RestoredData:
        stamp = self.opened.contents.data[source]
        copy = f"restore-{datetime.now(UTC):%Y%m%dT%H%M%SZ}"
        given = {"id": copy, "stamp": stamp.model_dump(mode="json"), "replace": replace}
        name = data_part(source)
        part = next(each for each in self.opened.header.parts if each.name == name)
        with self.progress.task(f"{host}: vector data", total=part.size) as task:
            pieces = _pieces(lambda sink: unseal(
                self.opened.folder.part(name), part, self.key, sink, task.advance))  # fmt: skip
            hosts.receive(self.line, host, given, pieces)
        self.progress.note(f"{host}: exchanging live and restored data, then asking for proof")
        answer: Mapping[str, object] = hosts.activate(self.line, host, given)
        return RestoredData(
            host=host,
            saved_from=source,
            points=dict(stamp.points),
            files=int(str(answer["files"])),
            probes=int(str(answer["probes"])),
            asked=stamp.asked,
            aside=str(answer.get("aside", "")),
        )


class _Queue:
    """A sink whose bytes another thread takes out in pieces; refuses once nobody takes any."""

    def __init__(self) -> None:
        self.pieces: queue.Queue[bytes | BaseException | None] = queue.Queue(_AHEAD)
        self.closed = threading.Event()
        self._held = bytearray()

    def write(self, data: bytes) -> None:
        self._held += data
        if len(self._held) >= BLOCK:
            self.flush()

    def flush(self) -> None:
        if self._held:
            self.put(bytes(self._held))
            self._held.clear()

    def put(self, item: bytes | BaseException | None) -> None:
        while not self.closed.is_set():
            try:
                self.pieces.put(item, timeout=0.2)
            except queue.Full:
                continue
            return
        raise BrokenPipeError


def _pieces(work: Callable[[_Queue], None]) -> Iterator[bytes]:
    """Yield what ``work`` writes, while it writes it; raise what it raises."""
    sink = _Queue()

    def run() -> None:
        try:
            work(sink)
            sink.flush()
            sink.put(None)
        except BrokenPipeError:
            return
        except BaseException as error:  # noqa: BLE001 - raised again by who takes the pieces
            sink.put(error)

    worker = threading.Thread(target=run, name="unseal", daemon=True)
    worker.start()
    try:
        while (piece := sink.pieces.get()) is not None:
            if isinstance(piece, BaseException):
                raise piece
            yield piece
    finally:
        sink.closed.set()
        worker.join()
