"""``bastide models compare``: models side by side, on the terminal, as JSON, as one page."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import click
from rich.table import Table

from bastide import __version__, resources
from bastide.advice.comparison import Comparison, compare
from bastide.bundle.catalogue import Catalogue
from bastide.cli.models import catalogue_option
from bastide.cli.models_evaluate import Wish, evaluate_models, view_evaluation
from bastide.cli.output import reports, stdout
from bastide.errors import ConfigError
from bastide.evaluation.run import Evaluation
from bastide.host.files import write_atomic
from bastide.render.models_page import html

NOT_COMPARABLE = "BAS-2036"
MOST = 6  # as many as a page can tell apart


@dataclass(frozen=True)
class Compared:
    """Models side by side, and how they answered a suite of questions.

    Args:
        comparison: What their cards say.
        evaluation: How they did on this machine.
    """

    comparison: Comparison
    evaluation: Evaluation


def _view(result: Comparison | Compared) -> None:
    if isinstance(result, Compared):
        _view_cards(result.comparison)
        stdout().print()
        view_evaluation(result.evaluation)
    else:
        _view_cards(result)


def _view_cards(result: Comparison) -> None:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column("", style="dim")
    for model in result.models:
        table.add_column(model.title, overflow="fold", min_width=14)
    group = ""
    for line in result.lines:
        if line.group != group:
            group = line.group
            table.add_row(f"[bold]{group}[/]")
        cells = [c.text if c.checked else f"{c.text} (not checked)" for c in line.cells]
        table.add_row(f"  {line.label}", *cells)
    stdout().print(table)
    sources = len(result.sources)
    note = f"Read from {sources} sources: --json and --html name the source of each fact."
    stdout().print(note, markup=False)


def _write(path: Path, comparison: Comparison) -> None:
    made = f"Made by bastide {__version__} on {datetime.now(UTC):%Y-%m-%d}, without a network."
    try:
        write_atomic(path, html(comparison, made=made).encode())
    except OSError as error:
        raise ConfigError(
            f"{path} cannot be written: {error.strerror}",
            code=NOT_COMPARABLE,
            hint="choose a folder that this user may write",
        ) from error


@click.command("compare")
@click.argument("models", metavar="MODEL…", nargs=-1, required=True)
@click.option("--html", "page", metavar="FILE", type=click.Path(path_type=Path, dir_okay=False),
              help="Also write one web page with plots, which needs no network.")  # fmt: skip
@click.option("--suite", metavar="FILE",
              help="Also ask the models this suite's questions, here: a file, or the name of a "
              "shipped one.")  # fmt: skip
@click.option("--python", type=click.Path(path_type=Path), metavar="PATH",
              help="With --suite: Python that has the engine; $BASTIDE_ENGINE_PYTHON.")  # fmt: skip
@catalogue_option
@reports(_view)
def command(
    models: tuple[str, ...],
    page: Path | None,
    suite: str | None,
    python: Path | None,
    catalogue: Path | None,
) -> Comparison | Compared:
    """Show models side by side: shape, size, licence and its conditions, languages, quality.

    Every fact has its source; what could not be checked is unknown. With --suite the models' files
    are asked questions as well, as `bastide models evaluate` does it.
    """
    shelf = Catalogue(catalogue or resources.catalogue())
    cards = [shelf.card(name).value for name in dict.fromkeys(models)]
    cards = list({card.name: card for card in cards}.values())
    if not 2 <= len(cards) <= MOST:
        raise ConfigError(
            f"2 to {MOST} different models can be compared; {len(cards)} named",
            code=NOT_COMPARABLE,
            hint="bastide models list shows their names",
        )
    result = compare(cards)
    if page is not None:
        _write(page, result)
    if suite is None:
        return result
    wish = Wish(suite, python=python, catalogue=catalogue)
    return Compared(result, evaluate_models(tuple(card.name for card in cards), wish))
