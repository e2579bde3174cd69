"""Reads the control file of a .deb and compares it with the artifact; never unpacks its data.

Format: deb(5), an ``ar`` archive of ``debian-binary``, ``control.tar.*`` and ``data.tar.*``.
"""

from __future__ import annotations

import io
import lzma
import tarfile
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from bastide.errors import Problem
from bastide.schema.artifact import Artifact
from bastide.schema.target import Target
from bastide.sources.checks.findings import DEB, finding
from bastide.sources.debian import parse_stanzas

AR = b"!<arch>\n"
MAX_CONTROL = 16 << 20  # bytes of control.tar, packed and unpacked; real ones have some 100 kB
LZMA_MEMORY = 80 << 20
_BROKEN = (
    tarfile.TarError, lzma.LZMAError, zlib.error, EOFError, ValueError, OverflowError, KeyError,
)  # fmt: skip


class DebError(ValueError):
    """The file is not a .deb that can be understood; says why."""


@dataclass(frozen=True)
class Member:
    """A member of an ``ar`` archive: its name, and its place in the file."""

    name: str
    offset: int
    size: int


def members(stream: BinaryIO, size: int) -> Iterator[Member]:
    """Yield the members of the ``ar`` archive in ``stream``, which has ``size`` bytes.

    Raises:
        DebError: It is none, or a member reaches beyond its end.
    """
    if stream.read(8) != AR:
        raise DebError("it does not begin like a .deb")
    position = 8
    while position < size:
        stream.seek(position)
        header = stream.read(60)
        digits = header[48:58].strip()
        if len(header) != 60 or header[58:] != b"`\n" or not digits.isdigit():
            raise DebError(f"its list of members is damaged at byte {position}")
        member = Member(
            header[:16].decode("ascii", errors="replace").rstrip(" /"), position + 60, int(digits)
        )
        if member.offset + member.size > size:
            raise DebError(f"its member {member.name!r} reaches beyond its end")
        yield member
        position = member.offset + member.size + member.size % 2


def read_control(path: Path) -> Mapping[str, str]:
    """Return the fields of the control file of the .deb at ``path``.

    Raises:
        DebError: It is no .deb, or its control file cannot be understood.
        OSError: It cannot be read.
    """
    size = path.stat().st_size
    with path.open("rb") as stream:
        found = {member.name: member for member in members(stream, size)}
        control = next((found[name] for name in found if name.startswith("control.tar")), None)
        if control is None or "debian-binary" not in found:
            raise DebError("it lacks debian-binary or control.tar")
        if control.size > MAX_CONTROL:
            raise DebError(f"its control.tar has {control.size} bytes")
        stream.seek(control.offset)
        packed = stream.read(control.size)
    try:
        return _control(_unpacked(control.name, packed))
    except _BROKEN as error:
        raise DebError(f"its control.tar cannot be read: {error}") from error


def _unpacked(name: str, packed: bytes) -> bytes:
    match name.removeprefix("control.tar"):
        case ".xz":
            plain = lzma.LZMADecompressor(memlimit=LZMA_MEMORY).decompress(packed, MAX_CONTROL)
        case ".gz":
            plain = zlib.decompressobj(wbits=31).decompress(packed, MAX_CONTROL)
        case "":
            plain = packed
        case other:
            raise DebError(f"its control.tar is packed as {other!r}, which Debian does not use")
    if len(plain) >= MAX_CONTROL:
        raise DebError(f"its control.tar unpacks to more than {MAX_CONTROL} bytes")
    return plain


def _control(tar: bytes) -> Mapping[str, str]:
    with tarfile.open(fileobj=io.BytesIO(tar), mode="r:") as archive:
        for entry in archive:
            if entry.name.removeprefix("./") == "control" and entry.isreg():
                stream = archive.extractfile(entry)
                text = stream.read(MAX_CONTROL).decode() if stream else ""
                for stanza in parse_stanzas(text):
                    return stanza
    raise DebError("it has no control file with a package's name and version")


def check_deb(
    path: Path, artifact: Artifact, target: Target
) -> tuple[list[Problem], Mapping[str, str]]:
    """Return where a .deb is not what ``artifact`` says, and its control file for the closure.

    Args:
        path: The .deb.
        artifact: What it should be.
        target: What it should be for.

    Raises:
        OSError: It cannot be read.
    """
    try:
        control = read_control(path)
    except DebError as error:
        return [finding(artifact, DEB, f"not a usable .deb: {error}")], {}
    problems = [
        finding(artifact, DEB, f"{what}: the manifest says {said!r}, its control file {found!r}")
        for what, said, found in (
            ("package", artifact.name, control.get("Package", "")),
            ("version", artifact.version, control.get("Version", "")),
        )
        if said != found
    ]
    architecture = control.get("Architecture", "")
    if architecture not in (target.os_architecture, "all"):
        what = f"it is for {architecture!r}, the target is {target.os_architecture!r}"
        problems.append(finding(artifact, DEB, what))
    return problems, control


@contextmanager
def data_archive(path: Path) -> Iterator[tarfile.TarFile]:
    """Open the files of a .deb as a stream of tar entries, read once from front to end.

    Raises:
        DebError: It is no .deb with data in a form that Debian uses.
        OSError: It cannot be read.
    """
    with path.open("rb") as stream:
        found = list(members(stream, path.stat().st_size))
        data = next((member for member in found if member.name.startswith("data.tar")), None)
        modes = {"data.tar.xz": "r|xz", "data.tar.gz": "r|gz", "data.tar": "r|"}
        if data is None or data.name not in modes:
            raise DebError(f"its files are in {data.name if data else 'no member'}")
        stream.seek(data.offset)
        with tarfile.open(fileobj=stream, mode=modes[data.name]) as archive:  # type: ignore[call-overload]
            yield archive
