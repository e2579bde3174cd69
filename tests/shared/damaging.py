"""Damage that is surely damage."""

from __future__ import annotations

from pathlib import Path


def flip(path: Path, *offsets: int, mask: int = 1) -> None:
    """Change bits of a file in place, whatever its bytes are and however it came to be."""
    with path.open("r+b") as stream:
        for offset in offsets:
            stream.seek(offset)
            byte = stream.read(1)[0]
            stream.seek(offset)  # a write goes on where the read ended: the byte after this one
            stream.write(bytes([byte ^ mask]))
