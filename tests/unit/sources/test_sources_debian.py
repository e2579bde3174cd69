from __future__ import annotations

import pytest

from bastide import resources
from bastide.bundle.catalogue import Catalogue
from bastide.sources.debian import (
    DebFile,
    in_step,
    parse_stanzas,
    sources_list,
)
from bastide.sources.licence_texts import copyright_names

LISTS = """\
Package: libgomp1
Version: 12.2.0-14+deb12u1
Architecture: amd64
Depends: gcc-12-base (= 12.2.0-14+deb12u1), libc6 (>= 2.34)
Description: GCC OpenMP
 A second line
 .
 and a third
Filename: pool/main/g/gcc-12/libgomp1_12.2.0-14+deb12u1_amd64.deb
Size: 10
SHA256: aa

Package: gcc-12-base
Version: 12.2.0-14+deb12u1
Architecture: amd64

Package: libgcc-s1
Version: 12.2.0-14+deb12u1
Architecture: amd64
Depends: gcc-12-base (= 12.2.0-14+deb12u1), libc6 (>= 2.35)

Package: zlib1g
Version: 1:1.2.13.dfsg-1
Architecture: amd64
Depends: libc6 (>= 2.14)

No-Package: x
"""
STANZAS = {stanza["Package"]: stanza for stanza in parse_stanzas(LISTS)}
DEBS = {name: DebFile(f"http://deb/{name}", stanza) for name, stanza in STANZAS.items()}


def test_entries_are_read_with_their_continued_lines() -> None:
    assert list(STANZAS) == ["libgomp1", "gcc-12-base", "libgcc-s1", "zlib1g"]
    assert STANZAS["libgomp1"]["Description"].endswith("\n .\n and a third")


def test_file_name_is_flat_and_keeps_an_epoch() -> None:
    assert DEBS["zlib1g"].filename == "zlib1g_1%3a1.2.13.dfsg-1_amd64.deb"


def test_index_entry_names_the_flat_file() -> None:
    entry = DEBS["libgomp1"].index_entry
    assert "Filename: ./libgomp1_12.2.0-14+deb12u1_amd64.deb\n" in entry
    assert "\n and a third\n" in entry
    assert next(iter(parse_stanzas(entry)))["SHA256"] == "aa"


def test_base_packages_of_one_exact_version_come_along() -> None:
    base = {name: DEBS[name] for name in ("gcc-12-base", "libgcc-s1", "zlib1g")}
    assert [d.name for d in in_step(STANZAS["libgomp1"], base)] == ["gcc-12-base"]
    assert [d.name for d in in_step(STANZAS["gcc-12-base"], base)] == ["libgcc-s1"]
    assert in_step(STANZAS["zlib1g"], base) == []


def test_each_mirror_is_bound_to_its_keyring() -> None:
    target = Catalogue(resources.catalogue()).target("debian12-x86_64").value
    lines = sources_list(target).splitlines()
    assert [line.split()[4] for line in lines] == [
        "bookworm",
        "bookworm-updates",
        "bookworm-security",
    ]
    assert all("signed-by=/usr/share/keyrings/debian-archive-keyring.gpg" in x for x in lines)


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("Format: x\n\nFiles: *\nLicense: Expat\n", "Expat"),
        (
            "Format: x\n\nFiles: *\nLicense: GPL-2+\n\nFiles: a\nLicense: GPL-2 or MIT\n",
            "(GPL-2 OR MIT) AND GPL-2+",
        ),
        ("This is free text.\nLicense: none\n", "unknown"),
        ("Format: x\n", "unknown"),
    ],
)
def test_licences_of_a_copyright_file(text: str, names: str) -> None:
    assert copyright_names(text) == names
