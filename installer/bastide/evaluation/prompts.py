"""How a suite's questions are put to a chat model."""

from __future__ import annotations

from bastide.evaluation.suites import LoadedSuite
from bastide.schema.suite import Question

PASSAGES = "Passages:\n\n{passages}\n\nQuestion: {question}"
RETELL = "{text}\n\nRetell all of this in your own words, at length."


def prompt(question: Question, loaded: LoadedSuite) -> str:
    """Return what a chat model is told: instruction, passages, question, in one message.

    One message, because some chat templates know no system role.
    """
    asked = question.question
    if question.passages:
        passages = "\n\n".join(loaded.corpus[each] for each in question.passages)
        asked = PASSAGES.format(passages=passages, question=question.question)
    return f"{loaded.suite.instruction}\n\n{asked}".strip()


def speed_prompts(loaded: LoadedSuite, count: int) -> list[str]:
    """Return prompts that make a model write at length after having read as much as usual."""
    asked = sorted(loaded.suite.questions, key=lambda each: not each.passages)[:count]
    return [
        RETELL.format(text="\n\n".join(loaded.corpus[p] for p in each.passages) or each.question)
        for each in asked
    ]
