"""The volumes of a bundle → a sheet to print: contents, digests, and lines to sign."""

from __future__ import annotations

from bastide import resources
from bastide.bundle.split import SplitResult
from bastide.progress import human_bytes
from bastide.render.engine import strict_environment

TEMPLATE = "custody.html.j2"
GROUP = 8  # digits that people compare at a glance
HAND_OVERS = 6  # lines to sign


def html(result: SplitResult) -> str:
    """Return the sheet as one page that needs nothing else; every text is escaped."""
    environment = strict_environment(resources.templates())
    environment.filters.update(groups=groups, size=human_bytes)
    return environment.get_template(TEMPLATE).render(split=result, hand_overs=HAND_OVERS)


def groups(digest: str) -> list[str]:
    """Return a digest in short groups, so that two people can compare it aloud."""
    return [digest[start : start + GROUP] for start in range(0, len(digest), GROUP)]
