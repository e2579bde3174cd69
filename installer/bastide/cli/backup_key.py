"""Options by which commands that open backups get the recovery key."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import click

from bastide.backup.codes import BAD_KEY
from bastide.backup.keys import RecoveryKey, is_sealed, read_recovery_key
from bastide.errors import ConfigError


def key_options(*, required: bool) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Add ``--key``, ``--passphrase-file`` and ``--signer`` to a command.

    Args:
        required: Whether the command can do nothing without the key.
    """
    file = click.Path(path_type=Path, dir_okay=False)

    def decorate(command: Callable[..., Any]) -> Callable[..., Any]:
        command = click.option(
            "--signer", default="", metavar="KEY",
            help="The site's public receipt key, if neither the key's file nor this machine has "
            "it.",
        )(command)  # fmt: skip
        command = click.option(
            "--passphrase-file", type=file,
            help="File with the passphrase of the recovery key; asked for if not given.",
        )(command)  # fmt: skip
        return click.option(
            "--key", "key_file", type=file, required=required,
            help="File with the private half of a recovery key that the backup is sealed to.",
        )(command)  # fmt: skip

    return decorate


def read_key(given: Mapping[str, Any]) -> tuple[RecoveryKey | None, str]:
    """Return the recovery key and ``--signer`` of a command's options; asks for a passphrase.

    Raises:
        ConfigError: The key cannot be used.
    """
    path, signer = given["key_file"], str(given["signer"])
    if path is None:
        return None, signer
    passphrase = ""
    if is_sealed(path):
        passphrase = _passphrase(given["passphrase_file"])
    return read_recovery_key(path, passphrase), signer


def need_key(given: Mapping[str, Any]) -> tuple[RecoveryKey, str]:
    """Return the recovery key and ``--signer`` of a command that needs the key.

    Raises:
        ConfigError: The key is missing or cannot be used.
    """
    key, signer = read_key(given)
    if key is None:
        raise ConfigError("give the recovery key with --key", code=BAD_KEY)
    return key, signer


def _passphrase(path: Path | None) -> str:
    if path is None:
        words: str = click.prompt("Passphrase of the recovery key", hide_input=True, err=True)
        return words
    try:
        return path.read_text().strip()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} cannot be read: {error}", code=BAD_KEY) from error
