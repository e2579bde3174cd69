"""``bastide cost``: what a workload costs a year, by token, rented or on servers of one's own."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path

import click
from rich.table import Table

from bastide import resources
from bastide.cli.output import reports, stdout
from bastide.costing.catalogue import Library
from bastide.costing.estimate import cents
from bastide.costing.plot import short
from bastide.costing.report import CostReport, ScenarioReport, report
from bastide.host.files import write_atomic
from bastide.render.cost_page import html


def _money(amount: Decimal) -> str:
    return f"{cents(amount):,}"


def _view(result: CostReport) -> None:
    console = stdout()
    console.print(result.title, markup=False, style="bold")
    kind = "EXAMPLE prices" if result.example_prices else "prices"
    console.print(
        f"{kind} of {result.price_date} (book {result.price_book}); "
        f"{result.currency}, a year, rounded to cents",
        markup=False,
    )
    for scenario in result.scenarios:
        _scenario(scenario)
    console.print()
    for note in result.notes:
        console.print(f"- {note}", markup=False)
    console.print(
        f"The answer rests on {len(result.assumptions)} values; --json and --html list each, "
        "with the place to change it.",
        markup=False,
    )


def _scenario(scenario: ScenarioReport) -> None:
    console = stdout()
    console.print()
    volume = f" ({short(float(scenario.tokens_per_year))} tokens)"
    console.print(scenario.title + (volume if scenario.tokens_per_year else ""), style="bold")
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column("what")
    table.add_column("a year", justify="right")
    table.add_column("arithmetic", style="dim", overflow="fold")
    for option in scenario.options:
        machines = f" ({option.machines} x)" if option.machines else ""
        table.add_row(f"{option.name}{machines}", _money(option.total), "", style="bold")
        for line in option.lines:
            table.add_row(f"  {line.name}", _money(line.amount), line.basis)
    console.print(table)
    _break_even(scenario)
    if scenario.published:
        _published(scenario)


def _break_even(scenario: ScenarioReport) -> None:
    console = stdout()
    for point in scenario.break_even:
        if point.first is None or point.tokens is None:
            text = f"{point.on_prem}: never cheaper than {point.api}"
        else:
            text = (
                f"{point.on_prem}: cheaper than {point.api} from {point.first:.2f} times this "
                f"volume on ({short(float(point.tokens))} tokens a year)"
            )
            if point.lasting is None:
                text += ", but not at every larger one"
            elif point.lasting > point.first:
                text += f", lastingly from {point.lasting:.2f} times on"
        console.print(f"break-even  {text}", markup=False)


def _published(scenario: ScenarioReport) -> None:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for name in ("published", "ours", "difference"):
        table.add_column(name, justify="right")
    table.add_column("of")
    table.add_column("why", style="dim", overflow="fold")
    for each in scenario.published:
        difference = "to the cent" if each.agrees else f"{each.difference:+}"
        of = f"{each.option}: {each.what}"
        table.add_row(_money(each.published), _money(each.ours), difference, of, each.explanation)
    console = stdout()
    console.print()
    console.print(table)


@click.command()
@click.argument("workload", metavar="[WORKLOAD]", required=False, type=click.Path(path_type=Path))
@click.option("--example", metavar="NAME", help="Use a shipped workload, such as annual-reports.")
@click.option(
    "--prices",
    metavar="BOOK",
    help="Price book: a file, or the name of a shipped one.  [default: the workload's]",
)
@click.option(
    "--html",
    "page",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Also write one HTML page with a break-even plot; it needs no network.",
)
@reports(_view)
def command(
    workload: Path | None, example: str | None, prices: str | None, page: Path | None
) -> CostReport:
    """Compare what a workload costs a year: paid by token, on rented GPUs, on one's own servers.

    WORKLOAD is a small YAML file: documents, users, tokens in and out, embeddings, storage,
    fine-tuning, and the options to compare. Prices come from a dated price book that you edit; the
    shipped ones are examples and say so. Print the format of both with `bastide schema workload`
    and `bastide schema prices`.

    \b
    bastide cost --example annual-reports
    bastide cost office.yaml --prices our-prices.yaml --html cost.html
    """  # noqa: D301 - click's mark for text that it must not wrap
    library = Library(resources.catalogue())
    chosen = library.workload(workload, example)
    result = report(chosen, library.prices(prices or chosen.prices, beside=workload))
    if page:
        write_atomic(page, html(result).encode())
    return result
