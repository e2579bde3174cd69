"""One client of the gateway and the keys that it has now; never a key itself."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

from pydantic import Field

from bastide.schema.access import Count, Role
from bastide.schema.base import Name, Sha256, Value

Limit = Annotated[Count | None, Field(description="None: what site.yaml says for all keys.")]


class OwnLimits(Value):
    """Limits of one client; where there is none, ``access.limits`` in ``site.yaml`` holds."""

    requests_per_minute: Limit = None
    vectordb_requests_per_minute: Limit = None
    concurrent_requests: Limit = None
    tokens_per_day: Limit = None


UNLIMITED = OwnLimits(
    requests_per_minute=0, vectordb_requests_per_minute=0, concurrent_requests=0, tokens_per_day=0
)


class KeyDigest(Value):
    """What is kept of one key."""

    sha256: Sha256
    created: datetime
    expires: datetime | None = Field(default=None, description="From when on it is refused.")

    @property
    def id(self) -> str:
        """The first digits of the digest, by which logs name the key."""
        return self.sha256[:8]

    def holds(self, now: datetime) -> bool:
        """Whether the gateway accepts it at that time."""
        return self.expires is None or now < self.expires


class ClientKey(Value):
    """A client: a name, what it may do, and its keys, more than one while it changes over."""

    name: Name
    role: Role
    limits: OwnLimits = OwnLimits()
    digests: tuple[KeyDigest, ...] = Field(min_length=1, description="The newest is the last.")
