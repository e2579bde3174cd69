"""What a backup says of itself: a signed header in the clear, and contents that are sealed.

The header tells as little as listing, checking and retention need. Names of collections, points
and paths stand in the contents, which only the recovery key opens.
"""

from __future__ import annotations

from typing import Any, Literal

from pydantic import AwareDatetime, Field

from bastide.schema.base import Name, Sha256, Size, Value
from bastide.schema.receipt import Base64

CONTEXT = b"bastide.backup/1\n"  # what is signed begins so, lest it be taken for a receipt
CONTENTS = "contents.json.age"
CONTROL = "control.tar.age"


def data_part(host: str) -> str:
    """Return the name of the part with the vector data of a host."""
    return f"data-{host}.tar.age"


class SealedPart(Value):
    """One encrypted file of a backup."""

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9._-]{0,120}\.age$")
    size: Size
    sha256: Sha256 = Field(description="Of the encrypted bytes, so that it is checked without key.")


class BackupHeader(Value):
    """What anybody may read of a backup."""

    format: Literal["bastide.backup/1"] = "bastide.backup/1"
    id: str = Field(pattern=r"^[a-z0-9][a-z0-9._-]{0,63}-[0-9]{8}T[0-9]{6}Z$")
    site: Name
    created: AwareDatetime = Field(description="By the control node's clock.")
    creator: str = Field(description="Version of Bastide that made it.")
    recipients: tuple[str, ...] = Field(
        description="Public halves of the recovery keys that open it (age).", min_length=1
    )
    parts: tuple[SealedPart, ...] = Field(min_length=2)

    @property
    def size(self) -> int:
        """Bytes of all parts together."""
        return sum(part.size for part in self.parts)


class SignedHeader(Value):
    """``backup.json``: the header, and the signature of the site's receipt key over it."""

    header: BackupHeader
    key: Base64 = Field(description="The site's public Ed25519 receipt key.")
    signature: Base64 = Field(description="Over 'bastide.backup/1', a line feed, the header.")

    @property
    def signed(self) -> bytes:
        """The bytes that the signature covers."""
        return CONTEXT + self.header.canonical()


class ControlFile(Value):
    """One file of the control node: ``site/…``, ``home/…`` or ``ssh/…``."""

    path: str = Field(pattern=r"^(site|home|ssh)/[^\x00\n]+$")
    size: Size
    sha256: Sha256
    mode: int = Field(ge=0, le=0o777)


class NeededBundle(Value):
    """A bundle that a restore needs in the store; its bytes are not part of a backup."""

    bundle: Sha256
    release: Name
    target: Name


class DataStamp(Value):
    """What the host's agent wrote down of a copy of the vector data, as it was taken."""

    format: str
    id: str
    generation: int | None
    created: str = Field(description="By the host's clock, RFC 3339.")
    creator: str = Field(description="Version of the vector DB service; empty if it did not run.")
    edge: str = Field(description="Version of its engine; empty if it did not run.")
    asked: bool = Field(description="Whether the service ran, so that counts and probes are known.")
    points: dict[str, int] = Field(description="Points by collection.")
    probes: dict[str, list[dict[str, Any]]] = Field(
        description="Nearest neighbours of a few points of each collection, by exact search."
    )
    size: Size = Field(description="What the copy takes on disk.")
    files: dict[str, Sha256] = Field(
        description="Every file's digest: SHA-256 of its blocks that are not zeros, each after its "
        "offset, and of its size."
    )


class BackupContents(Value):
    """Everything that a restore is proved against."""

    format: Literal["bastide.backup-contents/1"] = "bastide.backup-contents/1"
    site: Name
    release: str = Field(description="What site.yaml asks for.")
    target: Name
    bundles: tuple[NeededBundle, ...] = Field(description="The newest import last.")
    files: tuple[ControlFile, ...]
    data: dict[Name, DataStamp] = Field(description="By host.")
