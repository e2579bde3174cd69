from __future__ import annotations

import io
import re
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bastide.sources.checks.elf import ElfError, glibc_of, read_elf


def test_a_real_library(library: bytes) -> None:
    found = read_elf(io.BytesIO(library))
    assert found is not None
    assert (found.machine, found.bits, found.little) == (62, 64, True)
    assert all(name.encode() in library for name in found.versions)
    newest = found.newest_glibc()
    assert newest is not None
    assert newest[0] == 2


def test_agrees_with_readelf(library: bytes, tmp_path: Path) -> None:
    path = tmp_path / "library.so"
    path.write_bytes(library)
    try:
        text = subprocess.run(
            ["readelf", "-V", "-W", path], capture_output=True, text=True, check=True
        ).stdout
    except FileNotFoundError:
        pytest.skip("readelf is not installed")
    needs = text.partition("Version needs section")[2]
    found = read_elf(io.BytesIO(library))
    assert found is not None
    assert set(found.versions) == set(re.findall(r"Name: (\S+)  Flags", needs))


def test_other_files_are_no_elf() -> None:
    assert read_elf(io.BytesIO(b"#!/bin/sh\n")) is None
    assert read_elf(io.BytesIO(b"")) is None


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("GLIBC_2.34", (2, 34)),
        ("GLIBC_2.2.5", (2, 2)),
        ("GLIBC_ABI_DT_RELR", (2, 36)),
        ("GLIBC_PRIVATE", None),
        ("GLIBCXX_3.4.30", None),
        ("GLIBC_2.x", None),
        ("GLIBC_\u0662.3", None),
        ("", None),
    ],
)
def test_versions_of_glibc(name: str, expected: tuple[int, int] | None) -> None:
    assert glibc_of(name) == expected


def read_or_refuse(content: bytes) -> None:
    try:
        read_elf(io.BytesIO(content))
    except ElfError as error:
        assert str(error)  # noqa: PT017 - most mutations change nothing that matters


@given(st.data())
def test_mutated_libraries_are_refused_or_read(library: bytes, data: st.DataObject) -> None:
    content = bytearray(library)
    for _ in range(data.draw(st.integers(1, 6))):
        # Headers are at the start; offsets in them decide about everything else.
        place = data.draw(st.integers(0, 1023) | st.integers(0, len(content) - 1))
        content[place] = data.draw(st.integers(0, 255))
    cut = data.draw(st.integers(0, len(content)) | st.just(len(content)))
    read_or_refuse(bytes(content[:cut]))


@given(st.binary(max_size=400))
def test_noise_behind_the_magic(noise: bytes) -> None:
    read_or_refuse(b"\x7fELF\x02\x01" + noise)


def test_a_list_of_versions_that_never_ends_is_refused(library: bytes) -> None:
    found = read_elf(io.BytesIO(library))
    assert found is not None
    content = bytearray(library)
    where = library.find(b"\x01\x00")  # .gnu.version_r records begin with version 1
    while where >= 0:
        content[where + 12 : where + 16] = bytes(4)  # "the next record is this one"
        where = library.find(b"\x01\x00", where + 2)
    read_or_refuse(bytes(content))
