"""Licence, and its texts, as wheels and .debs themselves carry them.

A wheel has them in its ``.dist-info`` (core metadata 2.4: License-Expression and License-File), a
.deb in ``/usr/share/doc/<package>/copyright`` (Debian Policy 12.5), which may be a link to another
package's.
"""

from __future__ import annotations

import hashlib
import lzma
import re
import tarfile
import zipfile
import zlib
from dataclasses import dataclass
from email.message import Message
from email.parser import BytesParser
from pathlib import Path, PurePosixPath

from bastide.sources.checks.deb import DebError, data_archive

MAX_TEXT = 4 << 20  # bytes of one licence text; torch's has some 400 kB
UNKNOWN = "unknown"
_BROKEN = (tarfile.TarError, lzma.LZMAError, zlib.error, EOFError, ValueError, OverflowError)
_NAMES = re.compile(r"^(licen[cs]e|copying|notice|copyright|authors)", re.IGNORECASE)
_COMMON = re.compile(r"/usr/share/common-licenses/([A-Za-z]+(?:-[0-9]+(?:\.[0-9]+)*)?)")

# SHA-256 of a licence's whole wording, from its first words on: case and line breaks left out.
_WORDINGS = {"56959050891f7b737ac4e803051170c7197f02df73d80bd9a78d968e305bf558": "MIT"}
_BEGINS = "permission is hereby granted"

# Trove classifiers that name exactly one licence, for wheels older than License-Expression.
_CLASSIFIERS = {
    "MIT License": "MIT",
    "MIT No Attribution License (MIT-0)": "MIT-0",
    "Apache Software License": "Apache-2.0",
    "Mozilla Public License 2.0 (MPL 2.0)": "MPL-2.0",
    "ISC License (ISCL)": "ISC",
    "Python Software Foundation License": "PSF-2.0",
    "The Unlicense (Unlicense)": "Unlicense",
    "GNU General Public License v3 or later (GPLv3+)": "GPL-3.0-or-later",
}


@dataclass(frozen=True)
class Declared:
    """A licence as a file states it, and where in the file."""

    licence: str
    place: str


@dataclass(frozen=True)
class LicenceText:
    """One text: its path in the file that it is from, and what it says."""

    path: str
    text: str


@dataclass(frozen=True)
class DebCopyright:
    """What a .deb says about its licences.

    Args:
        text: Its copyright file; None if it has none of its own.
        path: Where that is.
        shared_with: The package whose documentation folder it uses instead.
    """

    text: str | None
    path: str
    shared_with: str | None = None


def wheel_licence(path: Path) -> Declared:
    """Return the licence that a wheel's metadata states: an SPDX expression or its own words.

    If it states none, a single licence text that is, word for word, a licence's own says it.
    """
    with zipfile.ZipFile(path) as archive:
        _, metadata = _metadata(archive)
    if expression := metadata.get("License-Expression"):
        return Declared(str(expression).strip(), "METADATA: License-Expression")
    classifiers = [str(c) for c in metadata.get_all("Classifier", [])]
    stated = [c.rpartition(" :: ")[2] for c in classifiers if c.startswith("License ::")]
    known = [_CLASSIFIERS[c] for c in stated if c in _CLASSIFIERS]
    if known and len(known) == len(stated):
        return Declared(" OR ".join(known), "METADATA: Classifier")
    words = str(metadata.get("License") or "").strip()
    if words and "\n" not in words and len(words) <= 60:
        return Declared(words, "METADATA: License")
    if stated:
        return Declared(", ".join(stated), "METADATA: Classifier")
    return _by_wording(path) or Declared(UNKNOWN, "METADATA states none")


def _by_wording(path: Path) -> Declared | None:
    texts = wheel_texts(path)
    if len(texts) != 1:
        return None
    words = " ".join(texts[0].text.split()).casefold()
    wording = words[max(words.find(_BEGINS), 0) :]
    found = _WORDINGS.get(hashlib.sha256(wording.encode()).hexdigest())
    return Declared(found, f"{PurePosixPath(texts[0].path).name}, word for word") if found else None


