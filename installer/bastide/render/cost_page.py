"""The answer of ``bastide cost`` → one HTML page that needs nothing else: no script, no font."""

from __future__ import annotations

from decimal import Decimal

from bastide import resources
from bastide.costing.estimate import cents
from bastide.costing.plot import break_even_plot, short
from bastide.costing.report import CostReport
from bastide.render.engine import strict_environment

TEMPLATE = "cost.html.j2"


def html(report: CostReport) -> str:
    """Return ``report`` as a page; every text from outside is escaped."""
    environment = strict_environment(resources.templates())
    environment.filters["money"] = money
    environment.filters["short"] = lambda number: short(float(number))
    plots = {each.name: break_even_plot(each) for each in report.scenarios}
    return environment.get_template(TEMPLATE).render(report=report, plots=plots)


def money(amount: Decimal) -> str:
    """Return an amount rounded to cents, thousands apart: ``6,729.38``."""
    return f"{cents(amount):,}"
