"""Old and new side by side: on the terminal, and as a page that needs nothing."""

from __future__ import annotations

import io
import re

import pytest
from rich.console import Console

from bastide.cli.evaluation_view import print_evaluation
from bastide.evaluation.gate import decide
from bastide.render.evaluation_page import html
from bastide.schema.release import EvaluationFloors, EvaluationGate
from bastide.schema.scores import GenerationScores, QuestionScore, SearchScore, ShareScore

EVIL = "<script>alert('x')</script>[/bold]"
GATE = EvaluationGate(suite="golden", floors=EvaluationFloors(answers=0.6))


def scores(generation: int, good: int) -> GenerationScores:
    return GenerationScores(
        host="host1", generation=generation, content="a" * 64, release="starter-2026.11.0",
        suite="golden", suite_digest="b" * 64, at="2026-11-26T08:00:00Z", seconds=20.0,
        model=EVIL, embedding_model="vectors",
        answers=ShareScore(value=good / 2, low=good / 2, high=good / 2), refusals=None,
        hit_rate=0.9, mean_reciprocal_rank=0.8, tokens_per_second=40.0, first_token_seconds=0.5,
        questions=(
            QuestionScore(id="q", kind="exact", question=EVIL, answer=EVIL, good=good, rounds=2,
                          reason=EVIL),
        ),
        searches=(SearchScore(id="s", question=EVIL, passage="P", rank=None, found=False),),
    )  # fmt: skip


@pytest.mark.parametrize("with_old", [True, False])
def test_the_page_is_whole_escaped_and_refers_to_nothing(with_old: bool) -> None:
    new, old = scores(2, 1), scores(1, 2) if with_old else None
    page = html(decide(GATE, new, old), new, old, made="Made now.")
    assert EVIL not in page
    assert "&lt;script&gt;" in page
    assert not re.search(r"<(script|link|img|iframe|a)\b|\b(src|href)=|url\(|@import", page)
    assert "does not pass" in page
    assert ("What came out otherwise" in page) is with_old


@pytest.mark.parametrize("with_old", [True, False])
def test_the_terminal_shows_measures_and_what_changed(with_old: bool) -> None:
    new, old = scores(2, 1), scores(1, 2) if with_old else None
    out = io.StringIO()
    print_evaluation(Console(file=out, width=140), decide(GATE, new, old), new, old)
    text = out.getvalue()
    assert EVIL in text  # as it is, not as markup
    assert "not passed" in text
    assert "60% is asked for" in text
    assert ("came out otherwise" in text) is with_old
