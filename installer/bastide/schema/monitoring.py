"""The ``monitoring:`` block of ``site.yaml``: what is kept for how long, and who is told."""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import ip_address
from typing import Annotated, Self
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, model_validator

from bastide.schema.base import Name, Value
from bastide.schema.pem import Anchors

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
User = Annotated[str, Field(pattern=r"^[^\s:\x00-\x1f\x7f]{1,128}$")]

DEAD_MANS_SWITCH = "dead-mans-switch"  # its name among those that log in somewhere


class Receiver(Value):
    """Who is told of alerts: a webhook or a mailbox of the intranet."""

    webhook: Url | None = Field(
        default=None, description="URL that alerts are posted to, in Alertmanager's JSON."
    )
    mail_to: Mailbox | None = Field(default=None, description="Mailbox that gets alerts.")
    mail_from: Mailbox | None = Field(default=None, description="Sender of the mails.")
    mail_server: Server | None = Field(
        default=None, description="SMTP server of the intranet, ADDRESS:PORT."
    )
    mail_tls: bool = Field(
        default=True, description="Refuse to send mail without TLS (STARTTLS, or TLS on port 465)."
    )
    user: User | None = Field(
        default=None,
        description="Log in as this user, at a webhook or a mail server. The password is in the "
        "vault: bastide receivers set NAME.",
    )
    bearer: bool = Field(
        default=False,
        description="Show the webhook a token (Authorization: Bearer). It is in the vault: bastide "
        "receivers set NAME.",
    )

    @property
    def has_secret(self) -> bool:
        """Whether it takes a password or a token, which the vault keeps."""
        return self.user is not None or self.bearer

    @model_validator(mode="after")
    def _is_one(self) -> Self:
        mail = (self.mail_to, self.mail_from, self.mail_server)
        if self.webhook is None and None in mail:
            raise ValueError("takes webhook, or mail_to, mail_from and mail_server")
        if self.webhook is not None and mail != (None, None, None):
            raise ValueError("takes a webhook or a mailbox, not both: make two receivers")
        if self.webhook is None and self.bearer:
            raise ValueError("bearer is for webhooks; a mail server takes user and password")
        if self.webhook is None and self.user is not None and not self.mail_tls:
            raise ValueError("a password goes nowhere without TLS: mail_tls must be true")
        _require_login(self.webhook, self.user, bearer=self.bearer)
        return self


class DeadMansSwitch(Value):
    """Who misses a sign of life: a watchdog of the intranet that alarms when it hears nothing."""

    webhook: Url = Field(
        description="URL that is posted to, in Alertmanager's JSON, as long as monitoring works."
    )
    minutes: int = Field(
        default=5,
        ge=1,
        le=1440,
        description="How often, in min; the watchdog's patience should be about three times that.",
    )
    user: User | None = Field(
        default=None,
        description="Log in as this user. The password is in the vault: bastide receivers set "
        f"{DEAD_MANS_SWITCH}.",
    )
    bearer: bool = Field(
        default=False,
        description="Show a token (Authorization: Bearer). It is in the vault: bastide receivers "
        f"set {DEAD_MANS_SWITCH}.",
    )

    @property
    def has_secret(self) -> bool:
        """Whether it takes a password or a token, which the vault keeps."""
        return self.user is not None or self.bearer

    @model_validator(mode="after")
    def _keeps_its_secret(self) -> Self:
        _require_login(self.webhook, self.user, bearer=self.bearer)
        return self


def _require_login(webhook: str | None, user: str | None, *, bearer: bool) -> None:
    """Refuse two logins at once, and secrets that would travel in the clear."""
    if user is not None and bearer:
        raise ValueError("takes user or bearer, not both")
    if webhook is not None and (user is not None or bearer) and not webhook.startswith("https:"):
        raise ValueError("a secret goes nowhere without TLS: the webhook must be https")


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
    dead_mans_switch: DeadMansSwitch | None = Field(
        default=None, description="Who is told, again and again, that monitoring works."
    )
    receivers_ca: Anchors | None = Field(
        default=None,
        description="CA certificates (PEM) that receivers' certificates are checked with; the "
        "site's CA and your organisation's, as gateway clients trust them, if not given.",
    )

    @model_validator(mode="after")
    def _names_differ(self) -> Self:
        if DEAD_MANS_SWITCH in self.receivers:
            raise ValueError(
                f"a receiver cannot be called {DEAD_MANS_SWITCH}: it has its own field"
            )
        return self

    @property
    def logins(self) -> tuple[str, ...]:
        """The names of those that take a password or a token, sorted."""
        return tuple(sorted(name for name, each in self._everybody() if each.has_secret))

    def _everybody(self) -> Iterator[tuple[str, Receiver | DeadMansSwitch]]:
        yield from self.receivers.items()
        if self.dead_mans_switch is not None:
            yield DEAD_MANS_SWITCH, self.dead_mans_switch

    def urls(self) -> tuple[str, ...]:
        """Return what is posted to, and mail servers as ``//ADDRESS:PORT``."""
        mail = (f"//{each.mail_server}" for each in self.receivers.values() if each.mail_server)
        hooks = (each.webhook for _, each in self._everybody() if each.webhook)
        return (*hooks, *mail)


def destinations(monitoring: Monitoring) -> tuple[tuple[str, int], ...]:
    """Return address and TCP port of everybody who is told of alerts."""
    found = set()
    for url in monitoring.urls():
        parts = urlsplit(url)
        usual = 443 if parts.scheme == "https" else 80
        found.add((parts.hostname or "", parts.port or usual))
    return tuple(sorted(found))
