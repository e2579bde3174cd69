"""Streams sealed to recovery keys, by age's own format and its maintained implementation."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from bastide.backup.codes import DAMAGED, NOT_OPENED
from bastide.backup.keys import RecoveryKey
from bastide.errors import TrustError
from bastide.host.files import atomic_writer
from bastide.schema.backup_archive import SealedPart

BLOCK = 1 << 20


class Source(Protocol):
    """What can be read from."""

    def read(self, size: int = -1, /) -> bytes:
        """Return up to ``size`` bytes; none at the end."""


class Sink(Protocol):
    """What can be written to."""

    def write(self, data: bytes, /) -> Any:  # noqa: ANN401 - nobody looks at it
        """Take the bytes."""


@dataclass
class _Reader:
    """Counts, and keeps the error that the library would only quote."""

    source: Source
    moved: Callable[[int], None]
    error: BaseException | None = None

    def read(self, size: int = -1) -> bytes:
        try:
            data = self.source.read(size)
        except BaseException as error:
            self.error = error
            raise
        self.moved(len(data))
        return data


@dataclass
class _Writer:
    """Hashes and counts what is written."""

    sink: Sink
    size: int = 0
    digest: Any = field(default_factory=hashlib.sha256)
    error: BaseException | None = None

    def write(self, data: bytes) -> int:
        try:
            self.sink.write(data)
        except BaseException as error:
            self.error = error
            raise
        self.digest.update(data)
        self.size += len(data)
        return len(data)

    def flush(self) -> None:
        """Nothing is kept back."""


def seal(
    source: Source,
    path: Path,
    recipients: Sequence[str],
    moved: Callable[[int], None] = lambda _: None,
) -> SealedPart:
    """Write what ``source`` yields to ``path``, sealed; return name, size and digest.

    Args:
        source: The plain bytes; read once, in small pieces.
        path: The new file; it is there, whole and on the disk, or not at all.
        recipients: Public keys of age.
        moved: Told of plain bytes as they pass.

    Raises:
        OSError: The file cannot be written.
        Exception: What the source raised.
    """
    import pyrage  # noqa: PLC0415 - slow to load

    to = [pyrage.x25519.Recipient.from_str(each) for each in recipients]
    reader = _Reader(source, moved)
    with atomic_writer(path, mode=0o600) as stream:
        writer = _Writer(stream)
        try:
            pyrage.encrypt_io(reader, writer, to)
        except (pyrage.EncryptError, OSError):
            for error in (reader.error, writer.error):
                if error is not None:
                    raise error from None
            raise
    return SealedPart(name=path.name, size=writer.size, sha256=writer.digest.hexdigest())


def unseal(
    path: Path,
    part: SealedPart,
    key: RecoveryKey,
    sink: Sink,
    moved: Callable[[int], None] = lambda _: None,
) -> None:
    """Write what a sealed part holds to ``sink``; nothing that is not authentic gets there.

    Args:
        path: The part.
        part: What the signed header says of it.
        key: What opens it.
        sink: Where the plain bytes go. The caller uses them only if this returns.
        moved: Told of sealed bytes as they pass.

    Raises:
        TrustError: It is damaged or not sealed to this key.
        Exception: What the sink raised.
    """
    import pyrage  # noqa: PLC0415 - slow to load

    writer = _Writer(sink)
    try:
        with path.open("rb") as stream:
            hashing = _Hashing(stream)
            pyrage.decrypt_io(_Reader(hashing, moved), writer, list(key.identities))
    except (pyrage.DecryptError, OSError) as error:
        if writer.error is not None:
            raise writer.error from None
        if "No matching keys" in str(error):
            raise TrustError(
                f"{path} is not sealed to this recovery key",
                code=NOT_OPENED,
                hint="`bastide backup list` shows the public keys that open each backup",
            ) from error
        raise damaged(path, str(error)) from error
    if hashing.digest.hexdigest() != part.sha256:
        raise damaged(path, "its digest is not the one that was signed")


@dataclass
class _Hashing:
    source: Source
    digest: Any = field(default_factory=hashlib.sha256)

    def read(self, size: int = -1) -> bytes:
        data = self.source.read(size)
        self.digest.update(data)
        return data


def check_part(path: Path, part: SealedPart, moved: Callable[[int], None] = lambda _: None) -> None:
    """Check size and digest of a sealed part; needs no key.

    Raises:
        TrustError: It is missing or damaged.
    """
    digest = hashlib.sha256()
    size = 0
    try:
        with path.open("rb") as stream:
            while block := stream.read(BLOCK):
                digest.update(block)
                size += len(block)
                moved(len(block))
    except OSError as error:
        raise damaged(path, str(error.strerror)) from error
    if size != part.size:
        raise damaged(path, f"it has {size} bytes, {part.size} were signed")
    if digest.hexdigest() != part.sha256:
        raise damaged(path, "its digest is not the one that was signed")


def damaged(path: Path, why: str) -> TrustError:
    """Return the error for a part that is not as it was signed."""
    return TrustError(
        f"{path} is damaged: {why}",
        code=DAMAGED,
        hint="use another backup; `bastide backup list` shows what there is",
    )
