"""One TUF metadata file: read strictly, its signatures counted; pure.

python-tuf ignores what it does not need: spaces, unknown members, superfluous signatures. Here
every byte of a file must be accounted for, so that a damaged or tampered file never passes.

This module loads tuf, which takes 0.15 s: import it inside the functions that verify or sign.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any, TypeVar

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_pem_public_key,
)
from securesystemslib.formats import encode_canonical
from securesystemslib.signer import Key, SSlibKey
from tuf.api.metadata import Metadata, Root, Snapshot, Targets, Timestamp

from bastide.errors import TrustError
from bastide.trust.codes import BAD_METADATA, BAD_SIGNATURE, TOO_MUCH

T = TypeVar("T", Root, Timestamp, Snapshot, Targets)
ROLES = ("root", "targets", "snapshot", "timestamp")
# Bytes that are read of each role at most (TUF 5.1.2): python-tuf's own client has the same.
LIMITS = {"root": 512_000, "timestamp": 16_384, "snapshot": 2_000_000, "targets": 5_000_000}
SCHEMES = {("ed25519", "ed25519"), ("ecdsa", "ecdsa-sha2-nistp256")}
HEX = re.compile(r"(?:[0-9a-f]{2})+")
FIELD = "bastide"  # our own signed members stand under this name
AGAIN = "copy the bundle's metadata folder again from the publisher"


def load(kind: type[T], data: bytes, name: str) -> Metadata[T]:
    """Return the metadata of one role, if ``data`` spells it in exactly the publisher's way.

    Args:
        kind: ``Root``, ``Timestamp``, ``Snapshot`` or ``Targets``.
        data: The file's bytes.
        name: Its path, for messages.

    Raises:
        TrustError: It is too long, no such metadata, or spelt otherwise.
    """
    require_size(kind.type, data, name)
    try:
        metadata: Metadata[T] = Metadata.from_bytes(data)
        same = metadata.to_bytes() == data
        encode_canonical(metadata.signed.to_dict())
    except Exception as error:  # tuf lets out whatever a malformed document provokes
        raise _bad(name, "cannot be read as TUF metadata") from error
    if metadata.signed.type != kind.type:
        raise _bad(name, f"is of the role {metadata.signed.type}, not {kind.type}")
    # Hex may be spelt in several ways that all verify; the publisher's is lower case.
    same = same and all(HEX.fullmatch(each.signature) for each in metadata.signatures.values())
    if not same or metadata.unrecognized_fields or type(metadata.signed.version) is not int:
        raise _bad(name, "was changed after it was signed: its spelling is not the publisher's")
    return metadata


def require_size(role: str, data: bytes, name: str) -> None:
    """Return if a role's file is not larger than such files are.

    Raises:
        TrustError: It is larger (TUF: endless data attack).
    """
    if len(data) > LIMITS[role]:
        raise TrustError(
            f"{name} has more than {LIMITS[role]} bytes; no {role} metadata is that long",
            code=TOO_MUCH,
            hint=AGAIN,
        )


def load_root(data: bytes, name: str) -> Metadata[Root]:
    """Return a root whose keys are of the allowed kinds and each listed once.

    Raises:
        TrustError: It cannot be read or breaks these rules.
    """
    metadata = load(Root, data, name)
    seen: dict[bytes, str] = {}
    for keyid, key in metadata.signed.keys.items():
        content = public_bytes(key, name)
        if not isinstance(key, SSlibKey) or keyid != key_id(key):
            raise _bad(name, f"names a key {keyid[:16]!a} that is not that key's digest")
        if content in seen:
            # One key under two names would count twice toward a threshold.
            raise _bad(name, f"lists one key under two names: {keyid[:8]} and {seen[content][:8]}")
        seen[content] = keyid
    return metadata


def key_id(key: Key) -> str:
    """Return a public key's TUF key id: SHA-256 of its canonical JSON."""
    plain = {"keytype": key.keytype, "scheme": key.scheme, "keyval": key.keyval}
    return hashlib.sha256(_canonical(plain)).hexdigest()


def public_bytes(key: Key, name: str) -> bytes:
    """Return the bare point of a public key, whatever its spelling.

    Raises:
        TrustError: Its kind is not allowed, or it is no key.
    """
    if (key.keytype, key.scheme) not in SCHEMES:
        raise _bad(name, f"has a key of the kind {key.keytype!a}/{key.scheme!a}")
    text = key.keyval["public"]
    try:
        if key.keytype == "ed25519":
            return Ed25519PublicKey.from_public_bytes(bytes.fromhex(text)).public_bytes_raw()
        return load_pem_public_key(text.encode()).public_bytes(
            Encoding.X962, PublicFormat.UncompressedPoint
        )
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise _bad(name, "has a public key that cannot be read") from error


def require_signed(metadata: Metadata[T], delegators: Iterable[Root], name: str) -> tuple[str, ...]:
    """Return the ids of the keys that signed, if that satisfies every delegator.

    Args:
        metadata: What must be signed.
        delegators: The roots whose threshold must be met: for a root the one before and itself.
        name: Its path, for messages.

    Raises:
        TrustError: Too few valid signatures by different keys of the role, or one that is wrong.
    """
    role = metadata.signed.type
    signers: set[str] = set()
    for delegator in delegators:
        result = delegator.get_verification_result(role, metadata.signed_bytes, metadata.signatures)
        if not result.verified:
            raise TrustError(
                f"{name} has {len(result.signed)} valid signatures of its {len(result.signed)} "
                f"+ {len(result.unsigned)} {role} keys, {result.threshold} are needed "
                f"(root {delegator.version})",
                code=BAD_SIGNATURE,
                hint="do not use this medium; ask the publisher for one with the right signatures",
            )
        signers |= result.signed.keys()
    wrong = sorted(set(metadata.signatures) - signers)
    if wrong:
        raise TrustError(
            f"{name} carries a signature that is wrong or of an unknown key: {wrong[0][:16]!a}",
            code=BAD_SIGNATURE,
            hint=AGAIN,
        )
    return tuple(sorted(signers))


def fingerprint_of(root: Root) -> str:
    """Return a root's fingerprint: SHA-256 of what its signatures cover, canonical JSON."""
    return hashlib.sha256(_canonical(root.to_dict())).hexdigest()


def extra(signed: Root | Timestamp | Snapshot | Targets) -> dict[str, Any]:
    """Return our own signed members of a metadata file."""
    found = signed.unrecognized_fields.get(FIELD)
    return found if isinstance(found, dict) else {}


def signed_at(timestamp: Timestamp) -> datetime | None:
    """Return when the publisher says that it signed, by its clock; None if it does not say."""
    try:
        return datetime.strptime(str(extra(timestamp).get("signed")), "%Y-%m-%dT%H:%M:%SZ").replace(
            tzinfo=UTC
        )
    except ValueError:
        return None


def _canonical(plain: dict[str, Any]) -> bytes:
    text = encode_canonical(plain)
    if not isinstance(text, str):
        raise TypeError("encode_canonical returns the text if it has no output function")
    return text.encode()


def _bad(name: str, what: str) -> TrustError:
    return TrustError(f"{name} {what}", code=BAD_METADATA, hint=AGAIN)
