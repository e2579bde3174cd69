"""Writes a wheel from loose files so that equal content gives equal bytes."""

from __future__ import annotations

import base64
import hashlib
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from bastide.host.files import atomic_writer

EARLIEST = (1980, 1, 1, 0, 0, 0)  # the zip format knows no earlier time


@dataclass(frozen=True)
class WheelName:
    """What a wheel's file name says.

    Args:
        distribution: Name with underscores, as in the file name.
        version: Its version.
        tag: Compatibility tag, such as ``py3-none-linux_x86_64``.
    """

    distribution: str
    version: str
    tag: str

    @property
    def filename(self) -> str:
        """The wheel's file name."""
        return f"{self.distribution}-{self.version}-{self.tag}.whl"

    @property
    def dist_info(self) -> str:
        """The folder of metadata inside the wheel."""
        return f"{self.distribution}-{self.version}.dist-info"


def write_wheel(
    path: Path, name: WheelName, files: Mapping[str, bytes], *, metadata: bytes
) -> None:
    """Write a wheel of ``files`` (path inside the wheel → content) to ``path``.

    Args:
        path: The file to write; its folder must exist.
        name: Distribution, version and tag.
        files: Content by path, such as ``llama_cpp/__init__.py``; ``.dist-info`` extras too.
        metadata: Core metadata (``METADATA``).
    """
    content = dict(files)
    content[f"{name.dist_info}/METADATA"] = metadata
    content[f"{name.dist_info}/WHEEL"] = (
        f"Wheel-Version: 1.0\nGenerator: bastide\nRoot-Is-Purelib: false\nTag: {name.tag}\n"
    ).encode()
    record = f"{name.dist_info}/RECORD"
    lines = [f"{p},{_record_hash(content[p])},{len(content[p])}" for p in sorted(content)]
    content[record] = ("\n".join([*lines, f"{record},,"]) + "\n").encode()
    with atomic_writer(path) as stream, zipfile.ZipFile(stream, "w") as archive:
        for entry in sorted(content):
            info = zipfile.ZipInfo(entry, EARLIEST)
            info.compress_type = zipfile.ZIP_DEFLATED
            info.create_system = 3  # Unix, so that the mode below counts
            mode = 0o755 if entry.endswith(".so") else 0o644
            info.external_attr = (0o100000 | mode) << 16
            archive.writestr(info, content[entry], compresslevel=6)


def _record_hash(content: bytes) -> str:
    digest = base64.urlsafe_b64encode(hashlib.sha256(content).digest())
    return f"sha256={digest.rstrip(b'=').decode()}"
