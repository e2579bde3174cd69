"""The ``monitoring:`` block of ``site.yaml``: what is kept for how long, and who is told."""

from __future__ import annotations

from ipaddress import ip_address
from typing import Annotated, Self
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, model_validator

from bastide.schema.base import Name, Value

PROMETHEUS_PORT = 9090
ALERTMANAGER_PORT = 9093
NODE_EXPORTER_PORT = 9100
GATEWAY_METRICS_PORT = 8404


def _intranet(host: str | None, what: str) -> None:
    """Refuse a host that is a name, or an address outside the site's own networks.

    Names are not looked up on hosts, and nothing is ever sent to a public address.
    """
    try:
        address = ip_address(host or "")
    except ValueError:
        raise ValueError(f"{what} should name an IP address, such as 10.0.0.9") from None
    if address.is_global:
        raise ValueError(f"{what} is the public address {address}: alerts stay in the intranet")


def _url(value: str) -> str:
    parts = urlsplit(value)
    if parts.scheme not in {"http", "https"} or parts.username or parts.password or parts.query:
        raise ValueError("should be http(s)://ADDRESS:PORT/path, without password or query")
    _intranet(parts.hostname, "the webhook")
    return value


def _server(value: str) -> str:
    parts = urlsplit(f"//{value}")
    if parts.port is None:
        raise ValueError("should be ADDRESS:PORT, such as 10.0.0.25:25")
    _intranet(parts.hostname, "the mail server")
    return value


Url = Annotated[str, Field(pattern=r"^[A-Za-z0-9:/.\[\]_~-]+$"), AfterValidator(_url)]
Server = Annotated[str, Field(pattern=r"^[0-9A-Fa-f.:\[\]]+$"), AfterValidator(_server)]
Mailbox = Annotated[str, Field(pattern=r"^[A-Za-z0-9._+-]+@[A-Za-z0-9.-]+$")]


class Receiver(Value):
    """Who is told of alerts: a webhook or a mailbox of the intranet."""

    webhook: Url | None = Field(
        default=None, description="URL that alerts are posted to, in Alertmanager's JSON."
    )
    mail_to: Mailbox | None = Field(default=None, description="Mailbox that gets alerts.")
    mail_from: Mailbox | None = Field(default=None, description="Sender of the mails.")
    mail_server: Server | None = Field(
        default=None, description="SMTP server of the intranet, ADDRESS:PORT, without login."
    )
    mail_tls: bool = Field(default=True, description="Refuse to send mail without TLS.")

    @model_validator(mode="after")
    def _is_one(self) -> Self:
        mail = (self.mail_to, self.mail_from, self.mail_server)
        if self.webhook is None and None in mail:
            raise ValueError("takes webhook, or mail_to, mail_from and mail_server")
        if self.webhook is not None and mail != (None, None, None):
            raise ValueError("takes a webhook or a mailbox, not both: make two receivers")
        return self


class Monitoring(Value):
    """Monitoring, if a host has the group `monitoring`; without one this block does nothing."""

    retention_days: int = Field(
        default=30, ge=1, le=3650, description="How long metrics are kept, in days."
    )
    retention_gigabytes: int = Field(
        default=5, ge=1, le=10_000, description="How much disk metrics may take, in GB (10^9 B)."
    )
    scrape_seconds: int = Field(
        default=15, ge=5, le=60, description="How often metrics are collected, in s."
    )
    backups_hours: int = Field(
        default=0,
        ge=0,
        le=8760,
        description="Alert if the last backup is older, in h. 0: only once there has been one, "
        "and then after 50 h.",
    )
    receivers: dict[Name, Receiver] = Field(
        default={}, description="Who is told of alerts; nobody if there is none."
    )


def destinations(monitoring: Monitoring) -> tuple[tuple[str, int], ...]:
    """Return address and TCP port of everybody who is told of alerts."""
    found = set()
    for receiver in monitoring.receivers.values():
        parts = urlsplit(receiver.webhook or f"//{receiver.mail_server}")
        usual = 443 if parts.scheme == "https" else 80
        found.add((parts.hostname or "", parts.port or usual))
    return tuple(sorted(found))
