"""The volumes that an import was given so far, what was wrong with them, and what made it good."""

from __future__ import annotations

import threading
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from bastide.errors import BastideError, BundleError, Problem
from bastide.layout import volume_name
from bastide.store.pieces import Piece
from bastide.store.results import Repair
from bastide.store.tree import NOT_A_BUNDLE
from bastide.store.volume import NOT_A_VOLUME, OpenVolume, open_volume
from bastide.store.volume_check import describe_bad
from bastide.trust.verifier import RootVerifier

PARITY = "made again from parity"


@dataclass(frozen=True)
class Source:
    """A piece, and the volume that it is read from."""

    volume: OpenVolume
    piece: Piece


@dataclass(frozen=True)
class _Note:
    volume: str
    where: str
    what: str
    how: str


class VolumeCollection:
    """Volumes of one set.

    Args:
        verifier: Decides whether the bundle's root may be believed.
    """

    def __init__(self, verifier: RootVerifier) -> None:
        self._verifier = verifier
        self._lock = threading.Lock()
        self._lead: OpenVolume | None = None
        self._unread: list[OpenVolume] = []
        self._seen: set[int] = set()
        self._notes: dict[_Note, None] = {}
        self._bad: dict[int, list[tuple[Source, str]]] = defaultdict(list)  # by piece's start
        self._how: dict[int, str] = {}
        self._made: list[Piece] = []
        self.parity: dict[int, OpenVolume] = {}

    @property
    def lead(self) -> OpenVolume:
        """The volume whose documents count; all later ones must be of its set."""
        if self._lead is None:
            raise LookupError("no volume was added")
        return self._lead

    def add(self, folders: Sequence[Path]) -> None:
        """Open the volumes in ``folders``; one that cannot be read is noted and left out.

        Raises:
            BundleError: One is of another set, or holds what it should not; or none can be read.
            TrustError: The verifier refuses all of them.
        """
        if self._lead is None:
            self._lead = self._first(folders)
        for folder in folders:
            try:
                opened = open_volume(folder, self._verifier, self._lead)
            except BundleError as error:
                if error.code not in {NOT_A_VOLUME, NOT_A_BUNDLE}:
                    raise
                note = _Note(folder.name, "all of it", str(error), "it was not used")
                self._notes[note] = None
                continue
            for problem in opened.problems:
                if not any(problem.where == extent.path.name for extent in opened.extents):
                    note = _Note(opened.name, problem.where, problem.what, "from other volumes")
                    self._notes[note] = None
            self._seen.add(opened.number)
            if opened.volume.is_parity:
                self.parity[opened.number] = opened
            else:
                self._unread.append(opened)

    def batches(self) -> Iterator[list[OpenVolume]]:
        """Return the data volumes that were not read yet; copies of one in different batches."""
        while self._unread:
            batch = {each.number: each for each in reversed(self._unread)}
            self._unread = [each for each in self._unread if each is not batch[each.number]]
            yield [batch[number] for number in sorted(batch)]

    def note(self, opened: OpenVolume, what: str) -> None:
        """Remember something that was wrong with a whole volume."""
        how = "from a later reading, another copy or parity"
        self._notes[_Note(opened.name, "all of it", what, how)] = None

    def failed(self, source: Source, why: str) -> None:
        """Remember a piece that a volume did not yield."""
        self._bad[source.piece.start].append((source, why))

    def came(self, source: Source) -> None:
        """Remember a piece that came, maybe after another copy had failed."""
        with self._lock:
            if source.piece.start in self._bad:
                self._how[source.piece.start] = f"taken from the copy at {source.volume.folder}"

    def made(self, pieces: Sequence[Piece]) -> None:
        """Remember pieces that parity yielded."""
        self._made += pieces
        self._how |= {piece.start: PARITY for piece in pieces}

    def repairs(self) -> tuple[Repair, ...]:
        """Return what was wrong with volumes and how it was made good."""
        found = [Repair(n.volume, n.where, n.what, n.how) for n in self._notes]
        found += [
            Repair(volume_name(number, self.lead.volume.set.total), "all of it", "was not given",
                   PARITY)
            for number in sorted({self.lead.layout.volume_of(piece) for piece in self._made})
            if number not in self._seen
        ]  # fmt: skip
        for (opened, why, how), ranges in self._groups():
            for problem in describe_bad(opened, ranges):
                found.append(Repair(opened.name, problem.where, f"{problem.what} ({why})", how))
        return tuple(found)

    def problems(self) -> tuple[Problem, ...]:
        """Return what was wrong with volumes and is not made good."""
        found = [Problem(f"{n.volume}/{n.where}", n.what) for n in self._notes]
        for (opened, why, how), ranges in self._groups():
            if not how:
                for problem in describe_bad(opened, ranges):
                    where = f"{opened.name}/{problem.where}"
                    found.append(Problem(where, f"{problem.what} ({why})"))
        return tuple(found)

    def _groups(self) -> list[tuple[tuple[OpenVolume, str, str], list[tuple[int, int]]]]:
        """Return bad ranges of payloads, by volume, reason and remedy."""
        groups: dict[tuple[int, str, str], list[tuple[int, int]]] = defaultdict(list)
        volumes: dict[int, OpenVolume] = {}
        for start, failures in sorted(self._bad.items()):
            for source, why in failures:
                volumes[id(source.volume)] = source.volume
                base = source.volume.layout.bases[source.volume.number - 1]
                key = (id(source.volume), why, self._how.get(start, ""))
                groups[key].append((start - base, start - base + source.piece.size))
        return [((volumes[i], why, how), ranges) for (i, why, how), ranges in groups.items()]

    def _first(self, folders: Sequence[Path]) -> OpenVolume:
        first: BastideError | None = None
        for folder in folders:
            try:
                return open_volume(folder, self._verifier)
            except BastideError as error:
                first = first or error
        if first is None:
            raise BundleError("no volume was named", code=NOT_A_VOLUME, hint="name a folder")
        raise first
