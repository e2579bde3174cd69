"""What a site must turn out to be: the verification suite's only input, free of secrets."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from bastide.schema.base import Name, Sha256, Size, Value
from bastide.schema.site import Group, Port


class ExpectedUnit(Value):
    """A systemd unit that must run, and how well it must be locked in."""

    name: str = Field(description="Such as bastide-llm.service.")
    exposure_limit: float = Field(
        default=2.0,
        description="Highest exposure that `systemd-analyze security` may give it, 0 to 10.",
    )
    reason: str = Field(
        default="", description="Why this unit may exceed the usual limit; empty if it does not."
    )


class ExpectedListener(Value):
    """A TCP port that must be bound to one address, and to no other."""

    service: str = Field(description="What listens, such as llm.")
    port: Port
    address: str = Field(description="Loopback, or the host's own address.")
    mutual_tls: bool = Field(
        default=False, description="Whether it takes only clients that show a certificate."
    )


class ExpectedModel(Value):
    """A model file on a host."""

    name: Name
    path: str = Field(description="Absolute path of the file on the host.")
    link: str = Field(description="Absolute path of the link in the current generation.")
    sha256: Sha256 = Field(description="Its digest in the bundle's manifest.")
    size: Size


class ExpectedHost(Value):
    """One host."""

    address: str
    groups: tuple[Group, ...]
    generation: str = Field(
        default="", description="Digest of its generation's content; empty if it is not known."
    )
    units: tuple[ExpectedUnit, ...]
    listeners: tuple[ExpectedListener, ...]
    models: tuple[ExpectedModel, ...]


class ExpectedGateway(Value):
    """Where clients come in."""

    url: str = Field(description="https address of the gateway, without a path.")
    address: str = Field(description="The floating address, or a gateway host's own.")
    others: tuple[str, ...] = Field(
        default=(), description="Further addresses at which gateways answer."
    )
    port: Port
    name: str = Field(description="DNS name that the certificate must be for, too.")
    authority: str = Field(description="Path of the site CA's certificate on this machine.")


class Expectations(Value):
    """A whole site, as it must be. API keys are given apart, as files of mode 0600."""

    format: Literal["bastide.expectations/1"] = "bastide.expectations/1"
    site: Name
    release: str = Field(description="name-version of the release.")
    bundle: Sha256 = Field(description="Digest of the bundle that the site was installed from.")
    gateway: ExpectedGateway
    chat_model: Name
    embedding_model: Name
    dimensions: int = Field(description="Width of the embedding model's vectors.", gt=0)
    parallel: int = Field(description="How many chat requests are answered at once.", ge=1)
    texts_days: int | None = Field(
        default=None,
        description="How many days prompts and answers are recorded; null if they are not.",
    )
    hosts: dict[Name, ExpectedHost]
