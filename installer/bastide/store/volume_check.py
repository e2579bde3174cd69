"""Checks one volume by itself, whatever has become of the others."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from bastide.errors import Problem
from bastide.layout import VOLUME
from bastide.progress import Progress
from bastide.schema.chunks import CHUNK
from bastide.store.damage import describe_ranges, join_ranges
from bastide.store.opening import incomplete
from bastide.store.payload import ExtentReader
from bastide.store.pieces import Piece
from bastide.store.reading import Checker, GivenUpError, Part
from bastide.store.volume import OpenVolume, open_volume
from bastide.trust.verifier import RootVerifier, Trust

SHOWN = 5  # names of artifacts in one message


@dataclass(frozen=True)
class VolumeCheck:
    """A volume that is whole.

    Args:
        volume: Its name.
        bundle: Digest of the bundle that its set carries.
        release: The bundle's release.
        target: What it was built for.
        trust: What is known about its origin.
        parity: Whether it carries parity.
        bytes_read: Of its payload.
        seconds: How long it took.
    """

    volume: str
    bundle: str
    release: str
    target: str
    trust: Trust
    parity: bool
    bytes_read: int
    seconds: float


def check_volume(folder: Path, *, verifier: RootVerifier, progress: Progress) -> VolumeCheck:
    """Return what the volume in ``folder`` is, after reading every byte of it.

    Data is compared with digests that the bundle's root pins; parity with those in
    ``volume.json``, which are there against damage, not against malice.

    Raises:
        BundleError: It is damaged; every bad range is named. Or it is no volume.
        TrustError: The verifier refuses its root.
    """
    started = time.monotonic()
    opened = open_volume(folder, verifier)
    payload = opened.volume.set.payload(opened.number)
    with progress.task(f"check {opened.name}", total=payload) as task:
        problems = [*opened.problems, *_read(opened, task.advance)]
    if problems:
        raise incomplete(folder, problems)
    root = opened.bundle.verified.root
    return VolumeCheck(
        volume=opened.name,
        bundle=opened.bundle.verified.digest,
        release=root.release,
        target=root.target,
        trust=opened.bundle.verified.trust,
        parity=opened.volume.is_parity,
        bytes_read=payload,
        seconds=time.monotonic() - started,
    )


def data_parts(opened: OpenVolume, pieces: Iterable[Piece]) -> list[Part[Piece]]:
    """Return where a data volume has ``pieces``."""
    base = opened.layout.bases[opened.number - 1]
    return [Part(piece, piece.start - base, piece.size, piece.sha256) for piece in pieces]


def parity_parts(opened: OpenVolume) -> list[Part[None]]:
    """Return the cells of a parity volume."""
    payload = opened.volume.set.payload(opened.number)
    return [
        Part(None, number * CHUNK, min(CHUNK, payload - number * CHUNK), sha256)
        for number, sha256 in enumerate(opened.volume.cells)
    ]


def describe_bad(opened: OpenVolume, bad: Iterable[tuple[int, int]]) -> list[Problem]:
    """Return which bytes of which payload files are wrong, and whose they are.

    Args:
        opened: The volume.
        bad: Ranges of its payload.
    """
    problems = []
    for extent in opened.extents:
        end = extent.start + extent.size
        inside = [
            (max(low, extent.start) - extent.start, min(high, end) - extent.start)
            for low, high in bad
            if low < end and high > extent.start
        ]
        if inside:
            what = f"wrong are the bytes {describe_ranges(join_ranges(inside))}"
            whose = _labels(
                opened, [(low + extent.start, high + extent.start) for low, high in inside]
            )
            problems.append(Problem(extent.path.name, f"{what}: {whose}"))
    return problems


def _labels(opened: OpenVolume, ranges: list[tuple[int, int]]) -> str:
    if opened.volume.is_parity:
        return "parity"
    base = opened.layout.bases[opened.number - 1]
    labels = {blob.sha256: blob.label for blob in opened.bundle.blobs}
    found = {
        labels[piece.blob]: None
        for low, high in ranges
        for piece in opened.layout.stream.within(base + low, base + high)
    }
    names = list(found)[:SHOWN]
    return ", ".join(names) + (f" and {len(found) - SHOWN} more" if len(found) > SHOWN else "")


def _read(opened: OpenVolume, on_read: Callable[[int], None]) -> list[Problem]:
    """Return what is wrong with the bytes that the volume's files have."""
    parts = _parts(opened)
    checker: Checker[None] = Checker(None, on_read)
    reached = 0
    with checker, ExtentReader(opened.extents) as reader:
        try:
            checker.run((part for part in parts if opened.has(part.start, part.size)), reader)
        except GivenUpError as given_up:
            reached = checker.bad[-1].part.start
            why = given_up.error.strerror or given_up.error
            return [Problem(VOLUME, f"cannot be read from byte {reached} of its data on: {why}")]
    unreadable = [bad for bad in checker.bad if bad.unreadable]
    problems = describe_bad(opened, [bad.part.range for bad in checker.bad if not bad.unreadable])
    for bad in sorted(unreadable, key=lambda each: each.part.start):
        problems += [
            Problem(problem.where, f"{problem.what}; {bad.why}")
            for problem in describe_bad(opened, [bad.part.range])
        ]
    return problems


def _parts(opened: OpenVolume) -> list[Part[None]]:
    if opened.volume.is_parity:
        return parity_parts(opened)
    pieces = opened.layout.pieces(opened.number)
    return [Part(None, each.start, each.size, each.sha256) for each in data_parts(opened, pieces)]
