"""The lock: a release resolved for a target, with the digest and the origin of every artifact."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from bastide.schema.artifact import Artifact
from bastide.schema.base import Name, Sha256, Size, Value


class Download(Value):
    """The artifact is the file at an address."""

    kind: Literal["download"] = "download"
    url: str


class Container(Value):
    """A file that is fetched only for what it holds or becomes."""

    url: str
    sha256: Sha256
    size: Size


class Member(Value):
    """The artifact is a file inside a fetched archive."""

    kind: Literal["member"] = "member"
    container: Container
    path: tuple[str, ...] = Field(description="Path inside; further entries inside that member.")


class Joined(Value):
    """The artifact is what members of several archives give, one after the other."""

    kind: Literal["joined"] = "joined"
    parts: tuple[Member, ...] = Field(min_length=2)


class Converted(Value):
    """The artifact is made from a member of a fetched archive, always with the same bytes."""

    kind: Literal["converted"] = "converted"
    container: Container
    path: tuple[str, ...]
    recipe: str = Field(description="Name and version of the conversion.")


class Built(Value):
    """The artifact was built on the connected side."""

    kind: Literal["built"] = "built"
    recipe: str = Field(description="Name and version of the build.")
    inputs: tuple[Container, ...] = Field(default=(), description="What it was built from.")
    toolchain: str = Field(default="", description="With what.")


class Inline(Value):
    """The artifact is text that the lock itself carries."""

    kind: Literal["inline"] = "inline"
    text: str


Origin = Annotated[
    Download | Member | Joined | Converted | Built | Inline, Field(discriminator="kind")
]


class LockEntry(Value):
    """One artifact and how to get it again."""

    artifact: Artifact
    origin: Origin


class Lock(Value):
    """Every artifact of a release for one target; equal locks give equal bundles."""

    format: Literal["bastide.lock/1"] = "bastide.lock/1"
    release: Name = Field(description="Name and version, such as starter-2026.11.0.")
    target: Name
    entries: tuple[LockEntry, ...]
