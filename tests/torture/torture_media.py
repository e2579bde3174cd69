"""Signed media in small, in the real format: a bundle, volumes of it, and the bundle before it."""

from __future__ import annotations

import io
import itertools
import os
import random
import shutil
import warnings
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torture_paths  # noqa: F401 - before the next but one
from torture_bundles import NOW, Made, make_bundle
from trust_factories import Repo

from bastide import resources
from bastide.bundle.split import _write as write_volumes
from bastide.progress import SilentProgress
from bastide.schema.chunks import CHUNK
from bastide.schema.volume import VolumeSet
from bastide.sources.wheelfile import WheelName, write_wheel
from bastide.store.opening import open_bundle
from bastide.store.pieces import Layout, make_stream
from bastide.trust.client import TufVerifier
from bastide.trust.verifier import DigestOnly

WHEEL = WheelName("tool", "1.0", "py3-none-any")
TARGET = "debian12-x86_64.yaml"


@dataclass(frozen=True)
class Medium:
    """Something that can be imported.

    Args:
        name: Of the kind of medium.
        folder: Where it lies; never changed.
        made: The bundle that it carries.
        parity: Whether parity can mend it.
    """

    name: str
    folder: Path
    made: Made
    parity: bool = False


class Publisher:
    """Signs media, and knows what a site that pinned its root believes."""

    def __init__(self) -> None:
        self._repo = Repo()

    def sign(self, folder: Path, version: int = 1) -> None:
        """Put signatures into a bundle's folder."""
        content = (folder / "bundle.json").read_bytes()
        for path, signed in self._repo.medium(content, version=version, signed=NOW).items():
            (folder / path).parent.mkdir(exist_ok=True)
            (folder / path).write_bytes(signed)

    def verifier(self) -> TufVerifier:
        """Return the verifier of a site that has imported nothing yet."""
        return TufVerifier(self._repo.site(), NOW)


def wheel(place: Path, extra: Mapping[str, bytes] | None = None) -> bytes:
    """Return a wheel that its check lets in."""
    path = place / WHEEL.filename
    metadata = b"Metadata-Version: 2.1\nName: tool\nVersion: 1.0\n"
    write_wheel(path, WHEEL, {"tool/__init__.py": b"", **(extra or {})}, metadata=metadata)
    content = path.read_bytes()
    path.unlink()
    return content


def files_of(place: Path, seed: int, large: int = 0) -> dict[str, bytes]:
    """Return a bundle's files: small ones, and one of ``large`` bytes if that is not 0."""
    source = random.Random(seed)  # noqa: S311
    found = {f"note{number}.txt": source.randbytes(300 + 200 * number) for number in range(6)}
    found["empty.bin"] = b""
    found["target.yaml"] = (resources.catalogue() / "targets" / TARGET).read_bytes()
    found[WHEEL.filename] = wheel(place, {"tool/data.txt": source.randbytes(200)})
    if large:
        found["weights.dat"] = source.randbytes(large)
    return found


def cut_into(made: Made, out: Path, data: int, parity: int) -> None:
    """Write volumes that are smaller than the command makes them, so that many can be tried."""
    bundle = open_bundle(made.folder, DigestOnly())
    stream = make_stream(bundle.blobs, bundle.chunks)
    ends = [piece.end for piece in stream.pieces]
    cuts = [0, *(ends[len(ends) * n // data - 1] for n in range(1, data + 1))]
    payloads = tuple(high - low for low, high in itertools.pairwise(cuts))
    wanted = VolumeSet(bundle=made.digest, payloads=payloads, parity=parity)
    out.mkdir()
    write_volumes(out, bundle, Layout(wanted, stream), SilentProgress())


def make_media(place: Path, publisher: Publisher, seed: int) -> tuple[list[Medium], Path]:
    """Write all media; return them, and a folder of genuine files to replay from."""
    old = make_bundle(place / "old", files_of(place, seed + 1), release="starter-2026.10.0")
    publisher.sign(old.folder)
    cut_into(old, place / "old-volumes", 3, 1)
    found = []
    for name, large in (("small", 0), ("large", CHUNK + 777)):
        made = make_bundle(place / name, files_of(place, seed, large))
        publisher.sign(made.folder, version=2)
        found.append(Medium(f"bundle, {name}", made.folder, made))
        for parity in (0, 1):
            out = place / f"{name}-volumes-{parity}"
            cut_into(made, out, 3, parity)
            label = "volumes with parity" if parity else "volumes"
            found.append(Medium(f"{label}, {name}", out, made, parity=bool(parity)))
    replays = place / "replays"
    shutil.copytree(place / "old", replays / "bundle")
    shutil.copytree(place / "old-volumes", replays / "volumes")
    return found, replays


def clone(source: Path, out: Path) -> None:
    """Copy a tree by hard links: whoever changes a file of it must write it anew."""
    shutil.copytree(source, out, copy_function=os.link)


def bomb(place: Path, chance: random.Random) -> tuple[str, bytes]:
    """Return a wheel that lies about itself or is a bomb, and what is wrong with it."""
    good = wheel(place)
    kinds = ("ratio", "many", "size", "name", "twice", "cut")
    kind = chance.choice(kinds)
    if kind == "cut":
        return kind, good[: chance.randrange(len(good) - 30)]
    buffer = io.BytesIO(good)
    with (
        warnings.catch_warnings(action="ignore"),  # of the name that is there twice
        zipfile.ZipFile(buffer, "a", zipfile.ZIP_DEFLATED) as archive,
    ):
        if kind == "ratio":
            archive.writestr("tool/zeros.so", bytes(chance.randrange(2**20, 2**23)))
        elif kind == "many":
            for number in range(chance.randrange(200, 900)):
                archive.writestr(f"tool/{number}", b"")
        elif kind == "name":
            tricks = ("../evil", "/etc/evil", "tool/../../evil", "C:\\evil", "tool\\..\\evil")
            archive.writestr(chance.choice(tricks), b"evil")
        elif kind == "twice":
            archive.writestr(f"{WHEEL.dist_info}/METADATA", b"Name: evil\nVersion: 1.0\n")
        else:
            archive.writestr("tool/x.so", bytes(chance.randrange(100, 9999)))
    content = bytearray(buffer.getvalue())
    if kind == "size":
        # The central directory's size of the last member, said to be huge.
        place_of = content.rfind(b"PK\x01\x02")
        content[place_of + 24 : place_of + 28] = chance.randrange(2**30, 2**32 - 2).to_bytes(
            4, "little"
        )
    return kind, bytes(content)
