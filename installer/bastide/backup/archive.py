"""A backup on disk: its signed header is written last, and read first."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import ValidationError

from bastide.backup.codes import BAD_SIGNATURE, DAMAGED, NO_BACKUP, OTHER_FORMAT, UNKNOWN_SIGNER
from bastide.backup.sealing import check_part
from bastide.errors import BastideError, ConfigError, TrustError
from bastide.host.files import fsync_directory, write_atomic
from bastide.layout import BackupFolder
from bastide.schema.backup_archive import BackupHeader, SignedHeader
from bastide.schema.receipt import decode64, encode64

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

FORMAT = "bastide.backup/1"
_LIMIT = 1 << 20  # bytes of a header


def public_text(key: Ed25519PrivateKey) -> str:
    """Return a signing key's public half as text."""
    return encode64(key.public_key().public_bytes_raw())


def sign(header: BackupHeader, key: Ed25519PrivateKey) -> SignedHeader:
    """Return the header with the site's signature over it."""
    empty = SignedHeader(header=header, key=public_text(key), signature=encode64(bytes(64)))
    return empty.replace(signature=encode64(key.sign(empty.signed)))


def publish(partial: BackupFolder, out: Path, header: SignedHeader) -> BackupFolder:
    """Write the header and give the backup its name: from now on it is one."""
    write_atomic(partial.header, header.canonical(), mode=0o600)
    target = BackupFolder(out / header.header.id)
    partial.root.rename(target.root)
    fsync_directory(out)
    return target


def read_header(folder: BackupFolder) -> SignedHeader:
    """Return a backup's header; its signature fits its own key, whosever that is.

    Raises:
        ConfigError: There is no backup.
        TrustError: It is of another format, damaged, or its signature does not fit.
    """
    try:
        with folder.header.open("rb") as stream:
            content = stream.read(_LIMIT)
    except OSError as error:
        raise ConfigError(
            f"{folder.root} is no backup: {folder.header.name}: {error.strerror}",
            code=NO_BACKUP,
            hint="name a folder that `bastide backup list` shows",
        ) from error
    found = _parse(folder, content)
    _check_signature(folder, found)
    return found


def _parse(folder: BackupFolder, content: bytes) -> SignedHeader:
    try:
        said = json.loads(content)["header"]["format"]
    except (ValueError, KeyError, TypeError) as error:
        raise _damaged(folder, "it is no header of a backup") from error
    if said != FORMAT:
        raise TrustError(
            f"{folder.root} has the format {said!r}, this version of Bastide reads {FORMAT}",
            code=OTHER_FORMAT,
            hint="restore it with the version of Bastide that made it",
        )
    try:
        return SignedHeader.model_validate_json(content)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        raise _damaged(folder, ".".join(map(str, first["loc"]))) from error


def _check_signature(folder: BackupFolder, found: SignedHeader) -> None:
    from cryptography.exceptions import InvalidSignature  # noqa: PLC0415 - slow to load
    from cryptography.hazmat.primitives.asymmetric import ed25519  # noqa: PLC0415

    try:
        key = ed25519.Ed25519PublicKey.from_public_bytes(decode64(found.key))
        key.verify(decode64(found.signature), found.signed)
    except (InvalidSignature, ValueError) as error:
        raise TrustError(
            f"{folder.root} is not as the site signed it: the signature does not fit",
            code=BAD_SIGNATURE,
            hint="use another backup; this one was changed",
        ) from error


def _damaged(folder: BackupFolder, why: str) -> TrustError:
    return TrustError(f"{folder.header} is damaged: {why}", code=DAMAGED, hint="use another backup")


def require_signer(folder: BackupFolder, found: SignedHeader, known: dict[str, str]) -> str:
    """Return whose key signed a backup, by which of the known ones.

    Args:
        folder: The backup.
        found: Its header.
        known: Public keys by where they are known from; empty keys are none.

    Raises:
        TrustError: It is nobody's that is known, or nobody is known.
    """
    for where, key in known.items():
        if key and key == found.key:
            return where
    names = ", ".join(where for where, key in known.items() if key) or "none"
    raise TrustError(
        f"{folder.root} is signed by the key {found.key}, which is not the site's (known: {names})",
        code=UNKNOWN_SIGNER,
        hint="if you know from elsewhere that this is your site's key, give --signer KEY",
    )


def check_parts(
    folder: BackupFolder, header: BackupHeader, moved: Callable[[int], None] = lambda _: None
) -> None:
    """Check that a backup has the parts that its header says, whole, and no others.

    Raises:
        TrustError: It does not.
    """
    wanted = {part.name for part in header.parts} | {folder.header.name}
    strange = sorted(path.name for path in folder.root.iterdir() if path.name not in wanted)
    if strange:
        raise _damaged(folder, f"{', '.join(strange[:3])} does not belong to it")
    for part in header.parts:
        check_part(folder.part(part.name), part, moved)


@dataclass(frozen=True)
class Listed:
    """What lies in a folder of backups under one name.

    Args:
        folder: Where.
        header: What it says; None if it cannot be believed.
        error: Why not; None if it can.
    """

    folder: BackupFolder
    header: SignedHeader | None
    error: BastideError | None = None


def list_backups(out: Path) -> tuple[Listed, ...]:
    """Return the backups in a folder, oldest first; those that are damaged with the reason.

    Only headers are read: whether the parts are whole is a question of its own.
    """
    return tuple(_listed(out))


def _listed(out: Path) -> Iterator[Listed]:
    folders = sorted(out.iterdir()) if out.is_dir() else []
    for root in folders:
        folder = BackupFolder(root)
        if root.name.startswith(".") or not root.is_dir() or not folder.header.exists():
            continue
        try:
            yield Listed(folder, read_header(folder))
        except BastideError as error:
            yield Listed(folder, None, error)


def sweep(out: Path) -> tuple[str, ...]:
    """Remove what killed backups left; only under the folder's lock. Return the names."""
    left = [path for path in sorted(out.glob(".partial-*")) if path.is_dir()]
    for path in left:
        shutil.rmtree(path)
    return tuple(path.name for path in left)


def remove(folder: BackupFolder) -> None:
    """Remove a backup; first its header, so that what is left of it is none."""
    folder.header.unlink(missing_ok=True)
    fsync_directory(folder.root)
    shutil.rmtree(folder.root)
