"""Checks a wheel: an honest archive, of the artifact's name and version, for the target.

A wheel is unpacked on hosts by uv, so what it could do there is refused here: paths that lead
elsewhere, links, the same path twice, contents far larger than the file. Formats: PKWARE APPNOTE
4.3 and 4.5; "Binary distribution format" and "Recording installed projects" of the Python Packaging
User Guide.
"""

from __future__ import annotations

import csv
import io
import stat
import struct
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from email.parser import BytesParser
from functools import lru_cache
from pathlib import Path
from typing import IO

from packaging.tags import Tag
from packaging.utils import InvalidWheelFilename, canonicalize_name, parse_wheel_filename
from packaging.version import InvalidVersion, Version

from bastide.errors import Problem
from bastide.schema.artifact import Artifact
from bastide.schema.target import Target
from bastide.sources.checks.elf import MACHINE_NAMES, MACHINES, ElfError, ElfFile, read_elf
from bastide.sources.checks.findings import (
    ELF,
    WHEEL_ARCHIVE,
    WHEEL_IDENTITY,
    finding,
    unreadable,
)
from bastide.sources.index import target_tags

MAX_DIRECTORY = 32 << 20  # bytes of central directory: some 300,000 files
MAX_RATIO = 100  # unpacked against packed bytes; deflate's own limit is 1032
MAX_UNPACKED = 8 << 30
MAX_TEXT = 32 << 20  # METADATA, WHEEL and RECORD are read whole
# Libraries up to this size are unpacked into memory, once: patched ones have their tables at their
# end, and going back in a packed file means to unpack it again. Larger ones are read as they are.
MAX_IN_MEMORY = 32 << 20
# To reach the tables of a larger library, megabytes must be unpacked: not where time counts.
QUICK_LIMIT = 8 << 20
OTHER_WHEEL = "pin another version or build of it in the release"

_TAIL = 22 + 65_535  # end of central directory with the longest comment
_BROKEN = (
    zipfile.BadZipFile, NotImplementedError, RuntimeError, ValueError, EOFError, OverflowError,
    zlib.error, struct.error, csv.Error, KeyError,
)  # fmt: skip


class _WheelError(Exception):
    """A wheel that must not be looked into any further."""

    def __init__(self, code: str, what: str) -> None:
        super().__init__(what)
        self.code = code
        self.what = what


def check_wheel(
    path: Path, artifact: Artifact, target: Target, *, thorough: bool = True
) -> list[Problem]:
    """Return where the wheel at ``path`` is not what ``artifact`` says, or not for ``target``.

    Args:
        path: The wheel.
        artifact: What it should be.
        target: What it should be for.
        thorough: Whether libraries of more than 8 MiB, too, are read for the C library that they
            need; otherwise only their machine is looked at.
    """
    try:
        _require_small_directory(path)
        with zipfile.ZipFile(path) as archive:
            _require_honest(archive, path.stat().st_size)
            quick_above = MAX_UNPACKED if thorough else QUICK_LIMIT
            return [
                *_identity(archive, artifact, target),
                *_programs(archive, artifact, target, quick_above),
            ]
    except _WheelError as refused:
        return [finding(artifact, refused.code, refused.what)]
    except OSError as error:
        return [unreadable(artifact, WHEEL_ARCHIVE, path, error)]
    except _BROKEN as error:
        return [finding(artifact, WHEEL_ARCHIVE, f"it is not a readable wheel: {error}")]


def _require_small_directory(path: Path) -> None:
    """Refuse a central directory that would fill memory, before ``zipfile`` reads it."""
    with path.open("rb") as stream:
        size = stream.seek(0, io.SEEK_END)
        stream.seek(max(0, size - _TAIL))
        tail = stream.read(_TAIL)
    end = tail.rfind(b"PK\x05\x06")
    if end < 0 or end + 22 > len(tail):
        raise _WheelError(WHEEL_ARCHIVE, "it is no zip file: it lacks the end of its directory")
    (directory,) = struct.unpack_from("<I", tail, end + 12)
    if tail[max(0, end - 20) : end].startswith(b"PK\x06\x07"):
        raise _WheelError(WHEEL_ARCHIVE, "it is a zip64 file, which no wheel needs to be")
    if directory > MAX_DIRECTORY:
        raise _WheelError(WHEEL_ARCHIVE, f"its directory of files claims {directory} bytes")


