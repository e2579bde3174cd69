"""A verification report → one HTML page that needs nothing else: no script, no font, no image."""

from __future__ import annotations

from bastide import resources
from bastide.render.engine import strict_environment
from bastide.schema.verification import Check, VerificationReport

TEMPLATE = "report.html.j2"


def html(report: VerificationReport) -> str:
    """Return ``report`` as a page; every text from outside is escaped."""
    environment = strict_environment(resources.templates())
    environment.filters["seconds"] = seconds
    return environment.get_template(TEMPLATE).render(report=report, worst=worst, seconds=seconds)


def seconds(value: float) -> str:
    """Return a duration for people: ``4 ms``, ``1.3 s``, ``2 min 5 s``."""
    if value < 1:
        return f"{value * 1000:.0f} ms"
    if value < 60:
        return f"{value:.1f} s"
    whole = round(value)
    return f"{whole // 60} min {whole % 60} s"


def worst(checks: tuple[Check, ...]) -> str:
    """Return the outcome that speaks for a group of checks."""
    outcomes = {check.outcome for check in checks}
    return next((each for each in ("failed", "passed", "skipped") if each in outcomes), "skipped")