def wheel_texts(path: Path) -> tuple[LicenceText, ...]:
    """Return the licence texts and notices in a wheel's metadata folder, sorted by path.

    Raises:
        zipfile.BadZipFile: It cannot be read.
        OSError: It cannot be read.
    """
    with zipfile.ZipFile(path) as archive:
        folder, metadata = _metadata(archive)
        named = {str(name) for name in metadata.get_all("License-File", [])}
        found = []
        for info in sorted(archive.infolist(), key=lambda info: info.filename):
            inside = PurePosixPath(info.filename)
            if not folder or folder not in info.filename or info.is_dir():
                continue
            relative = info.filename.removeprefix(f"{folder}/")
            listed = relative in named or relative.removeprefix("licenses/") in named
            usual = relative.startswith("licenses/") or bool(_NAMES.match(inside.name))
            if (listed or usual) and info.file_size <= MAX_TEXT:
                text = archive.read(info).decode(errors="replace")
                found.append(LicenceText(info.filename, text))
    return tuple(found)


def _metadata(archive: zipfile.ZipFile) -> tuple[str, Message]:
    names = [n for n in archive.namelist() if n.endswith(".dist-info/METADATA")]
    if not names:
        return "", Message()
    content = archive.read(names[0])
    return names[0].rpartition("/")[0], BytesParser().parsebytes(content, headersonly=True)


def deb_copyright(path: Path, package: str) -> DebCopyright:
    """Return what the .deb of ``package`` says about its licences, without unpacking it.

    Raises:
        DebError: It is no .deb that can be read.
        OSError: It cannot be read.
    """
    folder = f"usr/share/doc/{package}"
    place = f"{folder}/copyright"
    try:
        with data_archive(path) as archive:
            for entry in archive:
                name = entry.name.removeprefix("./").rstrip("/")
                if name == folder and entry.issym():
                    return DebCopyright(None, place, PurePosixPath(entry.linkname).name)
                if name == place and entry.issym():
                    shared = PurePosixPath(entry.linkname).parent.name
                    return DebCopyright(None, place, shared or None)
                if name == place and entry.isreg() and entry.size <= MAX_TEXT:
                    stream = archive.extractfile(entry)
                    content = stream.read() if stream else b""
                    return DebCopyright(content.decode(errors="replace"), place)
    except _BROKEN as error:
        raise DebError(f"its files cannot be listed: {error}") from error
    return DebCopyright(None, place)


def copyright_names(text: str) -> str:
    """Return the licences that a Debian copyright file gives, ``unknown`` if it names none.

    A machine-readable one (DEP-5) says so for each group of files. Of free text, the licences are
    taken whose full texts it refers to in ``/usr/share/common-licenses``, as "GPL-3 by reference":
    which versions it allows only its words say. The names are Debian's. One without a version
    counts only if none with a version is named.
    """
    names = set()
    if text.lstrip().startswith("Format:"):
        for paragraph in re.split(r"\n\s*\n", text):
            if re.search(r"^Files:", paragraph, re.MULTILINE):
                names |= set(re.findall(r"^License:[ \t]*(\S.*)$", paragraph, re.MULTILINE))
    else:
        found = set(_COMMON.findall(text))
        versioned = {name for name in found if "-" in name}
        names = {f"{name} by reference" for name in versioned or found}
    words = sorted(_in_capitals(name) for name in names)
    return " AND ".join(f"({name})" if " " in name else name for name in words) or UNKNOWN


def _in_capitals(name: str) -> str:
    """Return a name of DEP-5 with its "and" and "or" as SPDX writes them.

    Not those of an exception's own words.
    """
    if "exception" in name.lower():
        return name
    return re.sub(r"\s+(and|or)\s+", lambda found: f" {found.group(1).upper()} ", name)