def _require_honest(archive: zipfile.ZipFile, size: int) -> None:
    seen: set[str] = set()
    unpacked = 0
    position = 0
    for info in sorted(archive.infolist(), key=lambda info: info.header_offset):
        _require_plain(info)
        if info.filename in seen:
            raise _WheelError(WHEEL_ARCHIVE, f"it holds {info.filename!r} twice")
        seen.add(info.filename)
        if info.header_offset < position:
            raise _WheelError(WHEEL_ARCHIVE, f"{info.filename!r} overlaps the file before it")
        position = info.header_offset + 30 + len(info.orig_filename) + info.compress_size
        unpacked += info.file_size
    if position > size:
        raise _WheelError(WHEEL_ARCHIVE, "its files reach beyond its end")
    if unpacked > min(MAX_RATIO * size + (1 << 20), MAX_UNPACKED):
        raise _WheelError(WHEEL_ARCHIVE, f"it would unpack to {unpacked} bytes, {size} packed")


def _require_plain(info: zipfile.ZipInfo) -> None:
    name = info.orig_filename
    parts = name.rstrip("/").split("/")
    wild = any(part in ("", ".", "..") for part in parts) or "\\" in name or ":" in parts[0]
    if wild or not name.isprintable():
        raise _WheelError(WHEEL_ARCHIVE, f"it holds the path {name!a}")
    kind = stat.S_IFMT(info.external_attr >> 16)
    if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
        raise _WheelError(WHEEL_ARCHIVE, f"{name!r} is a link or a device")
    if info.flag_bits & 1:
        raise _WheelError(WHEEL_ARCHIVE, f"{name!r} is encrypted")
    if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise _WheelError(WHEEL_ARCHIVE, f"{name!r} is packed by method {info.compress_type}")


def _identity(archive: zipfile.ZipFile, artifact: Artifact, target: Target) -> list[Problem]:
    try:
        name, version, _, tags = parse_wheel_filename(artifact.filename)
    except (InvalidWheelFilename, InvalidVersion) as error:
        raise _WheelError(WHEEL_IDENTITY, f"its name is not a wheel's: {error}") from error
    problems = []
    if not tags & _tags(target):
        what = f"it is for {', '.join(sorted(map(str, tags)))}, which {target.name} is not"
        problems.append(finding(artifact, WHEEL_IDENTITY, what, OTHER_WHEEL))
    folder = _dist_info(archive, name, version)
    headers = BytesParser().parsebytes(_read(archive, f"{folder}/METADATA"), headersonly=True)
    said = {
        "the manifest": (artifact.name, artifact.version),
        "METADATA": (str(headers.get("Name", "")), str(headers.get("Version", ""))),
    }
    for source, (said_name, said_version) in said.items():
        if canonicalize_name(said_name) != name or not _equal(said_version, version):
            what = f"its file name says {name} {version}, {source} {said_name} {said_version}"
            problems.append(finding(artifact, WHEEL_IDENTITY, what))
    return [*problems, *_record(archive, folder, artifact)]


@lru_cache(maxsize=4)
def _tags(target: Target) -> frozenset[Tag]:
    return frozenset(target_tags(target))


def _equal(text: str, version: Version) -> bool:
    try:
        return Version(text) == version
    except InvalidVersion:
        return False


def _dist_info(archive: zipfile.ZipFile, name: str, version: Version) -> str:
    for path in archive.namelist():
        folder, slash, rest = path.partition("/")
        if rest == "METADATA" and slash and folder.endswith(".dist-info"):
            own_name, _, own_version = folder.removesuffix(".dist-info").rpartition("-")
            if canonicalize_name(own_name) == name and _equal(own_version, version):
                return folder
    raise _WheelError(WHEEL_IDENTITY, f"it has no metadata of {name} {version}")


