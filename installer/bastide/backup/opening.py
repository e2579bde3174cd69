"""Opens a backup: header, signer, parts, contents; in this order, and nothing before its turn."""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from bastide.backup import archive
from bastide.backup.codes import DAMAGED, OTHER_FORMAT
from bastide.backup.keys import RecoveryKey
from bastide.backup.sealing import unseal
from bastide.errors import BastideError, TrustError
from bastide.layout import BackupFolder, Home
from bastide.progress import Progress
from bastide.schema.backup_archive import (
    CONTENTS,
    CONTROL,
    BackupContents,
    BackupHeader,
    data_part,
)
from bastide.store.receipt import receipt_key


@dataclass(frozen=True)
class Opened:
    """A backup that can be believed.

    Args:
        folder: Where it lies.
        header: Its header.
        signer: Where the key that signed it is known from.
        contents: What it holds.
    """

    folder: BackupFolder
    header: BackupHeader
    signer: str
    contents: BackupContents


def known_signers(home: Home, key: RecoveryKey | None, given: str) -> dict[str, str]:
    """Return the public keys that may have signed a site's backups, by where they are known from.

    Args:
        home: This machine's state: its own receipt key, if it has one.
        key: The recovery key, whose file may name the site's.
        given: What the operator says; empty if nothing.
    """
    own = archive.public_text(receipt_key(home.receipt_key)) if home.receipt_key.exists() else ""
    named = key.signer if key else ""
    return {"--signer": given, "the recovery key's file": named, "this control node": own}


def check_backup(
    folder: BackupFolder, signers: dict[str, str], progress: Progress
) -> tuple[BackupHeader, str]:
    """Check all that can be checked without the recovery key; return header and signer.

    Raises:
        ConfigError: It is no backup.
        TrustError: It is damaged, incomplete, or not the site's.
    """
    found = archive.read_header(folder)
    signer = archive.require_signer(folder, found, signers)
    with progress.task("check digests", total=found.header.size) as task:
        archive.check_parts(folder, found.header, task.advance)
    return found.header, signer


def open_backup(
    path: Path, key: RecoveryKey, signers: dict[str, str], progress: Progress
) -> Opened:
    """Check a backup whole, and open its contents.

    Raises:
        ConfigError: It is no backup.
        TrustError: It is damaged, not the site's, not sealed to this key, or of another format.
    """
    folder = BackupFolder(path.absolute())
    header, signer = check_backup(folder, signers, progress)
    part = next((each for each in header.parts if each.name == CONTENTS), None)
    if part is None:
        raise _damaged(folder, "it has no contents")
    plain = io.BytesIO()
    unseal(folder.part(CONTENTS), part, key, plain)
    try:
        contents = BackupContents.model_validate_json(plain.getvalue())
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        raise TrustError(
            f"{folder.root}: its contents are of another format: {first['loc']}: {first['msg']}",
            code=OTHER_FORMAT,
            hint=f"restore it with the version of Bastide that made it: {header.creator}",
        ) from error
    wanted = {CONTENTS, CONTROL, *(data_part(host) for host in contents.data)}
    if wanted != {each.name for each in header.parts} or contents.site != header.site:
        raise _damaged(folder, "header and contents do not fit")
    return Opened(folder, header, signer, contents)


def _damaged(folder: BackupFolder, why: str) -> BastideError:
    return TrustError(f"{folder.root} is damaged: {why}", code=DAMAGED, hint="use another backup")
