"""A report of isolation → one HTML page that needs nothing else: no script, no font, no image."""

from __future__ import annotations

from datetime import UTC, datetime

from bastide import resources
from bastide.render.engine import strict_environment
from bastide.render.report import seconds
from bastide.schema.isolation_report import IsolationReport

TEMPLATE = "isolation.html.j2"
WORDS = {
    "left": "left the site",
    "attempt": "stopped on the way out",
    "lookup": "name lookup",
    "allowed": "asked of a server that the site names",
    "control": "control, sent on purpose",
}


def html(report: IsolationReport, *, key: str) -> str:
    """Return ``report`` as a page; every text from outside is escaped.

    Args:
        report: The signed report.
        key: Fingerprint of the key that signed it.
    """
    environment = strict_environment(resources.templates())
    environment.filters["seconds"] = seconds
    environment.filters["clock"] = _clock
    return environment.get_template(TEMPLATE).render(
        report=report,
        said=report.statement,
        key=key,
        words=WORDS,
        unseen=[host.host for host in report.statement.hosts if not host.log_since],
    )


def _clock(value: float) -> str:
    return f"{datetime.fromtimestamp(value, UTC):%Y-%m-%d %H:%M:%S} UTC"
