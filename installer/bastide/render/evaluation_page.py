"""Two generations side by side → one HTML page that needs nothing else."""

from __future__ import annotations

from bastide import resources
from bastide.evaluation.gate import LABELS, changes, shown
from bastide.render.engine import strict_environment
from bastide.schema.scores import GateVerdict, GenerationScores, QuestionScore, SearchScore

TEMPLATE = "evaluation.html.j2"


def html(
    verdict: GateVerdict, new: GenerationScores, old: GenerationScores | None, *, made: str
) -> str:
    """Return an evaluation as a page; every text from outside is escaped.

    Args:
        verdict: What the gate says.
        new: The generation that is judged.
        old: The one before it, if it is known.
        made: When and with what the page was made, in words.
    """
    environment = strict_environment(resources.templates())
    before: dict[str, QuestionScore | SearchScore] = {}
    if old is not None:
        before = {each.id: each for each in old.questions}
        before |= {each.id: each for each in old.searches}
    return environment.get_template(TEMPLATE).render(
        verdict=verdict,
        new=new,
        old=old,
        changes=changes(new, old) if old is not None else (),
        before=before,
        labels=LABELS,
        shown=shown,
        made=made,
    )
