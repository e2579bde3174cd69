"""A comparison of models → one HTML page that needs nothing else: no script, no font, no image."""

from __future__ import annotations

from itertools import groupby

from bastide import resources
from bastide.advice.comparison import Comparison
from bastide.advice.plot import cache_plot, weights_plot
from bastide.render.engine import strict_environment

TEMPLATE = "models.html.j2"


def html(comparison: Comparison, *, made: str) -> str:
    """Return ``comparison`` as a page; every text from outside is escaped.

    Args:
        comparison: The models side by side.
        made: When and with what the page was made, in words.
    """
    environment = strict_environment(resources.templates())
    groups = [(name, list(lines)) for name, lines in groupby(comparison.lines, lambda x: x.group)]
    number = {url: index for index, url in enumerate(comparison.sources, start=1)}
    return environment.get_template(TEMPLATE).render(
        comparison=comparison,
        groups=groups,
        number=number,
        weights=weights_plot(comparison),
        cache=cache_plot(comparison),
        made=made,
    )
