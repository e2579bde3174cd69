"""A verification report → one HTML page that needs nothing else: no script, no font, no image."""

from __future__ import annotations

import jinja2

from bastide import resources
from bastide.schema.verification import Check, VerificationReport

TEMPLATE = "report.html.j2"


def html(report: VerificationReport) -> str:
    """Return ``report`` as a page; every text from outside is escaped."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(resources.templates()),
        undefined=jinja2.StrictUndefined,
        variable_start_string="[[",
        variable_end_string="]]",
        block_start_string="[%",
        block_end_string="%]",
        comment_start_string="[#",
        comment_end_string="#]",
        trim_blocks=True,
        lstrip_blocks=True,
        autoescape=True,
    )
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
