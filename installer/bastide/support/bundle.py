"""Makes a support bundle out of redacted texts: an archive with its own list of contents."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from bastide.host.files import atomic_writer
from bastide.progress import human_bytes
from bastide.support.redactor import Redactor

LIST = "CONTENTS.txt"


@dataclass(frozen=True)
class Entry:
    """One text of a bundle.

    Args:
        name: Its path in the archive.
        size: Its bytes.
        redacted: How many secrets were taken out of it.
    """

    name: str
    size: int
    redacted: int


@dataclass(frozen=True)
class Redacted:
    """Texts that may leave, and what was taken out of them.

    Args:
        texts: By name.
        entries: The list of contents.
        found: How many secrets of each kind were taken out.
    """

    texts: Mapping[str, str]
    entries: tuple[Entry, ...]
    found: Mapping[str, int]


def redact(texts: Mapping[str, str], redactor: Redactor) -> Redacted:
    """Return texts, and their names, after the redactor; pure but for its counts."""
    clean: dict[str, str] = {}
    entries = []
    for name in sorted(texts):
        before = redactor.found.total()
        text = redactor.text(texts[name])
        # A folder is the name of a host: it is renamed like one.
        shown = "/".join(redactor.rename(p) if redactor.rename else p for p in name.split("/"))
        clean[shown] = text
        entries.append(Entry(shown, len(text.encode()), redactor.found.total() - before))
    return Redacted(clean, tuple(entries), dict(sorted(redactor.found.items())))


def contents(redacted: Redacted) -> str:
    """Return the list that a person reads before the bundle leaves; pure."""
    lines = [
        "What is in this support bundle. Texts only; everything has passed the redactor, which",
        "writes [redacted:KIND] in the place of what it takes out.",
        "",
    ]
    for each in redacted.entries:
        taken = f"  {each.redacted} redacted" if each.redacted else ""
        lines.append(f"{human_bytes(each.size):>12}  {each.name}{taken}")
    lines += ["", "Taken out, by kind:"]
    lines += [f"{number:>12}  {kind}" for kind, number in redacted.found.items() if number]
    return "\n".join(lines) + "\n"


def write_bundle(path: Path, redacted: Redacted, now: datetime) -> int:
    """Write the archive, mode 0600; return its bytes.

    Raises:
        OSError: It cannot be written; nothing is left of it.
    """
    files = {LIST: contents(redacted), **redacted.texts}
    root = path.name.removesuffix(".tar.gz")
    with (
        atomic_writer(path, mode=0o600) as stream,
        tarfile.open(fileobj=stream, mode="w:gz", format=tarfile.PAX_FORMAT) as archive,
    ):
        for name, text in files.items():
            content = text.encode()
            member = tarfile.TarInfo(f"{root}/{name}")
            member.size, member.mode, member.mtime = len(content), 0o600, int(now.timestamp())
            archive.addfile(member, io.BytesIO(content))
    return path.stat().st_size
