"""Opens a volume: its documents, its place in its set, and the files that it must have."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

from pydantic import ValidationError

from bastide.errors import BundleError, Problem
from bastide.layout import VOLUME, volume_name
from bastide.schema.chunks import CHUNK
from bastide.schema.volume import Volume
from bastide.store.damage import Ranges
from bastide.store.opening import OpenBundle, incomplete, open_documents, read_document
from bastide.store.payload import Extent, volume_extents
from bastide.store.pieces import Layout, make_stream
from bastide.store.tree import Tree, scan
from bastide.trust.text import printable
from bastide.trust.verifier import RootVerifier, field_problems

NOT_A_VOLUME = "BAS-3121"
ANOTHER_SET = "BAS-3122"


@dataclass(frozen=True)
class OpenVolume:
    """A volume whose documents were verified, or stand verified in another volume of its set.

    Args:
        folder: Where it lies.
        bundle: What its set carries.
        volume: Its ``volume.json``.
        layout: Of its set.
        common: What all volumes of the set have: documents and signatures, by path.
        problems: What is visibly wrong with it, though it can be used in part.
        missing: Ranges of its payload that its files do not have.
    """

    folder: Path
    bundle: OpenBundle
    volume: Volume
    layout: Layout
    common: dict[str, bytes]
    problems: tuple[Problem, ...] = ()
    missing: Ranges = ()

    def has(self, start: int, size: int) -> bool:
        """Return whether its files are long enough to hold a range of its payload."""
        return all(start + size <= low or high <= start for low, high in self.missing)

    @property
    def number(self) -> int:
        """Its number in the set."""
        return self.volume.number

    @property
    def name(self) -> str:
        """What it is called, whatever its folder is called now."""
        return volume_name(self.number, self.volume.set.total)

    @property
    def extents(self) -> list[Extent]:
        """Its payload files."""
        return volume_extents(self.folder, self.volume.set.payload(self.number))


def is_volume(folder: Path) -> bool:
    """Return whether ``folder`` looks like a volume."""
    return (folder / VOLUME).is_file()


def find_volumes(paths: Iterable[Path]) -> tuple[Path, ...]:
    """Return the volumes' folders among ``paths`` and directly below them; empty for a bundle.

    Raises:
        BundleError: A medium holds a link in the place of a volume.
    """
    found: list[Path] = []
    for path in paths:
        if is_volume(path) or _is_named_so(path.resolve().name):
            found.append(path)
            continue
        try:
            inner = sorted(each for each in path.iterdir() if each.is_dir())
        except OSError:
            inner = []
        volumes = [each for each in inner if is_volume(each) or _is_named_so(each.name)]
        links = [each for each in volumes if each.is_symlink()]
        if links:
            what = "is a symbolic link; a volume is a folder of plain files"
            raise incomplete(path, [Problem(printable(each.name), what) for each in links])
        found += volumes
    return tuple(found)


def open_volume(folder: Path, verifier: RootVerifier, lead: OpenVolume | None = None) -> OpenVolume:
    """Return the volume in ``folder``.

    Args:
        folder: The volume's own folder.
        verifier: Decides whether its root may be believed; not asked if there is a ``lead``.
        lead: A volume of the wanted set that was opened before: its documents are believed, and
            this volume's own are only compared with them.

    Raises:
        BundleError: It is no volume, is of another set than ``lead``, or holds more than it should.
        TrustError: The verifier refuses its root.
    """
    tree = scan(folder)
    volume, problems = _read_volume(tree, lead)
    if lead and volume.set != lead.volume.set:
        raise _another_set(folder, volume, lead)
    if lead is None:
        bundle = open_documents(tree, verifier)
        if volume.set.bundle != bundle.verified.digest:
            raise _unreadable(folder, "is of another bundle than the documents beside it")
        names = (*bundle.documents, *bundle.verified.files)
        common = {name: read_document(tree, name) or b"" for name in names}
    else:
        bundle, common = lead.bundle, lead.common
        problems += tuple(
            Problem(name, f"is missing or differs; that of {lead.name} was used")
            for name, content in common.items()
            if read_document(tree, name) != content
        )
    layout = lead.layout if lead else _layout(folder, volume, bundle)
    opened = OpenVolume(folder, bundle, volume, layout, common)
    _refuse_surplus(tree, opened)
    lacking = _missing(tree, opened)
    return replace(
        opened,
        problems=(*problems, *(problem for problem, _ in lacking)),
        missing=tuple(range_ for _, range_ in lacking),
    )


def _read_volume(tree: Tree, lead: OpenVolume | None) -> tuple[Volume, tuple[Problem, ...]]:
    """Return ``volume.json``; if it is damaged and the folder's name says which it is, that."""
    try:
        return parse_volume(tree.folder, read_document(tree, VOLUME)), ()
    except BundleError:
        if lead is None:
            raise
        total = lead.volume.set.total
        for number in range(1, lead.volume.set.data + 1):
            if tree.folder.resolve().name == volume_name(number, total):
                problem = Problem(VOLUME, "is damaged; the folder's name was believed")
                return lead.volume.replace(number=number, cells=()), (problem,)
        raise


