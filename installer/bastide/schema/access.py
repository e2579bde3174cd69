"""``access`` in ``site.yaml``: how much of the gateway each API key may use."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

from pydantic import Field

from bastide.schema.base import Value

Count = Annotated[int, Field(ge=0, le=10**12)]


class Role(StrEnum):
    """What a key may do; the whole table is in ``docs/gateway.md``."""

    ADMIN = "admin"
    USER = "user"
    READER = "reader"
    MONITOR = "monitor"


class Limits(Value):
    """How much one key may use; 0 means without limit."""

    requests_per_minute: Count = Field(
        default=0, description="Requests below /v1/ in one minute of the clock; 0: no limit."
    )
    vectordb_requests_per_minute: Count = Field(
        default=0, description="Requests below /vectordb/ in one minute of the clock; 0: no limit."
    )
    concurrent_requests: Count = Field(
        default=0, description="Model requests of one key at once, waiting included; 0: no limit."
    )
    tokens_per_day: Count = Field(
        default=0, description="Prompt and completion tokens in one day, UTC; 0: no limit."
    )


class Access(Value):
    """Who may use how much of the gateway. Keys themselves: ``bastide keys``."""

    limits: Limits = Field(
        default=Limits(), description="What holds for keys that have no limits of their own."
    )
    readers_ask_models: bool = Field(
        default=True,
        description="Whether keys with the role reader may use chat, completions and embeddings, "
        "as the read-only key of earlier versions could.",
    )
    connections_per_address: Count = Field(
        default=0, description="Connections from one client address at once; 0: no limit."
    )
    body_seconds: int = Field(
        default=10,
        ge=1,
        le=600,
        description="How long a client may take to send a model request, in s; then 408.",
    )
    silence_seconds: int = Field(
        default=600,
        ge=10,
        le=86400,
        description="How long client or server may say nothing before they are cut off, in s.",
    )


RECOMMENDED = Access(
    limits=Limits(
        requests_per_minute=600,
        vectordb_requests_per_minute=6000,
        concurrent_requests=32,
        tokens_per_day=5_000_000,
    ),
    readers_ask_models=False,
    connections_per_address=512,
)
