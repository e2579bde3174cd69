"""Signs and checks what a site says of its isolation, with the key of its receipts."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bastide.schema.isolation_report import CONTEXT, IsolationReport, IsolationStatement
from bastide.schema.receipt import decode64, encode64

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey


def sign_isolation(statement: IsolationStatement, key: Ed25519PrivateKey) -> IsolationReport:
    """Return the signed report.

    Args:
        statement: What was seen.
        key: The site's receipt key; what it signs here cannot be taken for a receipt.
    """
    return IsolationReport(
        statement=statement,
        key=encode64(key.public_key().public_bytes_raw()),
        signature=encode64(key.sign(CONTEXT + statement.canonical())),
    )


def is_signed(report: IsolationReport) -> bool:
    """Return whether the report is as the holder of its key signed it."""
    from cryptography.exceptions import InvalidSignature  # noqa: PLC0415 - slow to load
    from cryptography.hazmat.primitives.asymmetric import ed25519  # noqa: PLC0415

    try:
        key = ed25519.Ed25519PublicKey.from_public_bytes(decode64(report.key))
        key.verify(report.signature_bytes, report.signed)
    except (InvalidSignature, ValueError):
        return False
    return True
