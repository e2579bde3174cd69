"""Signing keys: made here, kept encrypted (PKCS#8), opened only to sign."""

from __future__ import annotations

from enum import StrEnum

from cryptography.hazmat.primitives.asymmetric.ec import (
    SECP256R1,
    EllipticCurvePrivateKey,
    generate_private_key,
)
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
    load_pem_private_key,
)
from securesystemslib.signer import CryptoSigner, Key, SSlibKey

from bastide.errors import TrustError
from bastide.trust.codes import PASSPHRASE

OWNER = "bastide-owner"  # a signed member of a public key: whose it is
MIN_PASSPHRASE = 12

PrivateKey = Ed25519PrivateKey | EllipticCurvePrivateKey


class Algorithm(StrEnum):
    """What a key signs with: Ed25519 (RFC 8032), or ECDSA P-256 with SHA-256 for FIPS sites."""

    ED25519 = "ed25519"
    ECDSA_P256 = "ecdsa-p256"


def generate(algorithm: Algorithm, owner: str) -> tuple[PrivateKey, SSlibKey]:
    """Return a new key pair; the public key says whose it is."""
    private: PrivateKey = (
        Ed25519PrivateKey.generate()
        if algorithm is Algorithm.ED25519
        else generate_private_key(SECP256R1())
    )
    public = SSlibKey.from_crypto(private.public_key())
    public.unrecognized_fields[OWNER] = owner
    return private, public


def owner_of(key: Key) -> str:
    """Return whose a public key is, as it says itself."""
    return str(key.unrecognized_fields.get(OWNER, ""))[:80]


def seal(private: PrivateKey, passphrase: str) -> bytes:
    """Return a private key as encrypted PKCS#8 in PEM.

    Raises:
        TrustError: The passphrase is too short.
    """
    if len(passphrase) < MIN_PASSPHRASE:
        raise TrustError(
            f"the passphrase has {len(passphrase)} characters; at least {MIN_PASSPHRASE} are asked",
            code=PASSPHRASE,
            hint="choose a longer one, such as a few words",
        )
    return private.private_bytes(
        Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(passphrase.encode())
    )


def unseal(content: bytes, public: SSlibKey, passphrase: str) -> CryptoSigner:
    """Return the signer of an encrypted private key.

    Raises:
        TrustError: The passphrase is wrong, or the file is damaged or another key's.
    """
    try:
        private = load_pem_private_key(content, passphrase.encode())
        return CryptoSigner(private, public)
    except Exception as error:  # wrong passphrase and damage show as many kinds
        raise TrustError(
            f"the private key {public.keyid[:8]} ({owner_of(public)}) does not open: "
            "wrong passphrase, or the file is damaged",
            code=PASSPHRASE,
            hint="give the passphrase of this machine's trust folder; a damaged key is restored "
            "from a backup, or replaced: bastide trust rotate",
        ) from error
