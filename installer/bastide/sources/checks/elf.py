"""Reads of an ELF file for which machine it is and which symbol versions it needs.

Only program headers, the dynamic section, ``.gnu.version_r`` and the strings that this names are
read, from any stream that can seek: a file, or a member of a wheel. Formats: System V ABI, chapters
4 and 5; Linux Standard Base, "Symbol Versioning".
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import IO

MAGIC = b"\x7fELF"
MACHINES = {"x86_64": 62, "aarch64": 183}
MACHINE_NAMES = {3: "i386", 40: "arm", 62: "x86_64", 183: "aarch64", 243: "riscv"}
# A needed "version" that names a feature of the dynamic loader: the glibc that first had it.
FEATURES = {"GLIBC_ABI_DT_RELR": (2, 36), "GLIBC_ABI_GNU2_TLS": (2, 42)}

_LOAD, _DYNAMIC = 1, 2
_STRTAB, _VERNEED, _VERNEEDNUM = 5, 0x6FFFFFFE, 0x6FFFFFFF
_MAX_SEGMENTS = 512
_MAX_DYNAMIC = 1 << 16  # bytes
_MAX_VERSIONS = 4096
_MAX_NAME = 256


class ElfError(ValueError):
    """The file begins like an ELF file but cannot be understood; says where."""


@dataclass(frozen=True)
class ElfFile:
    """What an ELF file needs.

    Args:
        machine: e_machine, such as 62 for x86-64.
        bits: 32 or 64.
        little: Whether it is little-endian.
        versions: Symbol versions that it needs of other libraries, such as ``GLIBC_2.34``.
    """

    machine: int
    bits: int
    little: bool
    versions: tuple[str, ...]

    def newest_glibc(self) -> tuple[int, int] | None:
        """Return the newest glibc that it needs, None if it needs none."""
        found = [need for name in self.versions if (need := glibc_of(name))]
        return max(found, default=None)


@dataclass(frozen=True)
class _Segment:
    kind: int
    offset: int
    address: int
    size: int


def glibc_of(version: str) -> tuple[int, int] | None:
    """Return which glibc a needed symbol version asks for; None if it is of something else."""
    if version in FEATURES:
        return FEATURES[version]
    name, _, number = version.partition("_")
    parts = number.split(".")
    if name != "GLIBC" or len(parts) < 2 or not all(p.isascii() and p.isdigit() for p in parts[:2]):
        return None
    return int(parts[0][:6]), int(parts[1][:6])


def read_elf(stream: IO[bytes], *, tables: bool = True) -> ElfFile | None:
    """Return what the ELF file in ``stream`` needs; None if it is no ELF file.

    Args:
        stream: The file from its start; must be able to seek.
        tables: Whether to read the versions that it needs; else only its first 64 bytes are read.

    Raises:
        ElfError: Its tables make no sense.
        OSError: It cannot be read.
    """
    head = stream.read(64)
    if not head.startswith(MAGIC):
        return None
    if len(head) < 52 or head[4] not in (1, 2) or head[5] not in (1, 2):
        raise ElfError("its header is cut off or of an unknown class")
    reader = _Reader(stream, wide=head[4] == 2, order="<" if head[5] == 1 else ">")
    (machine,) = struct.unpack_from(f"{reader.order}H", head, 18)
    versions = reader.versions(reader.segments(head)) if tables else ()
    return ElfFile(machine, 64 if reader.wide else 32, head[5] == 1, versions)


class _Reader:
    def __init__(self, stream: IO[bytes], *, wide: bool, order: str) -> None:
        self.stream = stream
        self.wide = wide
        self.order = order

    def segments(self, head: bytes) -> list[_Segment]:
        place = (32, "Q", 54) if self.wide else (28, "I", 42)
        try:
            (offset,) = struct.unpack_from(self.order + place[1], head, place[0])
            entry, count = struct.unpack_from(f"{self.order}HH", head, place[2])
        except struct.error as error:
            raise ElfError("its header is cut off") from error
        code = f"{self.order}IIQQQQQQ" if self.wide else f"{self.order}IIIIIIII"
        if count == 0:
            return []
        if count > _MAX_SEGMENTS or entry != struct.calcsize(code):
            raise ElfError(f"it lists {count} segments of {entry} bytes each")
        table = self._at(offset, count * entry, "program headers")
        return [self._segment(row) for row in struct.iter_unpack(code, table)]

    def _segment(self, row: tuple[int, ...]) -> _Segment:
        if self.wide:
            kind, _, offset, address, _, size, _, _ = row
        else:
            kind, offset, address, _, size, _, _, _ = row
        return _Segment(kind, offset, address, size)

    def versions(self, segments: list[_Segment]) -> tuple[str, ...]:
        dynamic = next((segment for segment in segments if segment.kind == _DYNAMIC), None)
        if dynamic is None:
            return ()
        tags = self._dynamic(dynamic)
        if _VERNEED not in tags:
            return ()
        count = tags.get(_VERNEEDNUM, 0)
        names = self._needed(_file_offset(segments, tags[_VERNEED]), count)
        strings = _file_offset(segments, tags.get(_STRTAB, 0))
        found = {self._string(strings + name) for name in sorted(names)}
        return tuple(sorted(found))

    def _dynamic(self, segment: _Segment) -> dict[int, int]:
        if segment.size > _MAX_DYNAMIC:
            raise ElfError(f"its dynamic section has {segment.size} bytes")
        code = self.order + ("QQ" if self.wide else "II")
        table = self._at(segment.offset, segment.size, "dynamic section")
        whole = len(table) - len(table) % struct.calcsize(code)
        tags: dict[int, int] = {}
        for tag, value in struct.iter_unpack(code, table[:whole]):
            if tag == 0:
                break
            tags.setdefault(tag, value)
        return tags

    def _needed(self, offset: int, count: int) -> set[int]:
        """Return the string offsets of all version names in ``.gnu.version_r``."""
        if count > _MAX_VERSIONS:
            raise ElfError(f"it needs versions of {count} libraries")
        names: set[int] = set()
        left = _MAX_VERSIONS
        for _ in range(count):
            record = self._at(offset, 16, ".gnu.version_r")
            _, auxiliaries, _, first, following = struct.unpack(f"{self.order}HHIII", record)
            left -= auxiliaries
            if left < 0:
                raise ElfError(f"it needs more than {_MAX_VERSIONS} versions")
            place = offset + first
            for _ in range(auxiliaries):
                auxiliary = self._at(place, 16, ".gnu.version_r")
                _, _, _, name, onward = struct.unpack(f"{self.order}IHHII", auxiliary)
                names.add(name)
                place += onward
            offset += following
        return names

    def _string(self, offset: int) -> str:
        self._seek(offset)
        text, end, _ = self.stream.read(_MAX_NAME).partition(b"\0")
        if not end:
            raise ElfError("a version's name does not end")
        return text.decode("ascii", errors="backslashreplace")

    def _at(self, offset: int, size: int, what: str) -> bytes:
        self._seek(offset)
        content = self.stream.read(size)
        if len(content) != size:
            raise ElfError(f"it ends inside its {what}")
        return content

    def _seek(self, offset: int) -> None:
        if not 0 <= offset < 1 << 48:
            raise ElfError(f"it points to byte {offset}")
        self.stream.seek(offset)


def _file_offset(segments: list[_Segment], address: int) -> int:
    for segment in segments:
        inside = segment.address <= address < segment.address + segment.size
        if segment.kind == _LOAD and inside:
            return address - segment.address + segment.offset
    raise ElfError(f"it points to address {address:#x}, which no segment holds")
