"""Brings a bundle into the store from its volumes: in any order, all at once or one by one.

Every piece is checked by a digest that the bundle's root pins. What a volume cannot yield is taken
from another copy of it, or made again from parity.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from bastide.errors import BundleError
from bastide.layout import volume_name
from bastide.progress import Progress, Task
from bastide.store.collection import Source, VolumeCollection
from bastide.store.gathering import Gathering
from bastide.store.importer import (
    ImportOptions,
    finish_import,
    present_blobs,
    store_errors,
    sync_folders,
)
from bastide.store.local import Store
from bastide.store.payload import ExtentReader
from bastide.store.pieces import Piece
from bastide.store.reading import Checker, GivenUpError, Part
from bastide.store.repair import Repairer
from bastide.store.results import Ask, ImportResult, Wanted, kind_totals
from bastide.store.shelf import ParitySource, Shelf, wanted_cells
from bastide.store.space import require_space
from bastide.store.volume import OpenVolume
from bastide.store.volume_check import data_parts
from bastide.trust.verifier import RootVerifier

WANTED = "BAS-3120"
DEFAULTS = ImportOptions()


def import_volumes(
    folders: Sequence[Path],
    store: Store,
    *,
    verifier: RootVerifier,
    progress: Progress,
    now: datetime,
    options: ImportOptions = DEFAULTS,
) -> ImportResult:
    """Copy a bundle into the store from the volumes in ``folders``, and from those asked for.

    Args:
        folders: Volumes of one set, in any order; several copies of one among them if need be.
        store: Where it goes. What one run brings in, a later one need not read again.
        verifier: Decides whether the bundle's root may be believed.
        progress: Told of every byte read.
        now: The time to record.
        options: What to do beyond the usual, and whom to ask for further volumes.

    Raises:
        BundleError: Volumes are still wanted (BAS-3120; what came in is kept), or one holds what
            it should not, or is of another set; there is no space, or the store cannot be written.
        TrustError: The verifier or the licence policy refuses the bundle.
        LockedError: Another process writes to the store.
    """
    started = time.monotonic()
    volumes = VolumeCollection(verifier)
    volumes.add(folders)
    lead = volumes.lead
    options.require_licences(lead.bundle.manifest)
    with store.lock(f"import of {lead.folder}"), store_errors(store):
        here = present_blobs(lead.bundle, store, progress, recheck=options.recheck)
        present = frozenset(blob.sha256 for blob in here)
        gathering = Gathering(store, lead.bundle, lead.layout.stream, present)
        shelf = Shelf(store, lead.volume.set)
        gathering.prepare(keep=shelf.owns)
        missing = [(blob.sha256, blob.size) for blob in gathering.missing_blobs]
        require_space(store, missing, map(len, lead.bundle.documents.values()))
        continued = _resume(gathering, progress)
        _gather(Desk(gathering, volumes, shelf, progress), options.ask)
        sync_folders(store, lead.bundle.blobs)
        shelf.clear()
        finish_import(lead.bundle, store, now, options)
    return ImportResult(
        bundle=lead.bundle.verified.digest,
        release=lead.bundle.manifest.release,
        target=lead.bundle.manifest.target,
        trust=lead.bundle.verified.trust,
        kinds=kind_totals(lead.bundle.manifest),
        bytes_copied=sum(size for _, size in missing) - continued,
        bytes_continued=continued,
        bytes_present=sum(blob.size for blob in here),
        seconds=time.monotonic() - started,
        store=store.root,
        repairs=volumes.repairs(),
    )


def _resume(gathering: Gathering, progress: Progress) -> int:
    left = gathering.left_over()
    if not left:
        return 0
    with progress.task("check what an earlier import left", total=left) as task:
        return gathering.resume(task.advance)


@dataclass(frozen=True)
class Desk:
    """What an import works with."""

    gathering: Gathering
    volumes: VolumeCollection
    shelf: Shelf
    progress: Progress

    def parity(self) -> list[ParitySource]:
        """Return the parity at hand: what the store keeps, and what the media have."""
        live = self.volumes.parity.values()
        return [*self.shelf.sources(), *(ParitySource(v.volume, v.extents) for v in live)]


def _gather(desk: Desk, ask: Ask) -> None:
    """Read, repair and ask until nothing is lacking."""
    gathering, volumes = desk.gathering, desk.volumes
    while True:
        with desk.progress.task("import", total=_size(gathering.lacking)) as task:
            for batch in volumes.batches():
                _read(gathering, volumes, batch, task)
        if gathering.lacking and (parity := desk.parity()):
            _repair(desk, parity)
        if not gathering.lacking:
            return
        _keep_parity(desk)
        wanted = _wanted(desk)
        more = ask(wanted)
        if not more:
            raise _still_wanted(wanted)
        volumes.add(more)


def _keep_parity(desk: Desk) -> None:
    """Keep what the parity media at hand have for later: they may be gone then."""
    if desk.volumes.lead.volume.set.parity < 2:
        return  # the one parity volume is at hand when it is what completes the import
    cells = wanted_cells(desk.volumes.lead.layout, desk.gathering.lacking)
    for opened in desk.volumes.parity.values():
        desk.shelf.keep(opened, cells, desk.progress)


def _read(
    gathering: Gathering, volumes: VolumeCollection, batch: list[OpenVolume], task: Task
) -> None:
    """Read from each volume of ``batch``, all different ones, what is lacking."""

    def keep(what: Source, content: memoryview) -> None:
        gathering.keep(what.piece, content)
        volumes.came(what)

    checker: Checker[Source] = Checker(keep, task.advance)
    with checker:
        for opened in batch:
            task.describe(opened.name)
            with ExtentReader(opened.extents) as reader:
                try:
                    checker.run(_parts(gathering, volumes, opened), reader)
                except GivenUpError as given_up:
                    why = given_up.error.strerror or given_up.error
                    volumes.note(opened, f"its medium at {opened.folder} was given up: {why}")
    for bad in checker.bad:
        volumes.failed(bad.part.what, bad.why)


def _parts(
    gathering: Gathering, volumes: VolumeCollection, opened: OpenVolume
) -> Iterator[Part[Source]]:
    lacking = (each for each in opened.layout.pieces(opened.number) if gathering.lacks(each))
    for part in data_parts(opened, lacking):
        source = Source(opened, part.what)
        if opened.has(part.start, part.size):
            yield Part(source, part.start, part.size, part.sha256)
        else:
            volumes.failed(source, "is not in the file: it is missing or too short")


def _repair(desk: Desk, parity: list[ParitySource]) -> None:
    layout = desk.volumes.lead.layout
    with (
        desk.progress.task("repair", total=_size(desk.gathering.lacking)) as task,
        Repairer(desk.gathering, layout, parity) as repairer,
    ):
        desk.volumes.made(repairer.run(task.advance))


def _size(pieces: Sequence[Piece]) -> int:
    return sum(piece.size for piece in pieces)


def _wanted(desk: Desk) -> Wanted:
    gathering, volumes, lead = desk.gathering, desk.volumes, desk.volumes.lead
    total = lead.volume.set.total
    numbers = sorted({lead.layout.volume_of(piece) for piece in gathering.lacking})
    seen = {source.volume.number for source in desk.parity()}
    parity = set(range(lead.volume.set.data + 1, total + 1)) - seen
    return Wanted(
        set=lead.volume.set.digest(),
        volumes=tuple(volume_name(number, total) for number in numbers),
        parity=tuple(volume_name(number, total) for number in sorted(parity)),
        size=_size(gathering.lacking),
        problems=volumes.problems(),
    )


def _still_wanted(wanted: Wanted) -> BundleError:
    names = ", ".join(wanted.volumes)
    instead = f"; instead of any of them also {', '.join(wanted.parity)}" if wanted.parity else ""
    return BundleError(
        f"the import is not complete: {wanted.size} bytes are lacking. Wanted: {names}{instead}",
        code=WANTED,
        hint="run the command again with these volumes, or with good copies of damaged ones; what "
        "came in is kept",
        problems=wanted.problems,
    )
