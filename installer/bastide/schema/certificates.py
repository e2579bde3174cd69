"""The block ``certificates`` of ``site.yaml``."""

from __future__ import annotations

from pydantic import Field

from bastide.schema.base import Value


class Certificates(Value):
    """Certificates between the site's own machines."""

    mutual_tls: bool = Field(
        default=False,
        description="Whether services that listen beyond loopback speak TLS, and only with the "
        "gateway, their own host and monitoring, each of which shows a certificate.",
    )
