"""``bastide models recommend``: a ranked, explained choice, and the lines of site.yaml for it."""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import Any

import click
from rich.table import Table

from bastide.advice.load import Load
from bastide.advice.recommendation import READERS, Choice, Recommendation, recommend
from bastide.advice.selection import Wish
from bastide.advice.words import gigabytes
from bastide.cli.models import cards_of, catalogue_option
from bastide.cli.output import reports, stdout
from bastide.errors import ConfigError
from bastide.schema.model_card import LicenceClass, Task
from bastide.sizing.fit import Room, amount
from bastide.sizing.speed import Machine

ABSURD = "BAS-2037"
# Assumed where nothing is given: a server's main memory and processor of some years ago, a GPU of
# the middle class. docs/models.md says so.
CPU = ("40GB", "500G")
GPU = ("800GB", "50T")
SHOWN = 5


def _view(result: Recommendation) -> None:
    console = stdout()
    if not result.choices:
        console.print("No model of the catalogue satisfies all of this.", style="bold")
    for index, choice in enumerate(result.choices[:5], start=1):
        _choice(index, choice)
    if len(result.choices) > 5:
        console.print(
            f"and {len(result.choices) - 5} more that fit: --json lists them", style="dim"
        )
    if result.site:
        console.print("\nsite.yaml, for the first:", style="bold")
        console.print(result.site, markup=False, end="")
    console.print("\nFell out:", style="bold")
    table = Table(box=None, pad_edge=False, show_header=False, padding=(0, 2, 0, 2))
    table.add_column()
    table.add_column(overflow="fold", style="dim")
    for model in result.fell_out:
        table.add_row(model.name, "; ".join(model.reasons))
    console.print(table)
    console.print(f"  {result.other_tasks} more are for other tasks.", style="dim", markup=False)
    for note in result.notes:
        console.print(f"- {note}", markup=False)


def _choice(index: int, choice: Choice) -> None:
    console = stdout()
    head = f"{index}. {choice.title} as {choice.format}"
    console.print(f"{head}  ({choice.name})", style="bold" if index == 1 else "", markup=False)
    rate = choice.tokens_per_second
    if rate is not None:
        console.print(f"   {rate:,.1f} tokens/s for each user", markup=False)
    for reason in choice.why:
        console.print(f"   + {reason}", markup=False)
    for note in choice.mind:
        console.print(f"   ! {note}", markup=False)


def _latency(text: str | None) -> float | None:
    if text is None:
        return None
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*(ms|s|min)?\s*", text)
    scale = {"ms": 1e-3, "s": 1.0, "min": 60.0}
    seconds = float(match[1]) * scale[match[2] or "s"] if match else 0.0
    if not 0.001 <= seconds <= 86_400:
        raise ConfigError(
            f"--latency should be a time from 1ms to 24 hours such as 10s or 2min; found '{text}'",
            code=ABSURD,
            hint="say how long a user may wait for a whole answer",
        )
    return seconds


def _room(ram: str | None, vram: str | None) -> Room:
    if (ram is None) == (vram is None):
        raise ConfigError(
            "which memory holds the model is not said"
            if ram is None
            else "a model is either in main memory or on GPUs",
            code=ABSURD,
            hint="give --ram SIZE for a machine without GPU, or --vram SIZE (2x80GB) for one with",
        )
    if vram is not None:
        cards, size = amount(vram, "--vram")
        return Room(vram=round(size), cards=cards)
    return Room(ram=round(amount(ram or "", "--ram")[1]))


def _machine(room: Room, bandwidth: str | None, flops: str | None) -> Machine:
    usual = CPU if room.vram is None else GPU
    given = bandwidth is not None
    read = amount(bandwidth or usual[0], "--bandwidth")[1] * (room.cards if room.vram else 1)
    speed = amount(flops or usual[1], "--flops")[1] * (room.cards if room.vram else 1)
    if not all(map(math.isfinite, (read, speed))):
        raise ConfigError("these are no speeds of a machine", code=ABSURD, hint="see --help")
    told = f"of {gigabytes(read)}/s, {speed / 1e12:.3g} TFLOP/s"
    return Machine(read, speed, measured=told + ("" if given else " (assumed: --bandwidth)"))


def _load(asked: dict[str, Any]) -> Load:
    task, prompt, answer = Task(asked["task"]), asked["prompt"], asked["answer"]
    writes = 0 if task in READERS else answer
    if prompt + writes > asked["context"]:
        raise ConfigError(
            f"a usual request has more tokens ({prompt} + {writes}) than --context "
            f"({asked['context']})",
            code=ABSURD,
            hint="raise --context, or lower --prompt or --answer",
        )
    return Load(task, asked["users"], asked["context"], prompt, answer, _latency(asked["latency"]))


def _wish(load: Load, asked: dict[str, Any]) -> Wish:
    licence, language = asked["licence_class"], asked["language"]
    return Wish(
        task=load.task,
        licence_class=LicenceClass(licence) if licence else None,
        language=language.lower() if language else None,
        context=load.prompt if load.task in READERS else load.context,
        pinned=asked["pinned"],
    )


@click.command("recommend")
@click.option("--task", type=click.Choice([each.value for each in Task]), required=True,
              help="What the model is for.")  # fmt: skip
@click.option("--ram", metavar="SIZE", help="Main memory of a host without GPU, such as 16GB.")
@click.option("--vram", metavar="[Nx]SIZE", help="Memory of its GPUs, such as 24GB or 2x80GB.")
@click.option("--users", type=click.IntRange(1, 4096), default=4, show_default=True,
              help="Requests that are answered at once.")  # fmt: skip
@click.option("--latency", metavar="TIME", help="A usual answer is whole within this, such as 10s.")
@click.option("--context", type=click.IntRange(256, 10_000_000), default=4096, show_default=True,
              metavar="TOKENS", help="What one request may have.")  # fmt: skip
@click.option("--prompt", type=click.IntRange(1, 10_000_000), default=500, show_default=True,
              metavar="TOKENS", help="A usual prompt, or a text to embed.")  # fmt: skip
@click.option("--answer", type=click.IntRange(1, 1_000_000), default=250, show_default=True,
              metavar="TOKENS", help="A usual answer.")  # fmt: skip
@click.option("--licence-class", type=click.Choice(["permissive", "conditional"]),
              help="What its licence may ask; 'conditional' includes 'permissive'.")  # fmt: skip
@click.option("--language", metavar="CODE", help="A language that it must be for, such as de.")
@click.option("--bandwidth", metavar="SIZE", help="Memory bandwidth a second (of each GPU).")
@click.option("--flops", metavar="NUMBER", help="Operations a second (of each GPU), such as 2T.")
@click.option("--pinned", is_flag=True, help="Only models that a bundle can take as they are.")
@catalogue_option
@reports(_view)
def command(catalogue: Path | None, **asked: Any) -> Recommendation:  # noqa: ANN401 - options
    """Choose a model for a task, a machine and a number of users.

    Ranks what fits into memory and answers in time, says why each was chosen and why the others
    fell out, and prints the lines of site.yaml for the first.
    """
    room = _room(asked["ram"], asked["vram"])
    load = _load(asked)
    machine = _machine(room, asked["bandwidth"], asked["flops"])
    return recommend(cards_of(catalogue), _wish(load, asked), load, room, machine)
