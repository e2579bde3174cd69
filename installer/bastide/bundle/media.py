"""What people say of their media → how many bytes of a volume fit on one."""

from __future__ import annotations

import re
from dataclasses import dataclass

from bastide.errors import ConfigError

WRONG = "BAS-2015"
UNITS = {"KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12,
         "KIB": 2**10, "MIB": 2**20, "GIB": 2**30, "TIB": 2**40}  # fmt: skip
DISCS = {  # capacity in bytes: sectors of 2048, as the discs' standards count them
    "cd": 360_000 * 2048,
    "dvd": 2_295_104 * 2048,
    "bd25": 12_219_392 * 2048,
    "bd50": 24_438_784 * 2048,
    "bd100": 48_878_592 * 2048,
}
DISC_OVERHEAD = 4 * 2**20  # bytes; ISO 9660 or UDF structures for a handful of files
STICK_SHARE = 95  # per cent; sticks hold less than their label says, and file systems take some
SPARE = 2  # parity volumes that a share gives at least
SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*([kmgt]i?b)", re.IGNORECASE)
MEDIA = re.compile(r"(\d+)\s*[x*]\s*([^\s]+)(?:\s+\w+)?", re.IGNORECASE)


@dataclass(frozen=True)
class Media:
    """The media that volumes are made for.

    Args:
        label: As it was said.
        capacity: Bytes of files that fit on one.
        count: How many there are; None for as many as are needed.
    """

    label: str
    capacity: int
    count: int | None = None


@dataclass(frozen=True)
class ParityWish:
    """How much parity is wanted: a number of volumes, or a share of the data volumes.

    A share gives two at least: one stands in for a lost volume, and then damage at the same place
    of another volume still needs the second.
    """

    volumes: int = 0
    percent: int = 0

    def volumes_for(self, data: int) -> int:
        """Return the number of parity volumes for ``data`` data volumes; shares round up."""
        if self.percent:
            return max(-(-data * self.percent // 100), SPARE)
        return self.volumes


def parse_size(text: str) -> Media:
    """Return the media for ``--size``: a kind of disc, or the exact size of a volume's files.

    Raises:
        ConfigError: It is neither.
    """
    if (disc := text.strip().lower()) in DISCS:
        return Media(disc, DISCS[disc] - DISC_OVERHEAD)
    return Media(text, _bytes(text))


def parse_media(text: str) -> Media:
    """Return the media for ``--media``: ``3x32GB fat32``, ``10 x dvd``.

    The name of the file system is for people: volumes are such that every file system takes them.

    Raises:
        ConfigError: It cannot be understood.
    """
    found = MEDIA.fullmatch(text.strip())
    if not found or int(found[1]) == 0:
        raise _wrong(f"--media {text!r} cannot be understood", "write it so: '3x32GB fat32'")
    if found[2].lower() in DISCS:
        return Media(text, parse_size(found[2]).capacity, int(found[1]))
    return Media(text, _bytes(found[2]) * STICK_SHARE // 100, int(found[1]))


def parse_parity(text: str | None) -> ParityWish:
    """Return the wish for ``--parity``: ``10%`` or a number of volumes; None for none.

    Raises:
        ConfigError: It is neither.
    """
    if text is None:
        return ParityWish()
    share = re.fullmatch(r"(\d{1,3})(%?)", text.strip())
    if not share or (share[2] and int(share[1]) > 100):
        raise _wrong(f"--parity {text!r} cannot be understood", "write --parity 10% or --parity 2")
    number = int(share[1])
    return ParityWish(percent=number) if share[2] else ParityWish(volumes=number)


def _bytes(text: str) -> int:
    found = SIZE.fullmatch(text.strip())
    if not found:
        kinds = ", ".join(DISCS)
        raise _wrong(
            f"{text!r} is not a size", f"write a number with its unit, such as 4GiB; or {kinds}"
        )
    return int(float(found[1]) * UNITS[found[2].upper()])


def _wrong(what: str, hint: str) -> ConfigError:
    return ConfigError(what, code=WRONG, hint=hint)
