"""What the vault keeps of certificates beside the site CA, the gateway's and the depot's. Pure."""

from __future__ import annotations

from datetime import datetime
from typing import Literal

from pydantic import Field

from bastide.schema.base import Value


class Leaf(Value):
    """A certificate with its key; ``made`` says when, because its own dates do not."""

    certificate_pem: str
    key_pem: str = Field(repr=False)
    made: datetime


class Authority(Value):
    """A CA of the organisation that signs the gateway's certificate here.

    ``chain_pem`` is the CA's certificate and those above it, without the root; ``anchors_pem`` what
    clients trust.
    """

    chain_pem: str
    key_pem: str = Field(repr=False)


class Asked(Value):
    """Somebody asked for a new certificate and, as the clock here is wrong, maybe said the time."""

    why: str
    at: datetime | None = None


RollStep = Literal["trust", "sign", "forget"]


class Roll(Value):
    """The machines CA is being replaced (ADR 31).

    ``other`` is the CA that machines trust besides the one that signs: the new one in the step
    ``trust``, afterwards the old one, without its key.
    """

    step: RollStep
    why: str
    other: Leaf
    reached: bool = Field(default=False, description="Whether every host has this step.")


GatewayIssuer = Literal["site", "authority", "organisation"]


class Keyring(Value):
    """Certificates of a site, as the vault has them.

    What the issuer ``organisation`` signs, it signs elsewhere: Bastide cannot renew it.
    """

    machines_ca: Leaf | None = None
    machines: dict[str, Leaf] = Field(
        default={}, description="By name: service-HOST, agent-HOST, gateway-client, …"
    )
    roll: Roll | None = None
    gateway_issuer: GatewayIssuer = "site"
    authority: Authority | None = None
    anchors_pem: str = Field(default="", description="The organisation's roots; clients need them.")
    requested_key_pem: str = Field(
        default="", repr=False, description="Key of the request that has no certificate yet."
    )
    asked: dict[str, Asked] = Field(default={}, description="New certificates asked for, by name.")
