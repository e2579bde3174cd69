"""The receipt: a signed statement of what a site holds, and its compact form for a QR code."""

from __future__ import annotations

import base64
import binascii
import hashlib
import struct
from datetime import UTC, datetime
from typing import Annotated, Literal

from pydantic import AwareDatetime, Field, ValidationError

from bastide.schema.base import Name, Sha256, Size, Value

FULL_CONTEXT = b"bastide.receipt/1\n"  # what is signed begins so, lest it be taken for another
COMPACT_CONTEXT = b"bastide.receipt-qr/1\n"
COMPACT_PREFIX = "BASTIDE-RECEIPT-1:"
COMPACT_BUNDLES = 24  # at most; a code of more modules is hard to read from a screen
KEY_BYTES, SIGNATURE_BYTES, DIGEST_BYTES = 32, 64, 32
_HEAD = struct.Struct(">QIIB")  # seconds since 1970, imports, trusted root or 0, length of the name

Base64 = Annotated[str, Field(pattern=r"^[A-Za-z0-9+/]{40,88}={0,2}$")]


class HeldBundle(Value):
    """A bundle of which the site holds every byte."""

    bundle: Sha256
    release: Name
    target: Name
    sequence: int = Field(description="Its place in the order of imports.", ge=1)


class HeldBlob(Value):
    """A file that the site holds, by its digest."""

    sha256: Sha256
    size: Size


class Statement(Value):
    """What a site says of itself."""

    site: Name
    issued_at: AwareDatetime = Field(description="By the control node's own clock, right or wrong.")
    clock: Literal["control-node"] = "control-node"
    time_floor: AwareDatetime | None = Field(
        default=None,
        description="It was later than this: signed metadata that was accepted says so.",
    )
    trusted_root: int | None = Field(
        default=None, description="Version of the root that the site trusts.", ge=1
    )
    imports: int = Field(
        description="How many imports there have been: the higher, the newer, whatever clocks say.",
        ge=0,
    )
    bundles: tuple[HeldBundle, ...] = Field(description="The newest import last.")
    blobs: tuple[HeldBlob, ...] = Field(description="Sorted by digest.")


class Receipt(Value):
    """A statement, and the signature of the site's receipt key over its canonical JSON."""

    format: Literal["bastide.receipt/1"] = "bastide.receipt/1"
    statement: Statement
    key: Base64 = Field(description="The site's public Ed25519 receipt key.")
    signature: Base64 = Field(description="Over 'bastide.receipt/1', a line feed, the statement.")

    @property
    def signed(self) -> bytes:
        """The bytes that the signature covers."""
        return FULL_CONTEXT + self.statement.canonical()

    @property
    def signature_bytes(self) -> bytes:
        """The signature."""
        return decode64(self.signature)

    @property
    def key_bytes(self) -> bytes:
        """The public key."""
        return decode64(self.key)


class CompactReceipt(Value):
    """What fits a QR code: bundles by digest; who knows those bundles knows the files."""

    site: Name
    issued_at: AwareDatetime
    trusted_root: int | None = None
    imports: int
    bundles: tuple[Sha256, ...] = Field(description="The newest import last.")
    key: Base64
    signature: Base64

    @property
    def signed(self) -> bytes:
        """The bytes that the signature covers."""
        name = self.site.encode()
        seconds = int(self.issued_at.timestamp())
        head = _HEAD.pack(max(seconds, 0), self.imports, self.trusted_root or 0, len(name))
        digests = b"".join(bytes.fromhex(digest) for digest in self.bundles)
        return COMPACT_CONTEXT + head + name + self.key_bytes + digests

    @property
    def signature_bytes(self) -> bytes:
        """The signature."""
        return decode64(self.signature)

    @property
    def key_bytes(self) -> bytes:
        """The public key."""
        return decode64(self.key)

    def text(self) -> str:
        """Return it as the text of a QR code, in the letters that such a code holds best."""
        content = self.signed.removeprefix(COMPACT_CONTEXT) + self.signature_bytes
        return COMPACT_PREFIX + base64.b32encode(content).decode().rstrip("=")


AnyReceipt = Receipt | CompactReceipt


def bundle_digests(receipt: AnyReceipt) -> tuple[str, ...]:
    """Return the digests of the bundles that a receipt names, the newest import last."""
    if isinstance(receipt, CompactReceipt):
        return receipt.bundles
    return tuple(each.bundle for each in receipt.statement.bundles)


def fingerprint(key: bytes) -> str:
    """Return a receipt key's fingerprint: SHA-256 of its 32 bytes, in hex."""
    return hashlib.sha256(key).hexdigest()


def parse_compact(text: str) -> CompactReceipt:
    """Return the receipt that the text of a QR code spells.

    Raises:
        ValueError: It spells none.
    """
    body = "".join(text.split()).removeprefix(COMPACT_PREFIX)
    try:
        content = base64.b32decode(body + "=" * (-len(body) % 8))
        seconds, imports, root, length = _HEAD.unpack_from(content)
        name = content[_HEAD.size : _HEAD.size + length].decode("ascii")
        issued_at = datetime.fromtimestamp(seconds, UTC)
    except (binascii.Error, struct.error, UnicodeDecodeError, OverflowError, OSError) as error:
        raise ValueError("the text is cut off or misread") from error
    rest = content[_HEAD.size + length :]
    key, digests, signature = (
        rest[:KEY_BYTES],
        rest[KEY_BYTES:-SIGNATURE_BYTES],
        rest[-SIGNATURE_BYTES:],
    )
    if len(rest) < KEY_BYTES + SIGNATURE_BYTES or len(digests) % DIGEST_BYTES:
        raise ValueError("the text is cut off or misread")
    try:
        return CompactReceipt(
            site=name,
            issued_at=issued_at,
            trusted_root=root or None,
            imports=imports,
            bundles=tuple(
                digests[n : n + DIGEST_BYTES].hex() for n in range(0, len(digests), DIGEST_BYTES)
            ),
            key=encode64(key),
            signature=encode64(signature),
        )
    except ValidationError as error:
        raise ValueError("the text is misread") from error


def encode64(content: bytes) -> str:
    """Return ``content`` in base 64."""
    return base64.b64encode(content).decode()


def decode64(text: str) -> bytes:
    """Return what a field in base 64 spells; nonsense gives bytes that no signature fits."""
    try:
        return base64.b64decode(text)
    except binascii.Error:
        return b""
