"""Receipts: the site says what it holds and signs it; whoever gets one checks the signature.

The key signs receipts, and backups under a context of their own. A forged receipt could at worst
make the builder send a delta that this site cannot use, or more than it needs: what a delta yields
is believed only by the publisher's signatures.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import ValidationError

from bastide.errors import BastideError, BundleError, TrustError
from bastide.host.files import write_atomic
from bastide.schema.receipt import (
    COMPACT_BUNDLES,
    COMPACT_PREFIX,
    FULL_CONTEXT,
    AnyReceipt,
    CompactReceipt,
    HeldBlob,
    HeldBundle,
    Receipt,
    Statement,
    encode64,
    parse_compact,
)
from bastide.store.local import Store

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

UNREADABLE = "BAS-3060"
BAD_SIGNATURE = "BAS-4060"
KEY_UNUSABLE = "BAS-1004"
RECEIPT_LIMIT = 16 * 2**20  # bytes; a site of 100,000 blobs stays below


def receipt_key(path: Path) -> Ed25519PrivateKey:
    """Return the site's receipt key, made on first use with mode 0600.

    Raises:
        BastideError: It cannot be read or written.
    """
    from cryptography.hazmat.primitives import serialization  # noqa: PLC0415 - slow to load
    from cryptography.hazmat.primitives.asymmetric import ed25519  # noqa: PLC0415

    try:
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            made = ed25519.Ed25519PrivateKey.generate().private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.PKCS8,
                serialization.NoEncryption(),
            )
            write_atomic(path, made, mode=0o600)
        key = serialization.load_pem_private_key(path.read_bytes(), password=None)
        if isinstance(key, ed25519.Ed25519PrivateKey):
            return key
        why = "it is no Ed25519 key"
    except (OSError, ValueError) as error:
        why = str(error)
    raise BastideError(
        f"the site's receipt key {path} cannot be used: {why}",
        code=KEY_UNUSABLE,
        hint="restore it from a backup, or move it away: a new one is made, and the builder must "
        "be told of it (--receipt-key)",
    )


def state_holdings(store: Store, statement: Statement) -> Statement:
    """Return ``statement`` with the bundles and blobs that the store holds.

    Raises:
        BundleError: The store's records are damaged.
    """
    bundles = store.bundles()
    held = tuple(
        HeldBundle(
            bundle=each.digest,
            release=each.root.release,
            target=each.root.target,
            sequence=each.sequence,
        )
        for each in bundles
    )
    newest = bundles[-1].sequence if bundles else 0
    blobs = tuple(HeldBlob(sha256=name, size=size) for name, size in sorted(_blobs(store)))
    return statement.replace(bundles=held, blobs=blobs, imports=newest)


def sign_receipt(statement: Statement, key: Ed25519PrivateKey) -> Receipt:
    """Return the signed receipt."""
    return Receipt(
        statement=statement,
        key=_public(key),
        signature=encode64(key.sign(FULL_CONTEXT + statement.canonical())),
    )


def sign_compact(statement: Statement, key: Ed25519PrivateKey) -> CompactReceipt:
    """Return the signed receipt that fits a QR code; of many bundles it names the newest."""
    unsigned = CompactReceipt(
        site=statement.site,
        issued_at=statement.issued_at,
        trusted_root=statement.trusted_root,
        imports=statement.imports,
        bundles=tuple(each.bundle for each in statement.bundles[-COMPACT_BUNDLES:]),
        key=_public(key),
        signature=encode64(bytes(64)),
    )
    return unsigned.replace(signature=encode64(key.sign(unsigned.signed)))


def load_receipt(path: Path) -> AnyReceipt:
    """Return the receipt in a file, or the text of a QR code in one, with a right signature.

    Raises:
        BundleError: The file holds no receipt.
        TrustError: Its signature is wrong: it was changed or misread.
    """
    try:
        with path.open("rb") as stream:
            content = stream.read(RECEIPT_LIMIT + 1)
    except OSError as error:
        raise _unreadable(path, str(error.strerror)) from error
    if len(content) > RECEIPT_LIMIT:
        raise _unreadable(path, f"it has more than {RECEIPT_LIMIT} bytes")
    receipt = _parse(path, content)
    _check(path, receipt)
    return receipt


def _parse(path: Path, content: bytes) -> AnyReceipt:
    try:
        if content.lstrip().startswith(COMPACT_PREFIX.encode()):
            return parse_compact(content.decode("ascii"))
        return Receipt.model_validate_json(content)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        raise _unreadable(path, f"{where}: {first['msg']}"[:200]) from error
    except ValueError as error:
        raise _unreadable(path, str(error)[:200]) from error


def _check(path: Path, receipt: AnyReceipt) -> None:
    from cryptography.exceptions import InvalidSignature  # noqa: PLC0415 - slow to load
    from cryptography.hazmat.primitives.asymmetric import ed25519  # noqa: PLC0415

    try:
        key = ed25519.Ed25519PublicKey.from_public_bytes(receipt.key_bytes)
        key.verify(receipt.signature_bytes, receipt.signed)
    except (InvalidSignature, ValueError) as error:
        raise TrustError(
            f"the receipt {path} is not as the site signed it: the signature does not fit",
            code=BAD_SIGNATURE,
            hint="ask the site for it again: bastide receipt export --out FILE",
        ) from error


def _unreadable(path: Path, why: str) -> BundleError:
    return BundleError(
        f"{path} holds no receipt: {why}",
        code=UNREADABLE,
        hint="name the file that `bastide receipt export` wrote, or one with a QR code's text",
    )


def _public(key: Ed25519PrivateKey) -> str:
    return encode64(key.public_key().public_bytes_raw())


def _blobs(store: Store) -> list[tuple[str, int]]:
    """Return digest and size of every blob: a blob is renamed to its name once it is verified."""
    return [
        (name, (Path(folder) / name).lstat().st_size)
        for folder, _, names in os.walk(store.root / "sha256")
        for name in names
        if re.fullmatch("[0-9a-f]{64}", name)
    ]