def parse_volume(folder: Path, content: bytes | None) -> Volume:
    """Return the volume that ``content`` spells, if it is spelt as the builder does.

    Raises:
        BundleError: It is not.
    """
    if content is None:
        raise _unreadable(folder, "is missing or cannot be read")
    try:
        volume = Volume.model_validate_json(content)
        canonical = volume.canonical()
    except ValidationError as error:
        raise _unreadable(folder, "cannot be understood", field_problems(error)) from error
    except (ValueError, RecursionError) as error:
        raise _unreadable(folder, "cannot be understood") from error
    if canonical != content:
        raise _unreadable(folder, "was changed after it was written")
    cells = -(-volume.set.payload(volume.number) // CHUNK) if volume.is_parity else 0
    if volume.number > volume.set.total or len(volume.cells) != cells:
        raise _unreadable(folder, "contradicts itself")
    return volume


def _layout(folder: Path, volume: Volume, bundle: OpenBundle) -> Layout:
    large = {blob.sha256 for blob in bundle.blobs if blob.size > CHUNK}
    if not large <= set(bundle.chunks):
        raise _unreadable(folder, "belongs to a bundle without chunks.json")
    layout = Layout(volume.set, make_stream(bundle.blobs, bundle.chunks))
    mistakes = layout.mistakes()
    if mistakes:
        raise _unreadable(folder, "; ".join(mistakes))
    return layout


def _refuse_surplus(tree: Tree, opened: OpenVolume) -> None:
    """Refuse files and folders that do not belong there: damage does not add any."""
    payload = {extent.path.name: extent.size for extent in opened.extents}
    expected = {VOLUME, *opened.common, *payload}
    problems = [*tree.problems, *tree.strangers(expected)]
    problems += [
        Problem(name, f"has {found} bytes, expected {size}")
        for name, size in payload.items()
        if (found := tree.files.get(name, 0)) > size
    ]
    if problems:
        raise incomplete(opened.folder, problems)


def _missing(tree: Tree, opened: OpenVolume) -> list[tuple[Problem, tuple[int, int]]]:
    """Return the payload files that are too short, and the ranges of the payload they lack."""
    lacking = []
    for extent in opened.extents:
        found = tree.files.get(extent.path.name)
        if found != extent.size:
            what = "is missing" if found is None else f"has {found} bytes, expected {extent.size}"
            missing = (extent.start + (found or 0), extent.start + extent.size)
            lacking.append((Problem(extent.path.name, what), missing))
    return lacking


def _is_named_so(name: str) -> bool:
    parts = name.split("-")
    return (
        len(parts) == 4
        and parts[0] == "volume"
        and parts[2] == "of"
        and parts[1].isdecimal()
        and parts[3].isdecimal()
    )


def _unreadable(folder: Path, what: str, problems: tuple[Problem, ...] = ()) -> BundleError:
    return BundleError(
        f"{VOLUME} of the volume at {folder} {what}",
        code=NOT_A_VOLUME,
        hint="use another copy of this volume; with parity, import the other volumes without it",
        problems=problems,
    )


def _another_set(folder: Path, volume: Volume, lead: OpenVolume) -> BundleError:
    if volume.set.bundle == lead.volume.set.bundle:
        what = "of the same bundle, but was split in another way"
    else:
        what = f"of the bundle {volume.set.bundle}, not {lead.volume.set.bundle}"
    return BundleError(
        f"the volume at {folder} belongs to another set than {lead.folder}: it is {what}",
        code=ANOTHER_SET,
        hint="give the volumes of one set only; each one's volume.json says to which it belongs",
    )
