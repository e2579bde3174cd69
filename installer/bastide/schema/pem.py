"""CA certificates as text, in files that people edit."""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import AfterValidator, Field

_BLOCK = re.compile(
    r"\s*-----BEGIN CERTIFICATE-----\n[A-Za-z0-9+/=\n]+-----END CERTIFICATE-----\s*"
)


def _anchors(value: str) -> str:
    if "PRIVATE KEY" in value:
        raise ValueError("has a private key in it: only certificates belong here")
    rest = value.replace("\r\n", "\n")
    while (found := _BLOCK.match(rest)) is not None:
        rest = rest[found.end() :]
    if rest.strip() or not value.strip():
        raise ValueError("should be one or more certificates in PEM, and nothing else")
    return value.replace("\r\n", "\n").strip() + "\n"


# Whether they are certificates of a CA is for those to say who use them.
Anchors = Annotated[str, Field(max_length=65_536), AfterValidator(_anchors)]
