"""The ``logs:`` block of ``site.yaml``: how long hosts keep logs, and who gets them as well."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Annotated, Literal, Self

from pydantic import BeforeValidator, Field, model_validator

from bastide.schema.base import Value
from bastide.schema.pem import Anchors


def _intranet(value: object) -> IPv4Address | IPv6Address:
    try:
        address = ip_address(str(value))
    except ValueError:
        raise ValueError(
            "should be an IP address, such as 10.0.0.9: no names are looked up"
        ) from None
    if address.is_global:
        raise ValueError(f"{address} is a public address: logs stay in the intranet")
    return address


class Syslog(Value):
    """The site's syslog server or SIEM, which gets every line as RFC 5424."""

    address: Annotated[IPv4Address | IPv6Address, BeforeValidator(_intranet)] = Field(
        description="Its IP address."
    )
    port: int = Field(
        default=6514, ge=1, le=65535, description="Its port: usually 6514 with TLS, else 514."
    )
    protocol: Literal["tls", "tcp", "udp"] = Field(
        default="tls",
        description="tls: RFC 5425; tcp: octet counting, RFC 6587, in the clear; udp: RFC 5426, in "
        "the clear, and lines can be lost.",
    )
    ca: Anchors | None = Field(
        default=None,
        description="CA certificates (PEM) that the server's certificate is checked with; the "
        "site's CA and your organisation's, as gateway clients trust them, if not given.",
    )

    @model_validator(mode="after")
    def _ca_is_for_tls(self) -> Self:
        if self.ca is not None and self.protocol != "tls":
            raise ValueError("ca is for protocol tls")
        return self


class Logs(Value):
    """What services of Bastide log; logs of the rest of the host are the host's own matter."""

    retention_days: int = Field(
        default=0,
        ge=0,
        le=3650,
        description="How long they are kept on each host, in days, in a journal of their own; 0: "
        "in the host's own journal, by its settings.",
    )
    retention_gigabytes: int = Field(
        default=2,
        ge=1,
        le=10_000,
        description="How much disk that journal may take, in GB (10^9 B); the oldest go first.",
    )
    syslog: Syslog | None = Field(default=None, description="Who gets every line as well.")
