"""What the trust commands share: the trust folder, its passphrase, the site's state."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from bastide.errors import TrustError
from bastide.layout import Home
from bastide.trust.codes import PASSPHRASE

if TYPE_CHECKING:
    from bastide.trust.publisher import Publisher
    from bastide.trust.rootkeys import Signers

VARIABLE = "BASTIDE_TRUST_PASSPHRASE"
MAX_METADATA = 5_000_000  # bytes; no metadata file is longer


@dataclass
class Secret:
    """Where the passphrase of a trust folder comes from; never an argument. It is asked once.

    Args:
        file: ``--passphrase-file``.
        answer: What was typed.
    """

    file: Path | None
    answer: str | None = field(default=None, repr=False)

    def read(self, publisher: Publisher, *, new: bool = False) -> str:
        """Return the passphrase: from the file, the variable, the folder's own, or a prompt.

        Raises:
            TrustError: None of them can give it.
        """
        if self.file is not None:
            return _read(self.file)
        if VARIABLE in os.environ:
            return os.environ[VARIABLE]
        if publisher.passphrase_file.is_file():  # a development folder
            return _read(publisher.passphrase_file)
        if not sys.stdin.isatty():
            raise TrustError(
                f"the passphrase of {publisher.folder} is needed, and there is no terminal to ask",
                code=PASSPHRASE,
                hint=f"give --passphrase-file FILE, or set {VARIABLE}",
            )
        if self.answer is None:
            text = f"Passphrase of {publisher.folder}"
            asked = click.prompt(text, hide_input=True, confirmation_prompt=new, err=True)
            self.answer = str(asked)
        return self.answer


def _read(path: Path) -> str:
    try:
        lines = path.read_text().splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise TrustError(
            f"the passphrase file {path} cannot be read",
            code=PASSPHRASE,
            hint="name the right file; its first line is the passphrase",
        ) from error
    return lines[0] if lines else ""


def unlock(publisher: Publisher, secret: Secret) -> Signers:
    """Return the signers of this machine's private keys; asks for no passphrase if it has none.

    Raises:
        TrustError: The passphrase is missing or wrong.
    """
    if not any(publisher.has_private(keyid) for keyid in publisher.public_keys()):
        return {}
    return publisher.signers(secret.read(publisher))


def open_publisher(folder: Path | None) -> Publisher:
    """Return the trust folder that was named, or that of the home."""
    from bastide.trust.publisher import Publisher  # noqa: PLC0415 - loads tuf

    return Publisher(folder or Home.default().publisher)


def trust_option(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add ``--trust`` to a command, as ``trust_dir``."""
    return click.option(
        "--trust",
        "trust_dir",
        metavar="DIR",
        type=click.Path(path_type=Path, file_okay=False),
        help="The publisher's trust folder; $BASTIDE_HOME/publisher unless said otherwise.",
    )(command)


def passphrase_option(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add ``--passphrase-file`` to a command."""
    return click.option(
        "--passphrase-file",
        metavar="FILE",
        type=click.Path(path_type=Path, dir_okay=False),
        help=f"File whose first line opens the private keys; else ${VARIABLE}, or a prompt.",
    )(command)


def reader(bundle: Path) -> Callable[[str], bytes | None]:
    """Return what reads a bundle's metadata files: plain files only, of bounded size."""

    def read(name: str) -> bytes | None:
        try:
            descriptor = os.open(bundle / name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
            with os.fdopen(descriptor, "rb") as stream:
                return stream.read(MAX_METADATA + 1)
        except OSError:
            return None

    return read
