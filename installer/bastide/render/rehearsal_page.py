"""A rehearsal → one HTML page that needs nothing else: no script, no font, no image."""

from __future__ import annotations

from bastide import resources
from bastide.progress import human_bytes
from bastide.render.engine import strict_environment
from bastide.render.report import seconds
from bastide.schema.rehearsal import Rehearsal

TEMPLATE = "rehearsal.html.j2"


def html(report: Rehearsal) -> str:
    """Return ``report`` as a page; every text from outside is escaped."""
    environment = strict_environment(resources.templates())
    environment.filters["seconds"] = seconds
    environment.filters["bytes"] = human_bytes
    return environment.get_template(TEMPLATE).render(
        report=report,
        upgrade=report.step("upgrade"),
        longest=max((step.seconds for step in report.steps), default=1.0) or 1.0,
        scale=_scale(report),
    )


def _scale(report: Rehearsal) -> float:
    """Return the seconds that fill an interruption's bar."""
    seen = [each for step in report.steps for each in step.services]
    return max([1.0, *(each.silence for each in seen), *(each.expected or 0 for each in seen)])
