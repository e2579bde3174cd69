"""``bastide models``: choose a model before anything is downloaded; list and show."""

from __future__ import annotations

import importlib
import importlib.util
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
from rich.table import Table

from bastide import resources
from bastide.advice.comparison import Comparison, compare
from bastide.advice.selection import Order, Row, Wish, select
from bastide.advice.words import count, gigabytes, tokens
from bastide.bundle.catalogue import Catalogue
from bastide.cli.output import reports, stdout
from bastide.schema.model_card import CatalogueCard, LicenceClass, Task
from bastide.sizing.fit import amount

# verbs that other modules bring: verb → (module, one line of help)
OTHERS: dict[str, tuple[str, str]] = {
    "compare": ("bastide.cli.models_compare", "Show models side by side; also as a web page."),
    "fit": ("bastide.cli.models_fit", "Say whether a model fits a machine, and how fast it is."),
    "recommend": ("bastide.cli.models_recommend", "Choose a model for a task and a machine."),
    "evaluate": ("bastide.cli.models_evaluate", "Run a question suite on models, here."),
    "pin": ("bastide.cli.models_pin", "Record a model's file in its card."),
    "accept": ("bastide.cli.models_accept", "Record that a model's licence was accepted."),
}


class ModelsGroup(click.Group):
    """The verbs of this module, and those of others, which are imported when they are used."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the verbs in the order of work."""
        there = [verb for verb, (module, _) in OTHERS.items() if importlib.util.find_spec(module)]
        return [*super().list_commands(ctx), *there]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Return a verb's command."""
        if cmd_name not in self.list_commands(ctx):
            return None
        if cmd_name not in OTHERS:
            return super().get_command(ctx, cmd_name)
        command = importlib.import_module(OTHERS[cmd_name][0]).command
        return command if isinstance(command, click.Command) else None

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the list of verbs without importing the others' modules."""
        with formatter.section("Commands"):
            own = [
                (name, command.get_short_help_str(90)) for name, command in self.commands.items()
            ]
            others = [(verb, OTHERS[verb][1]) for verb in self.list_commands(ctx) if verb in OTHERS]
            formatter.write_dl([*own, *others])


@dataclass(frozen=True)
class Listing:
    """The models that satisfy a wish."""

    catalogue: Path
    models: tuple[Row, ...]
    of: int


catalogue_option = click.option(
    "--catalogue",
    metavar="DIR",
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    help="Your own folder of models/ instead of the one that comes with Bastide.",
)
model_argument = click.argument("model", metavar="MODEL")


def cards_of(catalogue: Path | None) -> list[CatalogueCard]:
    """Return all cards of a catalogue folder; of the shipped one if None."""
    found = Catalogue(catalogue or resources.catalogue()).cards()
    return [entry.value for entry in found]


def _show_list(result: Listing) -> None:
    table = Table(box=None, pad_edge=False, padding=(0, 1, 0, 0))
    for heading in ("name", "task", "size", "context", "weights", "licence", ""):
        right = heading in {"size", "context", "weights"}
        table.add_column(
            heading,
            justify="right" if right else "left",
            no_wrap=heading != "licence",
            overflow="ellipsis" if heading == "licence" else "fold",
            min_width=None if heading == "licence" else 6,
        )
    for row in result.models:
        notes = ["pinned"] * row.pinned + ["not all checked"] * bool(row.not_checked)
        table.add_row(
            row.name,
            row.task,
            count(row.parameters),
            tokens(row.context_window),
            _weights(row),
            row.licence_class,
            ", ".join(notes),
        )
    stdout().print(table)
    shown = len(result.models)
    stdout().print(f"{shown} of {result.of} models. ≈: reckoned, not published.", markup=False)


def _weights(row: Row) -> str:
    size = row.weights
    if size is None or size.size is None:
        return "unknown"
    return f"{'≈' if size.estimated else ''}{gigabytes(size.size)}"


def _show_one(result: Comparison) -> None:
    console, model = stdout(), result.models[0]
    console.print(f"{model.title} ({model.name})", style="bold", markup=False)
    console.print(model.summary, markup=False)
    table = Table(box=None, pad_edge=False, show_header=False, padding=(0, 2, 0, 0))
    table.add_column(style="dim")
    table.add_column(overflow="fold")
    table.add_column(style="dim")
    group = ""
    number = {url: str(index) for index, url in enumerate(result.sources, start=1)}
    for line in result.lines:
        if line.group != group:
            group = line.group
            table.add_row(f"[bold]{group}[/]", "", "")
        cell = line.cells[0]
        text = cell.text if cell.checked else f"{cell.text} (not checked)"
        table.add_row(f"  {line.label}", text, number.get(cell.source, ""))
    console.print(table)
    for url, index in number.items():
        console.print(f"{index:>3}  {url}", markup=False, style="dim")


@click.group("models", cls=ModelsGroup)
def command() -> None:
    """Choose a model before anything is downloaded.

    The catalogue knows models that isolated sites run: size, shape, licence, languages, published
    quality. Every fact has its source; what could not be checked is unknown. A model goes into a
    bundle once its file is pinned.
    """


@command.command("list")
@click.option("--task", type=click.Choice([each.value for each in Task]), help="What it is for.")
@click.option("--licence-class", type=click.Choice([each.value for each in LicenceClass]),
              help="What its licence may ask; 'conditional' includes 'permissive'.")  # fmt: skip
@click.option("--language", metavar="CODE", help="A language that it is for, such as de.")
@click.option("--context", type=click.IntRange(1, 100_000_000), metavar="TOKENS",
              help="Context window that it has at least.")  # fmt: skip
@click.option("--memory", metavar="SIZE", help="Its weights take at most this, such as 16GB.")
@click.option("--pinned", is_flag=True, help="Only models that a bundle can take as they are.")
@click.option("--sort", "order", type=click.Choice([each.value for each in Order]),
              default=Order.NAME.value, show_default=True, help="Order of the list.")  # fmt: skip
@catalogue_option
@reports(_show_list)
def list_command(catalogue: Path | None, **asked: Any) -> Listing:  # noqa: ANN401 - options
    """List the models of the catalogue.

    A filter keeps only models that are known to satisfy it: what is unknown does not.
    """
    task, licence, memory = asked["task"], asked["licence_class"], asked["memory"]
    wish = Wish(
        task=Task(task) if task else None,
        licence_class=LicenceClass(licence) if licence else None,
        language=asked["language"].lower() if asked["language"] else None,
        context=asked["context"],
        memory=round(amount(memory, "--memory")[1]) if memory else None,
        pinned=asked["pinned"],
    )
    cards = cards_of(catalogue)
    rows = select(cards, wish, Order(asked["order"]))
    return Listing(catalogue or resources.catalogue(), rows, len(cards))


@command.command("show")
@model_argument
@catalogue_option
@reports(_show_one)
def show_command(model: str, catalogue: Path | None) -> Comparison:
    """Show all that is known of MODEL, with the place where each fact was read."""
    card = Catalogue(catalogue or resources.catalogue()).card(model).value
    return compare([card])
