"""How two generations are shown side by side to a person."""

from __future__ import annotations

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from bastide.evaluation.gate import LABELS, changes, shown
from bastide.schema.scores import Finding, GateVerdict, GenerationScores, QuestionScore

GOOD, BAD = "[green]✓[/]", "[red]✗[/]"
OUTCOMES = {
    "good": GOOD,
    "bad": BAD,
    "unsteady": "[yellow]~[/]",
    "not judged": "[dim]-[/]",
}
ANSWER_WIDTH = 160
MOST_CHANGES = 12  # the report has all of them


def print_evaluation(
    console: Console, verdict: GateVerdict, new: GenerationScores, old: GenerationScores | None
) -> None:
    """Print the measures with their limits, then the questions that came out otherwise.

    Args:
        console: Where to.
        verdict: What the gate says.
        new: The generation that is judged.
        old: The one before it, if it is known.
    """
    models = " and ".join(each for each in (new.model, new.embedding_model) if each)
    console.print(
        f"Suite {new.suite} ({new.suite_digest[:12]}) on {new.host}, generation {new.generation}"
        f" with {models or 'no model'}, {new.seconds:.0f} s",
        style="bold",
        markup=False,
    )
    console.print(_table(verdict, new, old))
    if old is not None:
        _print_changes(console, new, old)
    else:
        _print_misses(console, new)
    state = "[bold green]passed[/]" if verdict.passed else "[bold red]not passed[/]"
    against = f", against generation {old.generation}" if old is not None else ""
    console.print(f"Evaluation gate {state}{against}")


def _table(verdict: GateVerdict, new: GenerationScores, old: GenerationScores | None) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column("")
    table.add_column("measure")
    if old is not None:
        table.add_column(f"generation {old.generation}", justify="right")
    table.add_column(f"generation {new.generation}", justify="right")
    table.add_column("limit", justify="right")
    table.add_column("verdict")
    for each in verdict.findings:
        before = [shown(each.measure, each.old)] if old is not None else []
        table.add_row(
            GOOD if each.ok else BAD,
            LABELS[each.measure],
            *before,
            shown(each.measure, each.new) + spread(each, new),
            shown(each.measure, each.limit),
            escape(each.words),
        )
    return table


def spread(finding: Finding, scores: GenerationScores) -> str:
    """Return the range of a share whose answers differed between rounds; empty if none did."""
    score = getattr(scores, finding.measure)
    low, high = getattr(score, "low", None), getattr(score, "high", None)
    if low is None or high is None or low == high:
        return ""
    return f" ({shown(finding.measure, low)} to {shown(finding.measure, high)})"


def _print_changes(console: Console, new: GenerationScores, old: GenerationScores) -> None:
    found = changes(new, old)
    console.print("")
    console.print(
        f"{len(found)} {'question' if len(found) == 1 else 'questions'} came out otherwise:"
        if found
        else "Every question came out as before."
    )
    for each in found[:MOST_CHANGES]:
        console.print(f"  {OUTCOMES[each.old]}→{OUTCOMES[each.new]} ", end="")
        console.print(f"{each.id}: {each.question}", markup=False)
        console.print(f"       before: {_short(each.old_answer)}", markup=False, style="dim")
        console.print(f"       now:    {_short(each.new_answer)}", markup=False)
        if each.reason:
            console.print(f"       {each.reason}", markup=False, style="dim")
    if len(found) > MOST_CHANGES:
        console.print(f"  and {len(found) - MOST_CHANGES} more, in the report")
    console.print("")


def _print_misses(console: Console, new: GenerationScores) -> None:
    missed = [each for each in new.questions if each.outcome != "good"]
    lost = [each for each in new.searches if not each.found]
    if missed or lost:
        console.print("")
    for each in missed:
        console.print(f"  {OUTCOMES[each.outcome]} ", end="")
        console.print(f"{each.id}{_rounds(each)}: {_short(each.answer)}", markup=False, end="")
        console.print(f"  {each.reason}", markup=False, style="dim")
    for search in lost:
        console.print(f"  {BAD} ", end="")
        console.print(f"{search.id}: {search.question} {search.passage}", markup=False)
    if missed or lost:
        console.print("")


def _rounds(question: QuestionScore) -> str:
    if question.outcome != "unsteady":
        return ""
    return f" (good in {question.good} of {question.rounds} rounds)"


def _short(text: str) -> str:
    plain = " ".join(text.split())
    plain = plain or "(nothing)"
    return plain if len(plain) <= ANSWER_WIDTH else plain[: ANSWER_WIDTH - 1] + "…"
