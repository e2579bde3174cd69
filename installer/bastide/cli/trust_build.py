"""Signatures of a bundle that was just built."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from bastide.cli.trust_context import VARIABLE, Secret, open_publisher, unlock
from bastide.errors import TrustError
from bastide.layout import Home

if TYPE_CHECKING:
    from bastide.trust.publisher import Publisher
    from bastide.trust.rootkeys import Signers


@dataclass(frozen=True)
class Signing:
    """What became of a bundle's signatures.

    Args:
        signed: Whether its metadata folder is complete.
        says: The same in words.
    """

    signed: bool
    says: str


@dataclass(frozen=True)
class Prepared:
    """A trust folder whose keys are open, so that nobody is asked after a long build."""

    publisher: Publisher
    signers: Signers


def prepare_signing(trust_dir: Path | None, passphrase_file: Path | None) -> Prepared | None:
    """Return the trust folder with its keys opened; None if none was named and the home has none.

    Raises:
        TrustError: It was named but is none, has no root in force, or does not open.
    """
    if trust_dir is None and not (Home.default().publisher / "settings.json").is_file():
        return None
    publisher = open_publisher(trust_dir)
    publisher.root()
    signers = unlock(publisher, Secret(passphrase_file))
    # Compilers and package tools that the build starts have no business with it.
    os.environ.pop(VARIABLE, None)
    return Prepared(publisher, signers)


def sign_built(prepared: Prepared | None, bundle: Path) -> tuple[Signing, TrustError | None]:
    """Sign a bundle, unless it has its signatures already.

    Returns:
        What became of it, and the error to end with if signatures of others are missing.

    Raises:
        BundleError: Its folder cannot be written.
    """
    if prepared is None:
        how = f"make a trust folder (bastide trust init), then: bastide trust sign {bundle}"
        return Signing(signed=False, says=f"no: {how}"), None
    from bastide.cli.trust_sign import sign_folders  # noqa: PLC0415 - loads tuf
    from bastide.trust.signing import is_attached, is_listed, read_bundle  # noqa: PLC0415

    publisher = prepared.publisher
    with publisher.lock("signing of a build"):
        targets = publisher.targets()
        listed = is_listed(targets.signed if targets else None, read_bundle(bundle))
        if not (listed and is_attached(publisher, bundle)):
            error = sign_folders(publisher, (bundle,), prepared.signers).error
            if error is not None:
                return Signing(signed=False, says="not yet: others must sign as well"), error
        by = f"by {publisher.settings().publisher!a}, root {publisher.root().signed.version}"
        return Signing(signed=True, says=by), None
