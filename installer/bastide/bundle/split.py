"""Cuts a bundle into volumes: one folder for each medium, with parity if it is wanted.

No keys are needed: every volume carries the signed documents, and its data is compared with the
digests that they pin. Equal bundles and wishes give equal volumes.
"""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from pathlib import Path

from bastide.bundle.cutting import cut
from bastide.bundle.lanes import write_payloads
from bastide.bundle.media import Media, ParityWish
from bastide.errors import BundleError
from bastide.host.files import fsync_directory
from bastide.layout import VOLUME, volume_name
from bastide.progress import Progress
from bastide.schema.chunks import CHUNK
from bastide.schema.volume import Volume, VolumeSet
from bastide.sources.scratch import scratch
from bastide.store.delta import require_full
from bastide.store.opening import OpenBundle, open_bundle
from bastide.store.pieces import Layout, make_stream
from bastide.trust.verifier import DigestOnly

NO_CHUNKS = "BAS-3050"
NO_ROOM = "BAS-3052"
TAKEN = "BAS-3053"
VOLUME_JSON = 4096  # bytes; more than a volume.json has, without payloads and cells
DIGEST_JSON = 67  # bytes of one digest in it
PAYLOAD_JSON = 21  # bytes of one payload in it, at most
PAYLOADS = 9999  # of which it has at most so many
BLOCK = 4096  # bytes by which files are rounded up on the media


@dataclass(frozen=True)
class SplitVolume:
    """One volume that was written.

    Args:
        number: From 1.
        name: Its folder.
        parity: Whether it carries parity.
        size: Bytes of all its files.
        digest: SHA-256 of its ``volume.json``.
    """

    number: int
    name: str
    parity: bool
    size: int
    digest: str


@dataclass(frozen=True)
class SplitResult:
    """A bundle as volumes.

    Args:
        out: The folder that holds the volumes' folders.
        bundle: The bundle's digest.
        release: Its release.
        target: What it was built for.
        set: Digest of what the volumes have in common.
        media: What they were made for, as it was said.
        data: How many data volumes there are.
        parity: How many parity volumes: so many whole volumes may be lost.
        volumes: All of them, in order.
    """

    out: Path
    bundle: str
    release: str
    target: str
    set: str
    media: str
    data: int
    parity: int
    volumes: tuple[SplitVolume, ...]

    @property
    def size(self) -> int:
        """Bytes of all volumes together."""
        return sum(volume.size for volume in self.volumes)


def split_bundle(
    bundle_dir: Path, out: Path, media: Media, parity: ParityWish, progress: Progress
) -> SplitResult:
    """Write the volumes of a bundle into the folder ``out``, which appears as a whole.

    Args:
        bundle_dir: The bundle; only read. Its digests are checked on the way.
        out: The folder to make.
        media: What the volumes are for.
        parity: How much parity to add.
        progress: Told of every byte.

    Raises:
        BundleError: The bundle is damaged or too old, or does not fit; there is no room for the
            volumes; ``out`` is there already.
    """
    bundle = open_bundle(bundle_dir, DigestOnly())
    require_full(bundle, "`bundle split`")
    _require_chunks(bundle)
    stream = make_stream(bundle.blobs, bundle.chunks)
    beside = sum(map(_rounded, map(len, _documents(bundle).values())))
    wanted = cut(stream, bundle.verified.digest, media, parity, lambda n: beside + _own_size(n))
    layout = Layout(wanted, stream)
    _require_free(out, beside, wanted)
    try:
        with scratch(out.parent, f".{out.name}.partial-") as temporary:
            volumes = _write(temporary, bundle, layout, progress)
            temporary.chmod(0o755)
            temporary.rename(out)
        fsync_directory(out.parent)
    except OSError as error:
        raise _cannot_write(out, str(error.strerror or error)) from error
    return _result(out, bundle, media, wanted, volumes)


def describe(volume: Volume, size: int) -> SplitVolume:
    """Return what a sheet or a result says of a volume of ``size`` bytes."""
    name = volume_name(volume.number, volume.set.total)
    return SplitVolume(volume.number, name, volume.is_parity, size, volume.digest())


def _result(
    out: Path, bundle: OpenBundle, media: Media, wanted: VolumeSet, volumes: list[SplitVolume]
) -> SplitResult:
    return SplitResult(
        out=out,
        bundle=bundle.verified.digest,
        release=bundle.manifest.release,
        target=bundle.manifest.target,
        set=wanted.digest(),
        media=media.label,
        data=wanted.data,
        parity=wanted.parity,
        volumes=tuple(volumes),
    )


def _documents(bundle: OpenBundle) -> dict[str, bytes]:
    """Return everything that every volume carries: documents and signatures."""
    signatures = {path: (bundle.folder / path).read_bytes() for path in bundle.verified.files}
    return {**bundle.documents, **signatures}


def _write(
    folder: Path, bundle: OpenBundle, layout: Layout, progress: Progress
) -> list[SplitVolume]:
    folders = [
        folder / volume_name(number, layout.set.total) for number in range(1, layout.set.total + 1)
    ]
    for each in folders:
        each.mkdir()
    cells = write_payloads(bundle, layout, folders, progress)
    documents = _documents(bundle)
    written = []
    for number, each in enumerate(folders, start=1):
        volume = Volume(set=layout.set, number=number, cells=cells.get(number, ()))
        files = {**documents, VOLUME: volume.canonical()}
        for path, content in files.items():
            _write_file(each / path, content)
        for inner, _, _ in os.walk(each):
            fsync_directory(Path(inner))
        size = layout.set.payload(number) + sum(map(len, files.values()))
        written.append(describe(volume, size))
    return written


def _write_file(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("xb") as stream:
        stream.write(content)
        stream.flush()
        os.fsync(stream.fileno())


def _own_size(payload: int) -> int:
    """Return more bytes than the ``volume.json`` of a volume of ``payload`` bytes has."""
    cells = -(-payload // CHUNK)
    return VOLUME_JSON + cells * DIGEST_JSON + min(cells, PAYLOADS) * PAYLOAD_JSON


def _rounded(size: int) -> int:
    return -(-size // BLOCK) * BLOCK


def _require_chunks(bundle: OpenBundle) -> None:
    large = [blob for blob in bundle.blobs if blob.size > CHUNK]
    if any(blob.sha256 not in bundle.chunks for blob in large):
        raise BundleError(
            f"the bundle at {bundle.folder} has no chunks.json, so its parts could not be checked",
            code=NO_CHUNKS,
            hint="build it again with this version of Bastide",
        )


def _require_free(out: Path, beside: int, wanted: VolumeSet) -> None:
    if out.exists():
        if not out.is_dir() or any(out.iterdir()):
            raise BundleError(
                f"{out} is there already", code=TAKEN, hint="choose another folder, or remove it"
            )
        out.rmdir()
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        free = shutil.disk_usage(out.parent).free
    except OSError as error:
        raise _cannot_write(out, str(error.strerror or error)) from error
    numbers = range(1, wanted.total + 1)
    need = sum(wanted.payload(n) + beside + _own_size(wanted.payload(n)) for n in numbers)
    if need > free:
        raise _cannot_write(out, f"{need} bytes are needed, {free} are free; nothing was written")


def _cannot_write(out: Path, why: str) -> BundleError:
    return BundleError(
        f"the volumes cannot be written to {out}: {why}",
        code=NO_ROOM,
        hint="make room or choose another folder, and run the command again",
    )
