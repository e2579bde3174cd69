"""Reads the vector data of a backup to its end and compares every file with its stamp; no host."""

from __future__ import annotations

import hashlib
import os
import tarfile
import threading
from collections.abc import Callable
from pathlib import PurePosixPath
from typing import IO

from bastide.backup.codes import DAMAGED
from bastide.backup.keys import RecoveryKey
from bastide.backup.opening import Opened
from bastide.backup.sealing import BLOCK, unseal
from bastide.errors import TrustError
from bastide.schema.backup_archive import data_part

_ZEROS = bytes(BLOCK)


def prove_data(
    opened: Opened, host: str, key: RecoveryKey, moved: Callable[[int], None] = lambda _: None
) -> int:
    """Compare the data of a host with its stamp; return how many files it has.

    Args:
        opened: The backup.
        host: The host.
        key: What opens it.
        moved: Told of sealed bytes as they pass.

    Raises:
        TrustError: A file is missing, too many, or other than when it was saved.
    """
    found = _read(opened, host, key, moved)
    wanted = opened.contents.data[host].files
    other = sorted(name for name in {*wanted, *found} if wanted.get(name) != found.get(name))
    if other:
        raise TrustError(
            f"{opened.folder.part(data_part(host))}: {len(other)} files are not as they were saved,"
            f" such as {other[0]}",
            code=DAMAGED,
            hint="use another backup",
        )
    return len(found)


def _read(
    opened: Opened, host: str, key: RecoveryKey, moved: Callable[[int], None]
) -> dict[str, str]:
    name = data_part(host)
    part = next(each for each in opened.header.parts if each.name == name)
    reading, writing = os.pipe()
    failed: list[BaseException] = []

    def work() -> None:
        try:
            with os.fdopen(writing, "wb") as stream:
                unseal(opened.folder.part(name), part, key, stream, moved)
        except BaseException as error:  # noqa: BLE001 - raised again by who waits for it
            failed.append(error)

    worker = threading.Thread(target=work, name="proof", daemon=True)
    worker.start()
    try:
        with os.fdopen(reading, "rb") as stream:
            digests = _digests(stream)
            while stream.read(BLOCK):  # what tar leaves at the end
                pass
    except tarfile.TarError as error:
        worker.join()
        raise _first(failed) or TrustError(
            f"{opened.folder.part(name)} is damaged: {error}", code=DAMAGED
        ) from error
    worker.join()
    if failed:
        raise failed[0]
    return digests


def _first(failed: list[BaseException]) -> BaseException | None:
    return next((each for each in failed if not isinstance(each, BrokenPipeError)), None)


def _digests(stream: IO[bytes]) -> dict[str, str]:
    found = {}
    with tarfile.open(fileobj=stream, mode="r|") as tar:
        for member in tar:
            content = tar.extractfile(member)
            if content is not None:
                path = PurePosixPath(member.name).relative_to("storage")
                found[str(path)] = digest_of(content, member.size)
    return found


def digest_of(content: IO[bytes], size: int) -> str:
    """Return a file's digest as the host agent makes it: of the blocks that are not zeros."""
    digest = hashlib.sha256()
    offset = 0
    while block := content.read(BLOCK):
        if block != _ZEROS[: len(block)]:
            digest.update(offset.to_bytes(8, "big"))
            digest.update(block)
        offset += len(block)
    digest.update(size.to_bytes(8, "big"))
    return digest.hexdigest()