def _record(archive: zipfile.ZipFile, folder: str, artifact: Artifact) -> list[Problem]:
    """Compare RECORD with the archive; a hash of each file would need every byte unpacked."""
    text = _read(archive, f"{folder}/RECORD").decode()
    listed = {row[0]: row for row in csv.reader(io.StringIO(text)) if row}
    files = {info.filename: info for info in archive.infolist() if not info.is_dir()}
    free = {f"{folder}/RECORD{suffix}" for suffix in ("", ".jws", ".p7s")}
    problems = []
    if strangers := sorted(files.keys() - listed.keys() - free):
        what = f"RECORD does not list {len(strangers)} of its files, such as {strangers[0]!r}"
        problems.append(finding(artifact, WHEEL_IDENTITY, what))
    if absent := sorted(listed.keys() - files.keys() - free):
        what = f"RECORD lists {len(absent)} files that it lacks, such as {absent[0]!r}"
        problems.append(finding(artifact, WHEEL_IDENTITY, what))
    for path in sorted(listed.keys() & files.keys() - free):
        row, size = listed[path], files[path].file_size
        if len(row) < 3 or (row[2] and row[2] != str(size)):
            what = f"{path!r} has {size} bytes, its RECORD row says {','.join(row[1:])!r}"
            return [*problems, finding(artifact, WHEEL_IDENTITY, what)]
    return problems


def _read(archive: zipfile.ZipFile, name: str) -> bytes:
    info = archive.getinfo(name)
    if info.file_size > MAX_TEXT:
        raise _WheelError(WHEEL_ARCHIVE, f"{name!r} would unpack to {info.file_size} bytes")
    with archive.open(info) as stream:
        return stream.read(MAX_TEXT)


# --- programs and libraries ------------------------------------------------------------------
def _programs(
    archive: zipfile.ZipFile, artifact: Artifact, target: Target, quick_above: int
) -> list[Problem]:
    problems: list[Problem] = []
    for info in archive.infolist():
        if not _may_be_elf(info):
            continue
        if info.file_size > quick_above:
            with archive.open(info) as stream:
                problems += check_stream(stream, info.filename, artifact, target, tables=False)
        else:
            with _seekable(archive, info) as stream:
                problems += check_stream(stream, info.filename, artifact, target)
    return problems


@contextmanager
def _seekable(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> Iterator[IO[bytes]]:
    with archive.open(info) as stream:
        if info.file_size > MAX_IN_MEMORY:
            yield stream
            return
        whole = io.BytesIO()
        while block := stream.read(1 << 20):
            whole.write(block)
        whole.seek(0)
        yield whole


def _may_be_elf(info: zipfile.ZipInfo) -> bool:
    name = info.filename.rpartition("/")[2]
    executable = bool(info.external_attr >> 16 & 0o111)
    library = name.endswith(".so") or ".so." in name
    return info.file_size >= 52 and not info.is_dir() and (library or executable)


def check_stream(
    stream: IO[bytes], inside: str, artifact: Artifact, target: Target, *, tables: bool = True
) -> list[Problem]:
    """Return where the ELF file in ``stream`` does not fit ``target``; nothing if it is none.

    Args:
        stream: The file; must be able to seek.
        inside: Its path inside the artifact, empty if it is the artifact.
        artifact: What it belongs to.
        target: What it should run on.
        tables: Whether to look at the C library that it needs, beside its machine.
    """
    prefix = f"{inside}: " if inside else ""
    try:
        found = read_elf(stream, tables=tables)
    except ElfError as error:
        return [finding(artifact, ELF, f"{prefix}not a usable ELF file: {error}")]
    wrong = found and _unfit(found, target)
    return [finding(artifact, ELF, f"{prefix}{wrong}", OTHER_WHEEL)] if wrong else []


def _unfit(found: ElfFile, target: Target) -> str:
    if (found.machine, found.bits, found.little) != (MACHINES[target.architecture], 64, True):
        machine = MACHINE_NAMES.get(found.machine, f"machine {found.machine}")
        return f"it is for {machine} with {found.bits} bits, the target is {target.architecture}"
    newest = found.newest_glibc()
    major, minor = (int(part) for part in target.glibc.split("."))
    if newest and newest > (major, minor):
        names = ", ".join(n for n in found.versions if n.startswith("GLIBC_"))
        return f"it needs glibc {newest[0]}.{newest[1]}, the target has {target.glibc} ({names})"
    return ""
